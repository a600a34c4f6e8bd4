"""Mounts: what a container sees as its file system, and how the host's is removed from its view.

Every op here that takes `root` and `target` resolves the target as if root were "/" already (see
path.py), and mounts on the resulting file descriptor, by its /proc/self/fd name, not on the path.
One op makes one system call of mount(2)'s family. runtime/rootfs.py decides what to mount where.

Sources: mount(2), mount_setattr(2), mount_namespaces(7),
Documentation/filesystems/sharedsubtree.rst.
"""

from __future__ import annotations

import errno
import os

from minidock.errors import KernelError, MinidockError
from minidock.kernel.libc import path_bytes, syscall
from minidock.kernel.mountinfo import mount_point_of
from minidock.kernel.op import op, quote
from minidock.kernel.path import Target, join, open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_SYNCHRONOUS = 0x10
MS_REMOUNT = 0x20
MS_MANDLOCK = 0x40
MS_DIRSYNC = 0x80
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_REC = 0x4000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_RELATIME = 0x200000
MS_STRICTATIME = 0x1000000

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4

PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}


# Mounts are allowed on these files of /proc: lxcfs shows a container's limits in them.
_COVERABLE = {
    "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps",
    "/proc/uptime", "/proc/loadavg", "/proc/slabinfo", "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
}  # fmt: skip


def check_mount_point(root: str, target: str, place: bytes, *, fstype: str, source: str) -> None:
    """Refuse a mount point that would break the isolation, after links were resolved.

    place: the resolved mount point's /proc/self/fd name. A mount on the container's root would hide
    all earlier ones. With a mount on /proc or in it, our own writes to /proc, and the masks on it,
    would reach files of the image's author (CVE-2019-16884, CVE-2025-52881); so would an image that
    has a link instead of /proc or /sys (CVE-2019-19921).
    Raises MinidockError.
    """
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        above = os.readlink(f"/proc/self/fd/{fd}").rstrip("/")
    finally:
        os.close(fd)
    inside = os.fsdecode(os.readlink(place))[len(above) :] or "/"
    if inside == "/":
        raise MinidockError(
            f"the mount point {target} is the container's root itself",
            hint="choose another mount point; the image or a volume may have a link there",
        )
    if fstype in ("proc", "sysfs") and inside != os.path.normpath(target):
        raise MinidockError(
            f"{target} of the image is a link, to {inside}", hint="it must be a directory"
        )
    is_proc = fstype == "proc" or os.path.exists(f"{source}/self/ns/pid")
    below = inside.startswith("/proc/") and inside not in _COVERABLE
    if below or (inside == "/proc" and not is_proc):
        raise MinidockError(
            f"nothing can be mounted at {target}, because it is inside /proc",
            hint="choose a mount point outside; the image or a volume may have a link there",
        )


def flag_words(flags: int) -> Iterator[str]:
    """Translate flags of mount(2) to options of mount(8)."""
    words = {
        MS_RDONLY: "ro",
        MS_NOSUID: "nosuid",
        MS_NODEV: "nodev",
        MS_NOEXEC: "noexec",
        MS_SYNCHRONOUS: "sync",
        MS_DIRSYNC: "dirsync",
        MS_MANDLOCK: "mand",
        MS_NOATIME: "noatime",
        MS_NODIRATIME: "nodiratime",
        MS_RELATIME: "relatime",
        MS_STRICTATIME: "strictatime",
    }
    return (word for flag, word in words.items() if flags & flag)


def attributes_of(flags: int) -> int:
    """mount_setattr(2)'s MOUNT_ATTR_* for mount(2)'s MS_* flags."""
    attributes = {
        MS_RDONLY: MOUNT_ATTR_RDONLY, MS_NOSUID: MOUNT_ATTR_NOSUID, MS_NODEV: MOUNT_ATTR_NODEV,
        MS_NOEXEC: MOUNT_ATTR_NOEXEC, MS_NOATIME: MOUNT_ATTR_NOATIME,
        MS_NODIRATIME: MOUNT_ATTR_NODIRATIME,
    }  # fmt: skip
    return sum(attribute for flag, attribute in attributes.items() if flags & flag)


