"""Files of a place, read and written from outside without trusting a name in there.

Its root may make links and mounts as it likes. So a path is resolved by openat2(RESOLVE_IN_ROOT),
below the root of the place's PID 1, and by the place's own root: the grader puts on that user for
the moment, so that even a link to /proc/sys is written to with no more right than the place has.

Sources: openat2(2), credentials(7), prctl(2) PR_SET_DUMPABLE.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from minidock.errors import KernelError, UsageError
from minidock.kernel.path import open_in_root
from minidock.teach.lab.failure import Failure
from minidock.teach.lab.sandbox_tree import ROOT_ID
from minidock.teach.lab.submission_files import Files, read_all
from minidock.teach.lab.submission_folder import act_as

_MAX_BYTES = 32 << 20


def read(pid: int, path: str) -> str:
    """A regular file's text, up to 32 MiB. Raises Failure."""
    with _as_sandbox_root(pid) as root, _errors_as_failures(path):
        fd = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Failure(f"{path} is not a regular file")
            return file.read(_MAX_BYTES).decode(errors="replace")


def write(pid: int, path: str, text: str | bytes, mode: int) -> None:
    """Write a file, and make the folders above it. Raises Failure."""
    with _as_sandbox_root(pid) as root, _errors_as_failures(path):
        _make_folders(root, os.path.dirname(path))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY
        fd = open_in_root(root, path, flags, mode)
        with open(fd, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            os.fchmod(fd, mode)


def exists(pid: int, path: str) -> bool:
    """Whether a path leads to something."""
    with _as_sandbox_root(pid) as root:
        try:
            os.close(open_in_root(root, path))
        except KernelError:
            return False
        return True


def listdir(pid: int, path: str) -> list[str]:
    """What a folder holds. Raises Failure."""
    with _as_sandbox_root(pid) as root, _errors_as_failures(path):
        fd = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)


def read_tree(pid: int, path: str) -> Files:
    """The regular files below a folder, and links as such. Raises Failure."""
    with _as_sandbox_root(pid) as root, _errors_as_failures(path):
        fd = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return read_all(fd, path)
        except UsageError as error:
            raise Failure(str(error)) from None
        finally:
            os.close(fd)


def _make_folders(root: str, path: str) -> None:
    made = ""
    for part in path.strip("/").split("/"):
        above, made = made or "/", f"{made}/{part}"
        try:
            os.close(open_in_root(root, made, os.O_PATH | os.O_DIRECTORY))
        except KernelError:
            fd = open_in_root(root, above, os.O_PATH | os.O_DIRECTORY)
            try:
                os.mkdir(part, dir_fd=fd)
            finally:
                os.close(fd)


@contextmanager
def _as_sandbox_root(pid: int) -> Iterator[str]:
    """Be the place's root, without a capability; gives a name of the place's root directory."""
    try:
        fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise Failure("the place is gone: its PID 1 has ended") from None
    try:
        with act_as(ROOT_ID, ROOT_ID):
            yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


@contextmanager
def _errors_as_failures(path: str) -> Iterator[None]:
    """What the kernel says of a path, as what was seen."""
    try:
        yield
    except KernelError as error:
        raise Failure(f"{path}: {os.strerror(error.errno)}") from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from None
