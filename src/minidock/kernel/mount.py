"""Mounts: what a container sees as its file system, and how the host's is taken away.

Every op here that takes `root` and `target` resolves the target as if root were "/" already (see
path.py), and mounts on the file descriptor that it got, by its /proc/self/fd name, not on the name.

One op makes one system call of mount(2)'s family. What to mount where is runtime/rootfs.py's.

Sources: mount(2), mount_setattr(2), pivot_root(2), mount_namespaces(7),
Documentation/filesystems/sharedsubtree.rst.
"""

from __future__ import annotations

import errno
import os

from minidock.errors import KernelError, MinidockError
from minidock.kernel.libc import path_bytes, syscall
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


# How mountinfo spells what would split its lines.
_ESCAPED = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))
# What may be covered below /proc: files in which lxcfs shows a container's limits.
_COVERABLE = {
    "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps",
    "/proc/uptime", "/proc/loadavg", "/proc/slabinfo", "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
}  # fmt: skip


def check_mount_point(root: str, target: str, place: bytes, *, fstype: str, source: str) -> None:
    """Refuse a mount that would take a wall away, wherever links have led.

    place: the resolved mount point's /proc/self/fd name. Over the container's root, all that is
    mounted already would be out of sight. Over /proc or in it, our own writes to /proc, and the
    masks on it, would meet files of the image's author (CVE-2019-16884, CVE-2025-52881); the same
    where an image has a link in the place of /proc or /sys (CVE-2019-19921).
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
            hint="choose another place; the image or a volume may have a link there",
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
            hint="choose a place outside; the image or a volume may have a link there",
        )


def flag_words(flags: int) -> Iterator[str]:
    """mount(8)'s words for mount(2)'s flags."""
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
    """mount(2), the plain call that ops share."""
    syscall("mount", source, target, fstype, flags, data, subject=subject, hint=hint)


def _set_propagation_sh(target: str, propagation: str) -> str:
    return f"mount --make-{propagation} {quote(target)}"


@op("mount_namespaces(7)", twin=_set_propagation_sh)
def set_propagation(target: str, propagation: str) -> None:
    """Cut the tie between this mount namespace and the host's, so that no mount leaks across.

    Without it: on a host whose "/" is shared, as systemd has it, each mount of the container
    appears outside too, an unmount inside takes the host's away, and pivot_root(2) refuses.

    target: a mount point. propagation: a key of PROPAGATION.
    A new mount namespace is a copy in which shared mounts stay peers of the originals: on a systemd
    host "/" is shared, and what is mounted here would appear there.
    Raises KernelError: EINVAL where target is not a mount point.
    """
    plain_mount(None, path_bytes(target), None, PROPAGATION[propagation], None, subject=target)


def _propagate_in_root_sh(root: str, target: str, propagation: str) -> str:
    return f"mount --make-{propagation} {quote(join(root, target))}"


@op("mount_namespaces(7)", twin=_propagate_in_root_sh)
def propagate_in_root(root: str, target: str, propagation: str) -> None:
    """Say whether mounts below this one are shared with the host, as the volume's options ask.

    Without it: what the host mounts below a volume later is never seen inside, even where the
    volume's options ask for it.

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
    """Mount a fresh file system of the container's own: its /proc, /dev, /sys, /dev/shm or tmpfs.

    Without it: /proc, /sys and /dev are empty directories of the image: `ps` shows nothing, and
    what opens /dev/null fails.

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
    """Show a file or directory of the host at a place inside the container's rootfs.

    Without it: there are no volumes: what the container writes ends with it, and no file of the
    host can be shown to it.

    source: on the host, links followed. recursive: with what is mounted below it.
    Raises KernelError: ENOENT for a missing source, ENOTDIR for a file on a directory or back.
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
    """Make a mount read-only, or forbid devices, setuid or programs on it, for this container only.

    Without it: `-v …:ro` is writable: the call that binds takes no such flag, and a read-only mount
    needs this second one.

    attributes: MOUNT_ATTR_* to set; what is set already stays.
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
    """mount_setattr(2) on a file descriptor; the plain call that ops share."""
    attr = attributes.to_bytes(8, "little") + bytes(24)  # attr_set, attr_clr, propagation, userns
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", fd, b"", flags, attr, len(attr), subject=subject)


def _hide_path_sh(path: str) -> str:
    p = quote(path)
    return (
        f"if [ -d {p} ]; then mount -t tmpfs -o ro tmpfs {p}; else mount --bind /dev/null {p}; fi"
    )


@op("mount(2)", twin=_hide_path_sh)
def hide_path(path: str) -> str | None:
    """Cover a file of /proc or /sys that tells of the host, or lets it be changed.

    Without it: the container reads the host's keys in /proc/keys, its timers, its firmware, and its
    power meter, by which secrets of other processes have been measured (CVE-2020-8694).

    A directory is covered by an empty read-only tmpfs, a file by /dev/null.
    Returns "absent" where there is no such path, and then makes no call.
    Source: OCI runtime-spec config-linux "Masked Paths".
    """
    try:
        fd = open_in_root("/", path)
    except KernelError:
        return "absent"
    try:
        name = b"/proc/self/fd/%d" % fd
        if os.path.isdir(name):
            plain_mount(b"tmpfs", name, b"tmpfs", MS_RDONLY, None, subject=path)
        else:
            _cover_with_null(name, path)
    finally:
        os.close(fd)
    return None


def _cover_with_null(name: bytes, path: str) -> None:
    """Bind /dev/null, provided that it is no link, which could lead anywhere (CVE-2025-31133)."""
    null = open_in_root("/", "/dev/null", os.O_PATH | os.O_NOFOLLOW)
    try:
        if os.fstat(null).st_rdev != os.makedev(1, 3):
            raise MinidockError(
                f"{path} cannot be hidden: /dev/null of the container is not the null device",
                hint="leave /dev to minidock, or mount a complete one there",
            )
        plain_mount(b"/proc/self/fd/%d" % null, name, None, MS_BIND, None, subject=path)
    finally:
        os.close(null)


def _bind_to_itself_sh(root: str, target: str) -> str:
    place = quote(join(root, target))
    return f"mount --rbind {place} {place}"


@op("mount(2)", twin=_bind_to_itself_sh)
def bind_to_itself(root: str, target: str) -> str | None:
    """Turn a directory into a mount of its own, so that it can be pivoted to or made read-only.

    Without it: pivot_root(2) says EINVAL, since a plain directory is no mount point; and
    "read-only" would hold for the whole file system that the directory lies on.

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


