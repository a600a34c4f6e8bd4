"""The container's file system: from a directory of the host to the only tree that there is.

In order: cut propagation, make the rootfs a mount, mount on it what config.json lists, pivot into
it and let go of the host's tree, then /dev, then what must not be seen or written.

Everything here returns steps; nothing is done.

Sources: OCI runtime-spec config "Mounts", config-linux "Default Filesystems", "Default Devices",
"Masked Paths", "Readonly Paths"; the options of mount(8).
"""

from __future__ import annotations

import os

from minidock.errors import UsageError
from minidock.kernel import mount as m
from minidock.kernel.node import change_owner, make_device, make_link, make_mount_point
from minidock.kernel.path import chroot, enter_directory
from minidock.runtime.program import Slot, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FLAGS = {
    "ro": m.MS_RDONLY, "nosuid": m.MS_NOSUID, "nodev": m.MS_NODEV, "noexec": m.MS_NOEXEC,
    "sync": m.MS_SYNCHRONOUS, "dirsync": m.MS_DIRSYNC, "mand": m.MS_MANDLOCK,
    "noatime": m.MS_NOATIME, "nodiratime": m.MS_NODIRATIME, "relatime": m.MS_RELATIME,
    "strictatime": m.MS_STRICTATIME, "bind": m.MS_BIND, "rbind": m.MS_BIND | m.MS_REC,
}  # fmt: skip
_CLEARED = {
    "rw": m.MS_RDONLY, "suid": m.MS_NOSUID, "dev": m.MS_NODEV, "exec": m.MS_NOEXEC,
    "async": m.MS_SYNCHRONOUS, "nomand": m.MS_MANDLOCK, "atime": m.MS_NOATIME,
    "diratime": m.MS_NODIRATIME, "norelatime": m.MS_RELATIME, "nostrictatime": m.MS_STRICTATIME,
    "defaults": 0,
}  # fmt: skip
_ATTRIBUTES = {
    m.MS_RDONLY: m.MOUNT_ATTR_RDONLY, m.MS_NOSUID: m.MOUNT_ATTR_NOSUID,
    m.MS_NODEV: m.MOUNT_ATTR_NODEV, m.MS_NOEXEC: m.MOUNT_ATTR_NOEXEC,
    m.MS_NOATIME: m.MOUNT_ATTR_NOATIME, m.MS_NODIRATIME: m.MOUNT_ATTR_NODIRATIME,
}  # fmt: skip
_RECURSIVE = {
    "rro": m.MOUNT_ATTR_RDONLY, "rnosuid": m.MOUNT_ATTR_NOSUID, "rnodev": m.MOUNT_ATTR_NODEV,
    "rnoexec": m.MOUNT_ATTR_NOEXEC,
}  # fmt: skip
_WITHOUT = "minidock.without"  # an annotation: runtime/config.py
_REFUSED = ("idmap", "ridmap", "remount", "move")

# Docker's and runc's: what every container finds in /dev.
DEFAULT_DEVICES: tuple[dict[str, Any], ...] = (
    {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666},
    {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666},
    {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o666},
    {"path": "/dev/random", "type": "c", "major": 1, "minor": 8, "fileMode": 0o666},
    {"path": "/dev/urandom", "type": "c", "major": 1, "minor": 9, "fileMode": 0o666},
    {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o666},
)
_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
)


class Hierarchy:
    """One cgroup v1 tree that a container may see: its own part of it.

    name: below /sys/fs/cgroup. data: the mount's options. directory: the container's, on the host.
    """

    def __init__(self, name: str, data: str, directory: str) -> None:
        self.name = name
        self.data = data
        self.directory = directory


def changes_root_by_chroot(config: dict[str, Any]) -> bool:
    """Whether pivot_root(2) is left out: on request, or as the mounts are the host's own to pivot.

    Moving the root of the host's mount namespace would move it for every process of the host.
    """
    return not has_own_mounts(config) or "pivot_root" in disabled_isolation(config)


def has_own_mounts(config: dict[str, Any]) -> bool:
    """Whether the container has a mount namespace: what it mounts shows nowhere else."""
    return any(ns["type"] == "mount" for ns in config["linux"]["namespaces"])


def disabled_isolation(config: dict[str, Any]) -> list[str]:
    """The walls that the config leaves out for which OCI has no words."""
    return str((config.get("annotations") or {}).get(_WITHOUT, "")).split(",")


def tree_steps(
    config: dict[str, Any], rootfs: str, *, parent: str, hierarchies: list[Hierarchy]
) -> list[Step]:
    """Make the container's tree, while the host's is there: propagation, rootfs, mounts.

    The copy of the host's tree hears of its mounts, and tells it of none, unless the config says
    otherwise; the mount that the rootfs lies on never does, or what follows would show on the host.
    Where the host's own tree is used, only the rootfs is touched.
    rootfs: absolute path on the host. parent: the mount point that it lies on. hierarchies: the
    cgroup trees to show; empty for cgroup v2, which has one.
    """
    steps = []
    if has_own_mounts(config):
        propagation = config["linux"].get("rootfsPropagation") or "rslave"
        steps.append(Step(m.set_propagation, "/", propagation))
    if has_own_mounts(config) or parent == rootfs:
        steps.append(Step(m.set_propagation, parent, "private"))
    if not changes_root_by_chroot(config):
        steps.append(Step(m.bind_to_itself, rootfs, "/"))  # pivot_root takes nothing but a mount
    for entry in config.get("mounts") or []:
        if entry.get("type") == "cgroup":
            own = any(ns["type"] == "cgroup" for ns in config["linux"]["namespaces"])
            steps += cgroup_steps(entry, rootfs, hierarchies=hierarchies, has_namespace=own)
        else:
            steps += mount_steps(entry, rootfs)
    return steps


