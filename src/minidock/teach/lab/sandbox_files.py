"""Read and write files of a sandbox from outside, without trusting any name in it.

The sandbox's root may create any links and mounts. So a path is resolved by
openat2(RESOLVE_IN_ROOT) below the root of the sandbox's PID 1, with the rights of the sandbox's
root: the grader takes its uid meanwhile, so that even a link to /proc/sys gives no more access than
the sandbox has.

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
    """Read a regular file's text, up to 32 MiB. Raises Failure."""
    with _as_sandbox_root(pid) as root, _errors_as_failures(path):
        fd = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Failure(f"{path} is not a regular file")
            return file.read(_MAX_BYTES).decode(errors="replace")


def write(pid: int, path: str, text: str | bytes, mode: int) -> None:
    """Write a file, and create its parent directories. Raises Failure."""
    with _as_sandbox_root(pid) as root, _errors_as_failures(path):
        _make_folders(root, os.path.dirname(path))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY
        fd = open_in_root(root, path, flags, mode)
        with open(fd, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            os.fchmod(fd, mode)


def exists(pid: int, path: str) -> bool:
    """Whether a path exists."""
    with _as_sandbox_root(pid) as root:
        try:
            os.close(open_in_root(root, path))
        except KernelError:
            return False
        return True


def listdir(pid: int, path: str) -> list[str]:
    """The names in a directory, sorted. Raises Failure."""
    with _as_sandbox_root(pid) as root, _errors_as_failures(path):
        fd = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)


def read_tree(pid: int, path: str) -> Files:
    """Read the regular files and symbolic links below a directory. Raises Failure."""
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
    """Act as the sandbox's root, without capabilities; yields a path of its root directory."""
    try:
        fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        raise Failure("the sandbox has ended: its PID 1 is gone") from None
    try:
        with act_as(ROOT_ID, ROOT_ID):
            yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


@contextmanager
def _errors_as_failures(path: str) -> Iterator[None]:
    """Turn the kernel's error about a path into a Failure."""
    try:
        yield
    except KernelError as error:
        raise Failure(f"{path}: {os.strerror(error.errno)}") from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from None