def plain_mount(
    source: bytes | None,
    target: bytes,
    fstype: bytes | None,
    flags: int,
    data: bytes | None,
    *,
    subject: str,
    hint: str = "",
) -> None:
    """Call mount(2); shared by the ops."""
    syscall("mount", source, target, fstype, flags, data, subject=subject, hint=hint)


def _set_propagation_sh(target: str, propagation: str) -> str:
    return f"mount --make-{propagation} {quote(target)}"


@op("mount_namespaces(7)", twin=_set_propagation_sh)
def set_propagation(target: str, propagation: str) -> None:
    """Stop mount propagation between this mount namespace and the host's.

    Without it: on a host whose "/" is shared, as with systemd, each mount of the container also
    appears on the host, an unmount in it removes the host's mount, and pivot_root(2) fails.

    target: a mount point. propagation: a key of PROPAGATION.
    In a new mount namespace, the copies of shared mounts stay peers of the originals.
    Raises KernelError: EINVAL where target is not a mount point.
    """
    plain_mount(None, path_bytes(target), None, PROPAGATION[propagation], None, subject=target)


def _propagate_in_root_sh(root: str, target: str, propagation: str) -> str:
    return f"mount --make-{propagation} {quote(join(root, target))}"


@op("mount_namespaces(7)", twin=_propagate_in_root_sh)
def propagate_in_root(root: str, target: str, propagation: str) -> None:
    """Set whether mounts below this one propagate to or from the host, by the volume's options.

    Without it: mounts that the host adds below a volume later are never visible in the container,
    even if the volume's options ask for them.

    Raises KernelError: EINVAL where target is not a mount point.
    """
    with Target(root, target) as name:
        plain_mount(None, name, None, PROPAGATION[propagation], None, subject=target)


def _mount_filesystem_sh(
    source: str, root: str, target: str, fstype: str, *, flags: int, data: str
) -> str:
    options = ",".join([*flag_words(flags), *([data] if data else [])])
    option = f" -o {quote(options)}" if options else ""
    return f"mount -t {quote(fstype)}{option} {quote(source)} {quote(join(root, target))}"


@op("mount(2)", twin=_mount_filesystem_sh)
def mount_filesystem(
    source: str, root: str, target: str, fstype: str, *, flags: int, data: str
) -> None:
    """Mount a new file system for the container: its /proc, /dev, /sys, /dev/shm or a tmpfs.

    Without it: /proc, /sys and /dev are empty directories of the image: `ps` shows nothing, and
    opening /dev/null fails.

    flags: MS_*. data: the file system's own options, comma-separated.
    Raises KernelError: ENODEV for an unknown file system, EINVAL for unknown data, EPERM.
    """
    with Target(root, target) as name:
        check_mount_point(root, target, name, fstype=fstype, source="")
        plain_mount(
            path_bytes(source),
            name,
            path_bytes(fstype),
            flags,
            path_bytes(data) if data else None,
            subject=f"{fstype} on {target}",
        )


def _bind_mount_sh(source: str, root: str, target: str, *, recursive: bool) -> str:
    return f"mount --{'r' if recursive else ''}bind {quote(source)} {quote(join(root, target))}"


@op("mount(2)", twin=_bind_mount_sh)
def bind_mount(source: str, root: str, target: str, *, recursive: bool) -> None:
    """Bind mount a file or directory of the host to a path in the container's rootfs.

    Without it: volumes do not exist: the container's data ends with it, and it cannot access any
    file of the host.

    source: on the host, links followed. recursive: including mounts below it.
    Raises KernelError: ENOENT for a missing source, ENOTDIR for a file on a directory or the
    reverse.
    """
    flags = MS_BIND | (MS_REC if recursive else 0)
    with Target(root, target) as name:
        check_mount_point(root, target, name, fstype="", source=source)
        plain_mount(path_bytes(source), name, None, flags, None, subject=f"{source} on {target}")


def _set_mount_attributes_sh(root: str, target: str, *, attributes: int, recursive: bool) -> str:
    words = {
        MOUNT_ATTR_RDONLY: "ro",
        MOUNT_ATTR_NOSUID: "nosuid",
        MOUNT_ATTR_NODEV: "nodev",
        MOUNT_ATTR_NOEXEC: "noexec",
        MOUNT_ATTR_NOATIME: "noatime",
        MOUNT_ATTR_STRICTATIME: "strictatime",
        MOUNT_ATTR_NODIRATIME: "nodiratime",
    }
    tail = "=recursive" if recursive else ""
    options = ",".join(word + tail for flag, word in words.items() if attributes & flag)
    return f"mount -o remount,bind,{options} {quote(join(root, target))}"


