"""Removing untrusted trees, only below minidock's own directories.

    remove_tree(store, path)       a path strictly below one of the store's own directories
    remove_below(descriptor, path) below a directory that the caller has open
    ScratchDirectory               a temporary directory, removed after the block

A wrong path must not delete foreign files. So a path is split into one of the owner's directories
and the rest below it; "..", "." and "" are refused. The kernel then resolves the rest relative to
that directory's descriptor (openat2(2), RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS), and everything is
deleted through descriptors. Mounts are not entered (RESOLVE_NO_XDEV): they contain foreign data,
such as the directory of a volume of type bind.

No other code in minidock removes trees (tests/architecture/test_tree_removal.py).
Sources: openat2(2), unlinkat(2), rename(2).
"""

from __future__ import annotations

import os
from errno import ELOOP, ENOENT, ENOTDIR, EPERM, EXDEV

from minidock.errors import KernelError, NotOurs, StoreError
from minidock.kernel.path import open_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Owner(Protocol):
        """An owner of directories: a store, or a ScratchDirectory."""

        @property
        def own_directories(self) -> tuple[str, ...]: ...


_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def remove_tree(owner: Owner, path: str) -> None:
    """Delete a directory (or a file) and all below it. Idempotent.

    Raises NotOurs for a path that is not strictly below one of the owner's own directories,
    StoreError if a file system is mounted in it or the kernel does not permit it, OSError.
    """
    for own in owner.own_directories:
        if path.startswith(own + "/"):
            break
    else:
        raise NotOurs(f"{path} is not below one of minidock's own directories, and is not removed")
    try:
        directory = os.open(own, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_below(directory, path[len(own) + 1 :])
    except OSError as error:
        if error.errno != EPERM:
            raise
        raise StoreError(
            f"{path} cannot be removed: {os.fsdecode(error.filename)}: {error.strerror}",
            hint=f"is a file in it immutable? `lsattr -aR {path}`, `chattr -i FILE`, and then "
            "`minidock system check --repair`",
        ) from None
    finally:
        os.close(directory)


def remove_below(directory_fd: int, path: str) -> None:
    """Delete a relative path below an open directory; see remove_tree."""
    *folders, name = path.split("/")
    if not {"", ".", ".."}.isdisjoint((*folders, name)):
        raise NotOurs(f"{path!r} is not a path below a directory, and is not removed")
    try:
        parent = _open(directory_fd, "/".join(folders) or ".", os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        if not _remove_file(parent, name):
            _clear(parent, name)
            _remove_directory(parent, name)
    finally:
        os.close(parent)


class ScratchDirectory:
    """`with ScratchDirectory(prefix, parent) as made:` a directory, removed when the block ends.

    path: its absolute path. Only this user may enter it (mode 0700).
    """

    def __init__(self, prefix: str, parent: str) -> None:
        self._parent = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = f"{prefix}{os.urandom(8).hex()}"
        self.path = f"{os.path.abspath(parent).rstrip('/')}/{self._name}"
        self.own_directories = (self.path,)
        try:
            os.mkdir(self._name, 0o700, dir_fd=self._parent)
        except BaseException:
            os.close(self._parent)
            raise

    def __enter__(self) -> ScratchDirectory:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            remove_below(self._parent, self._name)
        finally:
            os.close(self._parent)


def _clear(parent: int, name: str) -> None:
    """Empty a directory, to any depth.

    A container can nest directories deeper than the longest path and any recursion limit. So
    subdirectories are renamed to the top and deleted there: one level at a time, with two
    descriptors.
    """
    try:
        top = _open(parent, name, _READ)
    except FileNotFoundError:
        return
    try:
        waiting = os.listdir(top)
        lifted = 0
        while waiting:
            name = waiting.pop()
            for inner in _remove_or_list(top, name):
                lifted += 1
                outer = f".removing-{os.getpid()}-{lifted}"
                os.rename(f"{name}/{inner}", outer, src_dir_fd=top, dst_dir_fd=top)
                waiting.append(outer)
            _remove_directory(top, name)
    finally:
        os.close(top)


def _remove_or_list(top: int, name: str) -> list[str]:
    """Delete a file, or the files in a directory; returns the directories in it."""
    if _remove_file(top, name):
        return []
    directory = _open(top, name, _READ)
    try:
        return [entry for entry in os.listdir(directory) if not _remove_file(directory, entry)]
    finally:
        os.close(directory)


def _open(directory: int, path: str, flags: int) -> int:
    try:
        return open_beneath(directory, path, flags, same_mount=True)
    except KernelError as error:
        where = f"{os.readlink(f'/proc/self/fd/{directory}')}/{path}"
        if error.errno in (ENOENT, ENOTDIR, ELOOP):
            raise OSError(error.errno, os.strerror(error.errno), where) from None
        if error.errno != EXDEV:
            raise
        raise StoreError(
            f"cannot remove {where}: a file system is mounted there",
            hint=f"findmnt -R {where}     shows it; unmount it, then try again",
        ) from None


def _remove_file(parent: int, name: str) -> bool:
    """Delete a file that is not a directory; returns whether it is deleted."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        return False
    return True


def _remove_directory(parent: int, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        pass  # it was a file, or another command deletes the same tree
