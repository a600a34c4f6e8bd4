"""The steps that turn a directory of the host into the root of the container's mount namespace.

In order: limit mount propagation, make the rootfs a mount point, mount what config.json lists,
pivot into it and unmount the host's tree, create /dev, apply masked and read-only paths. The
functions return steps and perform nothing.

Sources: OCI runtime-spec config "Mounts", config-linux "Default Filesystems", "Default Devices",
"Masked Paths", "Readonly Paths"; the options of mount(8).
"""

from __future__ import annotations

import os

from minidock.errors import UsageError
from minidock.kernel import mount as m
from minidock.kernel.masked_paths import mask_path
from minidock.kernel.node import change_owner, make_device, make_link, make_mount_point
from minidock.kernel.path import enter_directory
from minidock.kernel.pivot_root import chroot, pivot_root
from minidock.oci.runtime_config import changes_root_by_chroot, has_own_mounts
from minidock.runtime.cgroup_mount import cgroup_steps
from minidock.runtime.program import Slot, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.runtime_spec import Device, Mount, RuntimeConfig
    from minidock.runtime.cgroup_mount import VisibleCgroups

# mount(8)'s options: the flags of mount(2) that they set,
_FLAGS = {
    "ro": m.MS_RDONLY, "nosuid": m.MS_NOSUID, "nodev": m.MS_NODEV, "noexec": m.MS_NOEXEC,
    "sync": m.MS_SYNCHRONOUS, "dirsync": m.MS_DIRSYNC, "mand": m.MS_MANDLOCK,
    "noatime": m.MS_NOATIME, "nodiratime": m.MS_NODIRATIME, "relatime": m.MS_RELATIME,
    "strictatime": m.MS_STRICTATIME, "bind": m.MS_BIND, "rbind": m.MS_BIND | m.MS_REC,
}  # fmt: skip
# those that they clear,
_CLEARED = {
    "rw": m.MS_RDONLY, "suid": m.MS_NOSUID, "dev": m.MS_NODEV, "exec": m.MS_NOEXEC,
    "async": m.MS_SYNCHRONOUS, "nomand": m.MS_MANDLOCK, "atime": m.MS_NOATIME,
    "diratime": m.MS_NODIRATIME, "norelatime": m.MS_RELATIME, "nostrictatime": m.MS_STRICTATIME,
    "defaults": 0,
}  # fmt: skip
# and the attributes of mount_setattr(2) that they set for the whole tree.
_RECURSIVE = {
    "rro": m.MOUNT_ATTR_RDONLY, "rnosuid": m.MOUNT_ATTR_NOSUID, "rnodev": m.MOUNT_ATTR_NODEV,
    "rnoexec": m.MOUNT_ATTR_NOEXEC,
}  # fmt: skip
_REFUSED = ("idmap", "ridmap", "remount", "move")

