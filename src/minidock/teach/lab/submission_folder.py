"""A folder that somebody else may change: held open, and used with no more rights than its owner's.

Root reads a student's folder, and writes into it. Its owner may exchange a directory for a link
between any two system calls, so:

    the folder   is opened by a path without any link, and held by its descriptor
    what is in   is opened below that descriptor, by openat2(RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS)
    a file       is made new beside the old one, and renamed over it
    by whom      by the folder's owner, where we are root: no right is there to lead astray

Sources: openat2(2), symlink(7), credentials(7), prctl(2) PR_SET_DUMPABLE.
"""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import contextmanager, suppress
from errno import EACCES, ELOOP, ENOENT, ENOTDIR

from minidock.errors import KernelError, NotFound, UsageError
from minidock.kernel.path import open_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = os.O_RDONLY | os.O_DIRECTORY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def open_folder(folder: str) -> Iterator[int]:
    """A folder by its path, held open; where we are root, we are its owner meanwhile.

    Raises NotFound; UsageError where its path has a link, which another may point elsewhere.
    """
    fd = _open_folder(folder)
    try:
        owner = os.fstat(fd)
        with act_as(owner.st_uid, owner.st_gid):
            yield fd
    finally:
        os.close(fd)


@contextmanager
def create_folder(folder: str) -> Iterator[int]:
    """The same, of a folder that is made where it is not there: by the owner of the one above."""
    above = os.path.abspath(folder)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    with open_folder(above) as fd:
        below = make_folders(fd, os.path.relpath(os.path.abspath(folder), above))
        try:
            yield below
        finally:
            os.close(below)


def make_folders(folder: int, path: str) -> int:
    """Make the folders of a path below an open one, where they are missing; returns the last."""
    fd = open_beneath(folder, ".", FOLDER)
    for part in path.split("/") if path else []:
        above = fd
        try:
            with suppress(FileExistsError):  # whatever it is: opening it tells
                os.mkdir(part, dir_fd=above)
            fd = open_beneath(above, part, FOLDER)
        finally:
            os.close(above)
    return fd


@contextmanager
def act_as(uid: int, gid: int) -> Iterator[None]:
    """Where we are root: have the kernel ask for another user's rights meanwhile.

    From then on this process is not dumpable (prctl(2) PR_SET_DUMPABLE): no one traces it.
    """
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    groups = os.getgroups()
    try:
        os.setgroups([])
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def read_file(folder: int, name: str, most_bytes: int) -> bytes:
    """A regular file of an open folder, so many bytes at most. Raises KernelError, OSError."""
    fd = open_beneath(folder, name, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"{name} is not a regular file")
        with open(f"/proc/self/fd/{fd}", "rb", buffering=0) as file:
            return file.read(most_bytes)
    finally:
        os.close(fd)


def write_file(folder: int, name: str, data: bytes, mode: int = stat.S_IFREG) -> None:
    """Make a file or a link in an open folder: beside what has the name, then renamed over it."""
    beside = f".{name}.{os.urandom(6).hex()}"
    try:
        if stat.S_ISLNK(mode):
            os.symlink(os.fsdecode(data), beside, dir_fd=folder)
        else:
            with open(os.open(beside, _NEW, 0o600, dir_fd=folder), "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), 0o755 if mode & 0o111 else 0o644)
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=folder)
        raise


def back_up(folder: int, name: str, suffix: str) -> None:
    """Rename a file below an open folder by a suffix; another of that name is replaced."""
    above, _, last = name.rpartition("/")
    fd = open_beneath(folder, above or ".", FOLDER)
    try:
        os.rename(last, last + suffix, src_dir_fd=fd, dst_dir_fd=fd)
    finally:
        os.close(fd)


def _open_folder(folder: str) -> int:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_beneath(root, os.path.abspath(folder).lstrip("/") or ".", FOLDER)
    except KernelError as error:
        if error.errno == ELOOP:
            raise UsageError(
                f"the path of {folder} has a symbolic link, which may lead elsewhere meanwhile",
                hint=f"realpath {shlex.quote(folder)}     tells the folder itself: name that one",
            ) from None
        if error.errno == ENOENT:
            raise NotFound(f"no such folder: {folder}") from None
        if error.errno in (ENOTDIR, EACCES):
            raise UsageError(f"{folder}: {os.strerror(error.errno)}") from None
        raise
    finally:
        os.close(root)
