"""The mount of type "cgroup": how much a container sees of the host's cgroups.

    cgroup v2                         one file system, for the whole tree
    cgroup v1                         a tmpfs with a directory for each hierarchy
      with a cgroup namespace           each is mounted again, and begins at the container's cgroup
      without                           the container's directory of each is bind mounted

A cgroup namespace limits the view. Without one, v2 is visible as a whole, as with runc.

Source: OCI runtime-spec config-linux "Default Filesystems"; cgroup_namespaces(7).
"""

from __future__ import annotations

from minidock.kernel import cgroup
from minidock.kernel import mount as m
from minidock.kernel.node import make_mount_point
from minidock.runtime.program import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.runtime_spec import RuntimeConfig
    from minidock.kernel.cgroup import Cgroup


class Hierarchy:
    """One cgroup v1 hierarchy of which the container sees its own cgroup.

    name: below /sys/fs/cgroup. data: the mount's options. directory: the container's, on the host.
    """

    def __init__(self, name: str, data: str, directory: str) -> None:
        self.name = name
        self.data = data
        self.directory = directory


class VisibleCgroups:
    """What the container sees.

    hierarchies: those of cgroup v1; empty with cgroup v2. has_namespace: whether the container has
    a cgroup namespace.
    """

    def __init__(self, hierarchies: list[Hierarchy], *, has_namespace: bool) -> None:
        self.hierarchies = hierarchies
        self.has_namespace = has_namespace


def visible_cgroups(group: Cgroup, config: RuntimeConfig) -> VisibleCgroups:
    """What a container with this cgroup and this config sees."""
    own = any(ns["type"] == "cgroup" for ns in config["linux"]["namespaces"])
    return VisibleCgroups(_hierarchies(group), has_namespace=own)


def _hierarchies(group: Cgroup) -> list[Hierarchy]:
    if cgroup.is_v2():
        return []
    visible = {}
    for controller, directory in group.paths().items():
        if not controller:
            continue  # the v2 hierarchy of hybrid mode has no controller
        name = directory.removesuffix(f"/{group.path}").rpartition("/")[2]
        data = controller if controller.startswith("name=") else name
        visible[name] = Hierarchy(name, data, directory)
    return [visible[name] for name in sorted(visible)]


def cgroup_steps(cgroups: VisibleCgroups, rootfs: str, target: str, flags: int) -> list[Step]:
    """Mount the container's part of the cgroup hierarchies."""
    steps = [Step(make_mount_point, rootfs, target, like="")]
    if not cgroups.hierarchies:
        steps.append(
            Step(m.mount_filesystem, "cgroup", rootfs, target, "cgroup2", flags=flags, data="")
        )
        return steps
    writable = flags & ~m.MS_RDONLY
    steps.append(
        Step(m.mount_filesystem, "tmpfs", rootfs, target, "tmpfs", flags=writable, data="mode=755")
    )
    for hierarchy in cgroups.hierarchies:
        steps += _hierarchy_steps(
            hierarchy, rootfs, target, flags, has_namespace=cgroups.has_namespace
        )
    if flags & m.MS_RDONLY:
        steps.append(_attributes_step(rootfs, target, m.MOUNT_ATTR_RDONLY))
    return steps


def _hierarchy_steps(
    hierarchy: Hierarchy, rootfs: str, target: str, flags: int, *, has_namespace: bool
) -> list[Step]:
    """Mount one cgroup v1 hierarchy, from the container's cgroup down."""
    directory = f"{target}/{hierarchy.name}"
    mount_point = Step(make_mount_point, rootfs, directory, like="")
    if has_namespace:
        source = hierarchy.name if hierarchy.data.startswith("name=") else "cgroup"
        mount = Step(
            m.mount_filesystem, source, rootfs, directory, "cgroup",
            flags=flags, data=hierarchy.data,
        )  # fmt: skip
        return [mount_point, mount]
    return [
        mount_point,
        Step(m.bind_mount, hierarchy.directory, rootfs, directory, recursive=False),
        _attributes_step(rootfs, directory, m.attributes_of(flags)),
    ]


def _attributes_step(rootfs: str, target: str, attributes: int) -> Step:
    """Make a mount read-only, or forbid devices, setuid or programs on it."""
    return Step(m.set_mount_attributes, rootfs, target, attributes=attributes, recursive=False)
