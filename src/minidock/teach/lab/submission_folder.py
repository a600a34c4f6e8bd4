"""A folder that another user may change meanwhile: held open, and accessed with its owner's rights.

Root reads a student's folder, and writes to it. Its owner may replace a directory by a link between
any two system calls, so:

    the folder    is opened by a path without any link, and held by its descriptor
    its contents  are opened below that descriptor: openat2(RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS)
    a file        is created beside the old one, and renamed over it
    credentials   are the folder owner's, if we are root: no more rights than the student has

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
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def open_folder(folder: str) -> Iterator[int]:
    """Open a folder; if we are root, act as its owner in the block.

    Raises NotFound; UsageError if its path has a symbolic link, which may change meanwhile.
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
    """Open a folder, and create it if it is missing: as the owner of its parent folder."""
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
    """Open a path below an open folder, and create missing folders; returns the last one."""
    fd = open_beneath(folder, ".", FOLDER)
    for part in path.split("/") if path else []:
        above = fd
        try:
            with suppress(FileExistsError):  # open_beneath refuses what is not a folder
                os.mkdir(part, dir_fd=above)
            fd = open_beneath(above, part, FOLDER)
        finally:
            os.close(above)
    return fd


@contextmanager
def act_as(uid: int, gid: int) -> Iterator[None]:
    """If we are root, use another user's credentials in the block.

    This process stays non-dumpable afterwards (prctl(2) PR_SET_DUMPABLE): nobody can trace it.
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


def read_file(folder: int, name: str, maximum_bytes: int) -> bytes:
    """Read at most this many bytes of a regular file. Raises KernelError, OSError."""
    fd = open_beneath(folder, name, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"{name} is not a regular file")
        with open(f"/proc/self/fd/{fd}", "rb", buffering=0) as file:
            return file.read(maximum_bytes)
    finally:
        os.close(fd)


def write_file(folder: int, name: str, data: bytes, mode: int = stat.S_IFREG) -> None:
    """Write a file or a link in an open folder: create it beside the old one, then rename it."""
    temporary = f".{name}.{os.urandom(6).hex()}"
    try:
        if stat.S_ISLNK(mode):
            os.symlink(os.fsdecode(data), temporary, dir_fd=folder)
        else:
            with open(os.open(temporary, _CREATE_FLAGS, 0o600, dir_fd=folder), "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), 0o755 if mode & 0o111 else 0o644)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise


def back_up(folder: int, name: str, suffix: str) -> None:
    """Add a suffix to the name of a file below an open folder; replace a file of that name."""
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
                f"the path of {folder} has a symbolic link, which may change meanwhile",
                hint=f"realpath {shlex.quote(folder)}     prints the folder itself: use that path",
            ) from None
        if error.errno == ENOENT:
            raise NotFound(f"no such folder: {folder}") from None
        if error.errno in (ENOTDIR, EACCES):
            raise UsageError(f"{folder}: {os.strerror(error.errno)}") from None
        raise
    finally:
        os.close(root)