def enter_steps(config: dict[str, Any], rootfs: str) -> list[Step]:
    """Make the container's tree the only one.

    The old root then lies on top of the new one, where ".." of "/" leads; it must not tell the
    host that all its mounts are taken away. Where the config wants chroot(2), nothing is let go:
    the host's tree is out of sight, and not out of reach.
    """
    if changes_root_by_chroot(config):
        return [Step(enter_directory, rootfs), Step(chroot, ".")]
    return [
        Step(enter_directory, rootfs),
        Step(m.pivot_root, ".", "."),
        Step(m.set_propagation, "/..", "rslave"),
        Step(m.unmount, ".", m.MNT_DETACH),
        Step(enter_directory, "/"),
    ]


def mount_steps(entry: dict[str, Any], rootfs: str) -> list[Step]:
    """The steps of one entry of config.json's "mounts", except of type cgroup."""
    target = entry["destination"]
    fstype = entry.get("type") or ""
    options = parse_options(entry.get("options") or [], subject=target)
    if options.flags & m.MS_BIND or fstype == "bind":
        source = entry["source"]
        recursive = bool(options.flags & m.MS_REC)
        steps = [
            Step(make_mount_point, rootfs, target, like=source),
            Step(m.bind_mount, source, rootfs, target, recursive=recursive),
        ]
        if _attributes(options.flags):
            steps.append(
                Step(
                    m.set_mount_attributes,
                    rootfs,
                    target,
                    attributes=_attributes(options.flags),
                    recursive=False,
                )
            )
    elif fstype == "tmpfs":
        steps = _tmpfs_steps(entry.get("source") or fstype, rootfs, target, options)
    else:
        source = entry.get("source") or fstype
        steps = [
            Step(make_mount_point, rootfs, target, like=""),
            Step(
                m.mount_filesystem,
                source,
                rootfs,
                target,
                fstype,
                flags=options.flags,
                data=",".join(options.data),
            ),
        ]
    return steps + options.post_mount_steps(rootfs, target)


def _tmpfs_steps(source: str, rootfs: str, target: str, options: MountOptions) -> list[Step]:
    """A tmpfs; by default with the mode of what it covers, on request with its content.

    It becomes read-only once it is filled.
    """
    data: str | Slot = ",".join(options.data)
    steps = []
    if not any(word.startswith("mode=") for word in options.data):
        from minidock.kernel.tmpcopyup import mode_option

        steps.append(Step(mode_option, rootfs, target, data, into="tmpfs options"))
        data = Slot("tmpfs options")
    steps.append(Step(make_mount_point, rootfs, target, like=""))
    if options.copy_up:
        from minidock.kernel.tmpcopyup import open_covered

        steps.append(Step(open_covered, rootfs, target, into="beneath"))
    flags = options.flags & ~m.MS_RDONLY
    steps.append(Step(m.mount_filesystem, source, rootfs, target, "tmpfs", flags=flags, data=data))
    if options.copy_up:
        from minidock.kernel.tmpcopyup import copy_up

        steps.append(Step(copy_up, Slot("beneath"), rootfs, target))
    if options.flags & m.MS_RDONLY:
        steps.append(_read_only(rootfs, target))
    return steps


def _read_only(root: str, target: str) -> Step:
    """Forbid writing below a mount point."""
    attributes = m.MOUNT_ATTR_RDONLY
    return Step(m.set_mount_attributes, root, target, attributes=attributes, recursive=False)


class MountOptions:
    """mount(8)'s option words, sorted by what they become.

    flags: MS_*. data: words for the file system itself. propagation: words of PROPAGATION.
    recursive: MOUNT_ATTR_* for the whole tree. copy_up: a tmpfs takes over what it covers.
    """

    def __init__(self) -> None:
        self.flags = 0
        self.data: list[str] = []
        self.propagation: list[str] = []
        self.recursive = 0
        self.copy_up = False

    def post_mount_steps(self, rootfs: str, target: str) -> list[Step]:
        """What can be said of a mount only once it is there."""
        steps = [Step(m.propagate_in_root, rootfs, target, word) for word in self.propagation]
        if self.recursive:
            steps.append(
                Step(
                    m.set_mount_attributes,
                    rootfs,
                    target,
                    attributes=self.recursive,
                    recursive=True,
                )
            )
        return steps


