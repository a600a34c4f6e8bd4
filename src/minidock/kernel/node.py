"""Nodes: directories, files, links and devices that a container needs in addition to its image.

Sources: mkdir(2), mknod(2), symlink(2), chown(2), path_resolution(7).
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP

from minidock.errors import KernelError
from minidock.kernel.op import op, quote
from minidock.kernel.path import join, open_in_root

_MOST_LINKS = 40  # the kernel's limit for one path


def _make_mount_point_sh(root: str, target: str, *, like: str) -> str:
    place = quote(join(root, target))
    if not like:
        return f"mkdir -p {place}"
    make_file = f'mkdir -p "$(dirname {place})" && touch {place}'
    return f"if [ -d {quote(like)} ]; then mkdir -p {place}; else {make_file}; fi"


@op("mkdir(2)", twin=_make_mount_point_sh)
def make_mount_point(root: str, target: str, *, like: str) -> str | None:
    """Create a mount point if the image does not have it.

    Without it: mount(2) fails with ENOENT: a mount point must exist.

    like: "" for a directory; otherwise the path that will be bind mounted there, whose type it
    gets. Each missing part is created relative to a file descriptor of its parent, resolved in the
    root; for a dangling link (such as Ubuntu's /etc/resolv.conf), its target is created.
    Returns "there" if it exists already.
    Raises KernelError: ENOTDIR if a parent is a file, EROFS.
    """
    try:
        os.close(open_in_root(root, target))
        return "there"
    except KernelError as error:
        if error.errno != 2:
            raise
    directory = not like or os.path.isdir(like)
    waiting = _parts_from_last(target)
    made = "/"
    links = _MOST_LINKS
    while waiting:
        part = waiting.pop()
        parent = open_in_root(root, made)
        try:
            leads_to = (
                ""
                if part == ".."
                else _make_entry(parent, part, directory=directory or bool(waiting))
            )
        except OSError as error:
            raise KernelError("mkdir(2)", target, error.errno or 0) from None
        finally:
            os.close(parent)
        if leads_to:
            links -= 1
            if not links:
                raise KernelError("mkdir(2)", target, ELOOP)
            waiting += _parts_from_last(leads_to)
            made = "/" if leads_to.startswith("/") else made
        else:
            made = f"{made.rstrip('/')}/{part}"
    return None


def _parts_from_last(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _make_entry(parent: int, name: str, *, directory: bool) -> str:
    """Create a directory or an empty file; if it is a link, return its target."""
    try:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return os.readlink(name, dir_fd=parent)
    except FileNotFoundError:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            os.close(os.open(name, flags, 0o644, dir_fd=parent))
    return ""


def _make_fifo_sh(path: str) -> str:
    return f'mkdir -p "$(dirname {quote(path)})" && mkfifo -m 600 {quote(path)}'


@op("mkfifo(3)", twin=_make_fifo_sh)
def make_fifo(path: str) -> None:
    """Create the named pipe at which init waits for `start`.

    Without it: `create` and `start` could not be two commands: this is the only file of the host
    that init has open, and so the only way to start it.

    Raises KernelError: EEXIST, ENOENT, ENOSPC.
    """
    try:
        os.mkfifo(path, 0o600)
    except OSError as error:
        raise KernelError("mkfifo(3)", path, error.errno or 0) from None


def _make_link_sh(target: str, path: str) -> str:
    return f"ln -s {quote(target)} {quote(path)}"


@op("symlink(2)", twin=_make_link_sh)
def make_link(target: str, path: str) -> str | None:
    """Create a link that programs expect in /dev, such as /dev/fd to /proc/self/fd.

    Without it: reading /dev/stdin or writing to /dev/stderr fails, and so does `<(…)` of bash,
    which needs /dev/fd.

    Returns "there" where something has that name already.
    """
    try:
        os.symlink(target, path)
    except FileExistsError:
        return "there"
    except OSError as error:
        raise KernelError("symlink(2)", path, error.errno or 0) from None
    return None


def _make_device_sh(path: str, kind: str, *, major: int, minor: int, mode: int) -> str:
    return f"mknod -m {mode:o} {quote(path)} {kind} {major} {minor}"


@op("mknod(2)", twin=_make_device_sh)
def make_device(path: str, kind: str, *, major: int, minor: int, mode: int) -> str | None:
    """Create a device node in the container's /dev; the device rules decide who may open it.

    Without it: /dev/null and /dev/urandom do not exist: shells, compilers and key generators fail
    with ENOENT.

    kind: "c", "b", or "p" for a FIFO. mode: permission bits, not masked by the umask.
    Returns "there" where something has that name already.
    """
    types = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
    try:
        os.mknod(path, types[kind] | mode, os.makedev(major, minor))
        os.chmod(path, mode)
    except FileExistsError:
        return "there"
    except OSError as error:
        raise KernelError("mknod(2)", path, error.errno or 0) from None
    return None


def _change_owner_sh(path: str, *, uid: int, gid: int) -> str:
    return f"chown {uid}:{gid} {quote(path)}"


@op("chown(2)", twin=_change_owner_sh)
def change_owner(path: str, *, uid: int, gid: int) -> None:
    """Set the owner of a device node to the user that the container's config names.

    Without it: a device of the container belongs to root, and the user that its config names gets
    EACCES.
    """
    os.chown(path, uid, gid, follow_symlinks=False)