# The default devices of Docker and runc.
DEFAULT_DEVICES: tuple[Device, ...] = (
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


def tree_steps(
    config: RuntimeConfig, rootfs: str, *, parent: str, cgroups: VisibleCgroups
) -> list[Step]:
    """Set mount propagation, make the rootfs a mount point, mount what config.json lists.

    By default the copy of the host's tree is a slave: it receives the host's mounts and propagates
    none. The mount below the rootfs is private, or the following mounts would appear on the host.
    Without a mount namespace only the rootfs changes.
    rootfs: absolute path on the host. parent: the mount point that it lies on. cgroups: what the
    container sees of the host's cgroups.
    """
    steps = []
    if has_own_mounts(config):
        propagation = config["linux"].get("rootfsPropagation") or "rslave"
        steps.append(Step(m.set_propagation, "/", propagation))
    if has_own_mounts(config) or parent == rootfs:
        steps.append(Step(m.set_propagation, parent, "private"))
    if not changes_root_by_chroot(config):
        steps.append(Step(m.bind_to_itself, rootfs, "/"))  # pivot_root(2) requires a mount point
    for entry in config.get("mounts") or []:
        steps += mount_steps(entry, rootfs, cgroups)
    return steps


def enter_steps(config: RuntimeConfig, rootfs: str) -> list[Step]:
    """Change the root to the rootfs, and unmount the host's tree.

    pivot_root(".", ".") stacks the old root on the new one, where "/.." leads. It becomes a slave
    first, or its unmount would propagate to the host. chroot(2) unmounts nothing: the host's tree
    is hidden, but still reachable.
    """
    if changes_root_by_chroot(config):
        return [Step(enter_directory, rootfs), Step(chroot, ".")]
    return [
        Step(enter_directory, rootfs),
        Step(pivot_root, ".", "."),
        Step(m.set_propagation, "/..", "rslave"),
        Step(m.unmount, ".", m.MNT_DETACH),
        Step(enter_directory, "/"),
    ]


def mount_steps(entry: Mount, rootfs: str, cgroups: VisibleCgroups) -> list[Step]:
    """The steps of one entry of config.json's "mounts"."""
    target = entry["destination"]
    fstype = entry.get("type") or ""
    options = parse_options(entry.get("options") or [], subject=target)
    if fstype == "cgroup":
        steps = cgroup_steps(cgroups, rootfs, target, options.flags)
    elif options.flags & m.MS_BIND or fstype == "bind":
        source = entry["source"]
        recursive = bool(options.flags & m.MS_REC)
        steps = [
            Step(make_mount_point, rootfs, target, like=source),
            Step(m.bind_mount, source, rootfs, target, recursive=recursive),
        ]
        if some := m.attributes_of(options.flags):  # mount(2) ignores these flags beside MS_BIND
            steps.append(
                Step(m.set_mount_attributes, rootfs, target, attributes=some, recursive=False)
            )
    elif fstype == "tmpfs":
        steps = _tmpfs_steps(entry.get("source") or fstype, rootfs, target, options)
    else:
        source, data = entry.get("source") or fstype, ",".join(options.data)
        steps = [
            Step(make_mount_point, rootfs, target, like=""),
            Step(
                m.mount_filesystem, source, rootfs, target, fstype, flags=options.flags, data=data
            ),
        ]
    return steps + options.post_mount_steps(rootfs, target)


def _tmpfs_steps(source: str, rootfs: str, target: str, options: MountOptions) -> list[Step]:
    """Mount a tmpfs; it gets the mode of the covered directory and, with tmpcopyup, its files.

    It becomes read-only only once it is filled.
    """
    data: str | Slot = ",".join(options.data)
    steps = []
    if not any(word.startswith("mode=") for word in options.data):
        from minidock.kernel.tmpfs import mode_option

        steps.append(Step(mode_option, rootfs, target, data, into="tmpfs options"))
        data = Slot("tmpfs options")
    steps.append(Step(make_mount_point, rootfs, target, like=""))
    if options.copy_up:
        from minidock.kernel.tmpfs import open_covered

        steps.append(Step(open_covered, rootfs, target, into="beneath"))
    flags = options.flags & ~m.MS_RDONLY
    steps.append(Step(m.mount_filesystem, source, rootfs, target, "tmpfs", flags=flags, data=data))
    if options.copy_up:
        from minidock.kernel.tmpfs import copy_up

        steps.append(Step(copy_up, Slot("beneath"), rootfs, target))
    if options.flags & m.MS_RDONLY:
        steps.append(_read_only(rootfs, target))
    return steps


def _read_only(root: str, target: str) -> Step:
    """Make a mount read-only."""
    attributes = m.MOUNT_ATTR_RDONLY
    return Step(m.set_mount_attributes, root, target, attributes=attributes, recursive=False)


class MountOptions:
    """The options of one mount, by kind.

    flags: MS_*. data: options of the file system. propagation: names of PROPAGATION. recursive:
    MOUNT_ATTR_* for the whole tree. copy_up: tmpcopyup, fill a tmpfs with the files it covers.
    """

    def __init__(self) -> None:
        self.flags = 0
        self.data: list[str] = []
        self.propagation: list[str] = []
        self.recursive = 0
        self.copy_up = False

    def post_mount_steps(self, rootfs: str, target: str) -> list[Step]:
        """The steps after the mount: propagation and recursive attributes."""
        steps = [Step(m.propagate_in_root, rootfs, target, word) for word in self.propagation]
        if some := self.recursive:
            steps.append(
                Step(m.set_mount_attributes, rootfs, target, attributes=some, recursive=True)
            )
        return steps


def parse_options(words: list[str], *, subject: str) -> MountOptions:
    """Parse the options of one mount.

    Raises UsageError for an unsupported option.
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


def device_steps(config: RuntimeConfig) -> list[Step]:
    """Create the nodes and links of /dev, after pivot_root.

    A bind mount of the host's /dev stays unchanged.
    """
    if not _has_own_dev(config.get("mounts") or []):
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
    if os.path.exists("/proc/kcore"):  # CONFIG_PROC_KCORE
        links.append(("/proc/kcore", "/dev/core"))
    return steps + [Step(make_link, target, path) for target, path in links]


def _has_own_dev(mounts: list[Mount]) -> bool:
    """Whether a file system of the container's own is mounted on /dev."""
    return any(e["destination"].rstrip("/") == "/dev" and e.get("type") != "bind" for e in mounts)


def console_steps() -> list[Step]:
    """Bind mount the terminal on /dev/console."""
    return [
        Step(make_mount_point, "/", "/dev/console", like="/dev/null"),
        Step(m.bind_mount, "/dev/pts/0", "/", "/dev/console", recursive=False),
    ]


def protection_steps(config: RuntimeConfig) -> list[Step]:
    """Apply readonly root, readonlyPaths and maskedPaths, once the tree is complete."""
    linux = config["linux"]
    steps = []
    if config["root"].get("readonly"):
        steps.append(_read_only("/", "/"))
    for path in linux.get("readonlyPaths") or []:
        steps += [
            Step(m.bind_to_itself, "/", path),
            _read_only("/", path),
        ]
    steps += [Step(mask_path, path) for path in linux.get("maskedPaths") or []]
    return steps