def _pivot_root_sh(new_root: str, put_old: str) -> str:
    return f"pivot_root {quote(new_root)} {quote(put_old)}"


@op("pivot_root(2)", twin=_pivot_root_sh)
def pivot_root(new_root: str, put_old: str) -> None:
    """Make the container's rootfs the root of this mount namespace, in place of the host's.

    Without it: the host's tree stays in reach. chroot(2) only changes where paths begin: a process
    with CAP_SYS_CHROOT calls it once more, walks up by "..", and stands in the host's root.

    After it the old root hangs at put_old, and one unmount takes the host's tree out of reach:
    unlike chroot(2), no path and no ".." leads back. With "." for both, the old root is stacked on
    the new one, and no directory for it is needed in the image.
    Raises KernelError EINVAL, which stands for any of: new_root is not a mount point; put_old is
    not at or below new_root; new_root or its parent mount is shared; the current root is not a
    mount point (initramfs). Where new_root is on the current root's own mount, it is EBUSY.
    """
    syscall(
        "pivot_root",
        path_bytes(new_root),
        path_bytes(put_old),
        subject=new_root,
        hint="the new root must be a mount point, and its parent mount must not be shared",
    )


def _unmount_sh(target: str, flags: int) -> str:
    lazy = " -l" if flags & MNT_DETACH else ""
    return f"umount{lazy} {quote(target)}"


@op("umount2(2)", twin=_unmount_sh)
def unmount(target: str, flags: int) -> str | None:
    """Take a mount away; after pivot_root, the host's whole tree.

    Without it: after pivot_root the host's root, with all that is mounted there, lies under the
    container's own, one `cd` away; and what has ended keeps its layers busy.

    flags: MNT_DETACH to let go of it now and free it when its last user has gone.
    Returns "absent" where nothing is mounted there: unmounting twice does no harm.
    """
    try:
        syscall("umount2", path_bytes(target), flags | UMOUNT_NOFOLLOW, subject=target)
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):  # no such path, or not a mount point
            return "absent"
        # Without CAP_SYS_ADMIN it says EPERM before it looks whether there is a mount at all.
        if error.errno == errno.EPERM and target[0] == "/" and mount_point_of(target) != target:
            return "absent"
        raise
    return None


def mount_table(pid: int | str) -> list[str]:
    """The lines of a process's mountinfo, in the order of mounting; "self" is ourselves.

    Raises FileNotFoundError or ProcessLookupError for a process that has ended; a zombie is one.
    Source: proc_pid_mountinfo(5).
    """
    try:
        with open(f"/proc/{pid}/mountinfo", "rb", buffering=0) as file:
            return os.fsdecode(file.readall()).split("\n")[:-1]
    except OSError as error:
        if error.errno == errno.EINVAL:  # its mount namespace is gone already
            raise ProcessLookupError(errno.ESRCH, "has ended", str(pid)) from None
        raise


def unescaped(text: str) -> str:
    """A field of mountinfo as it is: there, blanks and backslashes are in octal."""
    if "\\" in text:
        for octal, character in _ESCAPED:
            text = text.replace(octal, character)
    return text


def mount_points() -> list[str]:
    """Where something is mounted, in the order in which it was.

    Source: proc_pid_mountinfo(5): the fifth field, with blanks and backslashes in octal.
    """
    return [unescaped(line.split(" ", 5)[4]) for line in mount_table("self")]


def mount_point_of(path: str) -> str:
    """The mount point on which a path without links lies; the path itself, where it is one."""
    found = "/"
    for point in mount_points():
        if len(point) > len(found) and f"{path}/".startswith(f"{point}/"):
            found = point
    return found


def is_mount_point(path: str) -> bool:
    """Whether something is mounted on a path, binds of the same file system included.

    os.path.ismount compares devices, and so misses those.
    """
    real = os.path.realpath(path)
    return mount_point_of(real) == real


def _clone_read_only_sh(source: str, target: str) -> str:
    place = quote(target)
    attributes = "ro,nosuid,nodev"
    return f"mount --bind {quote(source)} {place} && mount -o remount,bind,{attributes} {place}"


@op("open_tree(2)", twin=_clone_read_only_sh)
def clone_read_only(source: str, target: str) -> None:
    """Show a file at a second place where nobody can write to it, complete from its first moment.

    Without it: root inside reopens /proc/self/exe for writing, and the host's Python is what it
    wrote (CVE-2019-5736).

    The clone is made read-only (mount_setattr) while it is attached nowhere, then moved there.
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