def parse_options(words: list[str], *, subject: str) -> MountOptions:
    """Sort the options of one mount.

    Raises UsageError for an option that minidock does not carry out.
    """
    options = MountOptions()
    for word in words:
        if word in _FLAGS:
            options.flags |= _FLAGS[word]
        elif word in _CLEARED:
            options.flags &= ~_CLEARED[word]
        elif word in m.PROPAGATION:
            options.propagation.append(word)
        elif word in _RECURSIVE:
            options.recursive |= _RECURSIVE[word]
        elif word == "tmpcopyup":
            options.copy_up = True
        elif word.partition("=")[0] in _REFUSED:
            raise UsageError(f"mount option {word!r} of {subject} is not supported")
        else:
            options.data.append(word)
    return options


def cgroup_steps(
    entry: dict[str, Any], rootfs: str, *, hierarchies: list[Hierarchy], has_namespace: bool
) -> list[Step]:
    """The container's own part of the cgroup tree.

    A cgroup namespace shows no more than that. Without one (has_namespace False), each v1 tree's
    own directory is bound; v2's tree is shown whole, as with runc.
    """
    target = entry["destination"]
    options = parse_options(entry.get("options") or [], subject=target)
    steps = [Step(make_mount_point, rootfs, target, like="")]
    if not hierarchies:
        steps.append(
            Step(
                m.mount_filesystem,
                "cgroup",
                rootfs,
                target,
                "cgroup2",
                flags=options.flags,
                data="",
            )
        )
        return steps + options.post_mount_steps(rootfs, target)
    writable = options.flags & ~m.MS_RDONLY
    steps.append(
        Step(m.mount_filesystem, "tmpfs", rootfs, target, "tmpfs", flags=writable, data="mode=755")
    )
    for tree in hierarchies:
        steps += _tree_steps(tree, rootfs, target, options.flags, has_namespace=has_namespace)
    if options.flags & m.MS_RDONLY:
        steps.append(_read_only(rootfs, target))
    return steps + options.post_mount_steps(rootfs, target)


def _tree_steps(
    tree: Hierarchy, rootfs: str, target: str, flags: int, *, has_namespace: bool
) -> list[Step]:
    """One tree of cgroup v1, as far as the container may see it."""
    place = f"{target}/{tree.name}"
    point = Step(make_mount_point, rootfs, place, like="")
    if has_namespace:
        source = tree.name if tree.data.startswith("name=") else "cgroup"
        mounted = Step(
            m.mount_filesystem, source, rootfs, place, "cgroup", flags=flags, data=tree.data
        )
        return [point, mounted]
    return [
        point,
        Step(m.bind_mount, tree.directory, rootfs, place, recursive=False),
        Step(m.set_mount_attributes, rootfs, place, attributes=_attributes(flags), recursive=False),
    ]


def _attributes(flags: int) -> int:
    """MOUNT_ATTR_* of a bind mount, from mount(2)'s flags."""
    return sum(attribute for flag, attribute in _ATTRIBUTES.items() if flags & flag)


def device_steps(config: dict[str, Any]) -> list[Step]:
    """The nodes and links of /dev, made when the container's root is the root already.

    Where config.json binds the host's /dev as a whole, it stays as it is.
    """
    mounts = config.get("mounts") or []
    if not any(e["destination"].rstrip("/") == "/dev" and e.get("type") != "bind" for e in mounts):
        return []
    wanted = {device["path"]: device for device in DEFAULT_DEVICES}
    wanted.update({device["path"]: device for device in config["linux"].get("devices") or []})
    steps = []
    for path, device in wanted.items():
        folder = path.rpartition("/")[0]
        if folder not in ("/dev", ""):
            steps.append(Step(make_mount_point, "/", folder, like=""))
        mode = device.get("fileMode")
        steps.append(
            Step(
                make_device,
                path,
                device["type"],
                major=device.get("major", 0),
                minor=device.get("minor", 0),
                mode=0o666 if mode is None else mode & 0o7777,
            )
        )
        if device.get("uid") or device.get("gid"):
            owner = (device.get("uid") or 0, device.get("gid") or 0)
            steps.append(Step(change_owner, path, uid=owner[0], gid=owner[1]))
    links = list(_LINKS)
    if os.path.exists("/proc/kcore"):  # a kernel may have none
        links.append(("/proc/kcore", "/dev/core"))
    return steps + [Step(make_link, target, path) for target, path in links]


def console_steps() -> list[Step]:
    """The terminal is /dev/console too, which some programs write to."""
    return [
        Step(make_mount_point, "/", "/dev/console", like="/dev/null"),
        Step(m.bind_mount, "/dev/pts/0", "/", "/dev/console", recursive=False),
    ]


def protection_steps(config: dict[str, Any]) -> list[Step]:
    """What must not be seen, and what must not be written, in an otherwise complete tree."""
    linux = config["linux"]
    steps = []
    if config["root"].get("readonly"):
        steps.append(_read_only("/", "/"))
    for path in linux.get("readonlyPaths") or []:
        steps += [
            Step(m.bind_to_itself, "/", path),
            _read_only("/", path),
        ]
    steps += [Step(m.hide_path, path) for path in linux.get("maskedPaths") or []]
    return steps