@op("mount_setattr(2)", twin=_set_mount_attributes_sh)
def set_mount_attributes(root: str, target: str, *, attributes: int, recursive: bool) -> str | None:
    """Make a mount read-only, or set nodev, nosuid or noexec on it, for this container only.

    Without it: `-v …:ro` is writable: the call that creates a bind mount ignores such flags, so a
    read-only one needs this second call.

    attributes: MOUNT_ATTR_* to set; those already set stay.
    Returns "absent" where there is no such path, and then makes no call.
    Raises KernelError: EINVAL where target is not a mount point.
    """
    try:
        fd = open_in_root(root, target)
    except KernelError:
        return "absent"
    try:
        change_attributes(fd, attributes, recursive=recursive, subject=target)
    finally:
        os.close(fd)
    return None


def change_attributes(fd: int, attributes: int, *, recursive: bool, subject: str) -> None:
    """Call mount_setattr(2) on a file descriptor; shared by the ops."""
    attr = attributes.to_bytes(8, "little") + bytes(24)  # attr_set, attr_clr, propagation, userns
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", fd, b"", flags, attr, len(attr), subject=subject)


def _bind_to_itself_sh(root: str, target: str) -> str:
    place = quote(join(root, target))
    return f"mount --rbind {place} {place}"


@op("mount(2)", twin=_bind_to_itself_sh)
def bind_to_itself(root: str, target: str) -> str | None:
    """Turn a directory into a mount point, so that it can become the root or be made read-only.

    Without it: pivot_root(2) fails with EINVAL, since a plain directory is not a mount point; and
    "read-only" would apply to the whole file system of the directory.

    Returns "absent" where there is no such path, and then makes no call.
    """
    try:
        fd = open_in_root(root, target)
    except KernelError:
        return "absent"
    try:
        name = b"/proc/self/fd/%d" % fd
        plain_mount(name, name, None, MS_BIND | MS_REC, None, subject=join(root, target))
    finally:
        os.close(fd)
    return None


def _unmount_sh(target: str, flags: int) -> str:
    lazy = " -l" if flags & MNT_DETACH else ""
    return f"umount{lazy} {quote(target)}"


@op("umount2(2)", twin=_unmount_sh)
def unmount(target: str, flags: int) -> str | None:
    """Unmount; after pivot_root, the host's whole file system.

    Without it: after pivot_root the host's root, with all its mounts, is below the container's own,
    one `cd` away; and an ended container keeps its layers busy.

    flags: MNT_DETACH to detach it now and free it after its last user.
    Returns "absent" if nothing is mounted there, so it is idempotent.
    """
    try:
        syscall("umount2", path_bytes(target), flags | UMOUNT_NOFOLLOW, subject=target)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):  # no such path, or not a mount point
            return "absent"
        # Without CAP_SYS_ADMIN it fails with EPERM before it checks whether a mount exists.
        if error.errno == errno.EPERM and target[0] == "/" and mount_point_of(target) != target:
            return "absent"
        raise
    return None


def _clone_read_only_sh(source: str, target: str) -> str:
    place = quote(target)
    attributes = "ro,nosuid,nodev"
    return f"mount --bind {quote(source)} {place} && mount -o remount,bind,{attributes} {place}"


@op("open_tree(2)", twin=_clone_read_only_sh)
def clone_read_only(source: str, target: str) -> None:
    """Mount a read-only clone of a file at a second path; it is never writable there.

    Without it: root in the container reopens /proc/self/exe for writing, and overwrites the host's
    Python (CVE-2019-5736).

    The clone is made read-only (mount_setattr) while it is detached, then attached.
    Raises KernelError: ENOENT, EPERM.
    """
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
    tree = syscall("open_tree", AT_FDCWD, path_bytes(source), flags, subject=source)
    try:
        attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
        change_attributes(tree, attributes, recursive=False, subject=source)
        syscall(
            "move_mount",
            tree,
            b"",
            AT_FDCWD,
            path_bytes(target),
            MOVE_MOUNT_F_EMPTY_PATH,
            subject=target,
        )
    finally:
        os.close(tree)
