"""A program's files in memory, and how they are read from a folder that changes meanwhile.

Between any two system calls a directory may be replaced by a link, and a changing directory may
list a name twice. So each name is opened once, below the descriptor of its directory, as O_PATH;
its type, its contents and its link target are then read from that descriptor. In a tree in memory
no name lies below a link or a file: writing it follows no link of the tree.

Limits, for large or growing folders: number of files and folders, bytes, depth, seconds. FIFOs,
sockets and devices are never opened; a mount in a submission is refused.

Sources: openat2(2), symlink(7).
"""

from __future__ import annotations

import os
import stat
import time
from errno import ENOENT, EXDEV

from minidock.errors import KernelError, UsageError
from minidock.kernel.path import open_beneath
from minidock.teach.lab.failure import scale_timeout
from minidock.teach.lab.submission_folder import FOLDER, make_folders, open_folder, write_file

_MAX_ENTRIES, _MAX_BYTES, _MAX_DEPTH, _MAX_SECONDS = 2000, 32 << 20, 40, 30.0
_CHUNK_BYTES = 1 << 20
_IGNORED_NAMES = {".git", "__pycache__", ".venv", "node_modules", ".mypy_cache", ".ruff_cache"}


class TooLarge(UsageError):
    """A folder that is too large for a program."""


class Files:
    """Files by their path in a folder: mode, and contents or link target."""

    def __init__(self) -> None:
        self._modes: dict[str, int] = {}
        self._data: dict[str, bytes] = {}
        self._folders: set[str] = set()

    @classmethod
    def read(cls, folder: str) -> Files:
        """Read a folder, with its owner's rights.

        Raises NotFound; UsageError if its path has a link, if it has a mount in it, or if it is too
        large.
        """
        with open_folder(folder) as fd:
            return read_submission(fd, folder)

    def put(self, name: str, data: bytes, mode: int = stat.S_IFREG | 0o644) -> None:
        """Add a file, or replace it.

        Raises UsageError for a name outside the folder, or below a file or a link.
        """
        parts = name.split("/")
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if not {"", ".", ".."}.isdisjoint(parts) or "\0" in name:
            raise UsageError(f"{name!r} is not a path inside a folder")
        if name in self._folders or not above.isdisjoint(self._data):
            raise UsageError(f"{name!r} lies below a file, or is a folder")
        self._folders |= above
        self._modes[name] = mode
        self._data[name] = data

    def over(self, lower: Files) -> Files:
        """Merge: these files over those of `lower`."""
        merged = Files()
        for files in (lower, self):
            for name, data in files._data.items():
                merged.put(name, data, files._modes[name])
        return merged

    def names(self) -> list[str]:
        """The paths, sorted."""
        return sorted(self._data)

    def mode(self, name: str) -> int:
        """A file's st_mode."""
        return self._modes[name]

    def is_executable(self, name: str) -> bool:
        """Whether a file is executable."""
        return bool(self._modes[name] & 0o111)

    def text(self, name: str) -> str:
        """A file as text. Raises KeyError."""
        return self._data[name].decode(errors="replace")

    def __contains__(self, name: str) -> bool:
        return name in self._data

    def write(self, folder: str) -> None:
        """Write all files to an existing folder, as its owner."""
        with open_folder(folder) as fd:
            self.write_into(fd)

    def write_into(self, folder: int) -> None:
        """Write all files to an open folder, over existing ones.

        Raises KernelError (ELOOP, ENOTDIR) if a folder of theirs is a link or a file there.
        """
        for name, data in self._data.items():
            above, _, last = name.rpartition("/")
            directory = make_folders(folder, above)
            try:
                write_file(directory, last, data, self._modes[name])
            finally:
                os.close(directory)


def read_submission(folder: int, label: str) -> Files:
    """Read a student's files in an open folder; label: its name in messages."""
    reader = _Reader(label, ignored=_IGNORED_NAMES, same_mount=True)
    reader.read(folder)
    return reader.files


def read_all(folder: int, label: str) -> Files:
    """Read all files and links below an open folder, and below mounts in it.

    Raises TooLarge.
    """
    reader = _Reader(label, ignored=set(), same_mount=False)
    reader.read(folder)
    return reader.files


class _Reader:
    """One pass over a tree, with its limits."""

    def __init__(self, label: str, *, ignored: set[str], same_mount: bool) -> None:
        self.files = Files()
        self._label = label
        self._ignored = ignored
        self._same_mount = same_mount
        self._entries = self._bytes = 0
        self._deadline = time.monotonic() + scale_timeout(_MAX_SECONDS)

    def read(self, folder: int, prefix: str = "", depth: int = 0) -> None:
        """Read an open directory, and everything below it."""
        if depth > _MAX_DEPTH:
            raise self._too_large(f"folders nested deeper than {_MAX_DEPTH}")
        for name in sorted(self._names(folder)):
            self._check_time()
            try:
                fd = open_beneath(
                    folder, name, os.O_PATH | os.O_NOFOLLOW, same_mount=self._same_mount
                )
            except KernelError as error:
                if error.errno == ENOENT:
                    continue  # removed since it was listed
                if error.errno == EXDEV:
                    raise UsageError(
                        f"{self._label}/{prefix}{name} is a mount point",
                        hint="unmount it, or copy its contents",
                    ) from None
                raise
            try:
                self._read_entry(fd, prefix + name, depth)
            finally:
                os.close(fd)

    def _names(self, folder: int) -> set[str]:
        """The names in an open directory; a set: a changing tmpfs may list a name twice."""
        names = set()
        with os.scandir(folder) as entries:
            for entry in entries:
                names.add(entry.name)
                if self._entries + len(names) > _MAX_ENTRIES:
                    raise self._too_large(f"more than {_MAX_ENTRIES} files and folders")
        self._entries += len(names)
        return names - self._ignored

    def _read_entry(self, fd: int, path: str, depth: int) -> None:
        """Read the file, link or directory of an O_PATH descriptor; skip a FIFO or a device."""
        mode = os.fstat(fd).st_mode
        if stat.S_ISLNK(mode):
            self.files.put(path, os.fsencode(os.readlink("", dir_fd=fd)), mode)
        elif stat.S_ISDIR(mode):
            below = self._reopen(fd, FOLDER, path)
            try:
                self.read(below, f"{path}/", depth + 1)
            finally:
                os.close(below)
        elif stat.S_ISREG(mode):
            file = self._reopen(fd, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, path)
            try:
                self.files.put(path, self._contents(file), mode)
            finally:
                os.close(file)

    def _reopen(self, fd: int, flags: int, path: str) -> int:
        """Open the same file as an O_PATH descriptor for reading."""
        try:
            return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)
        except PermissionError:
            raise UsageError(
                f"{self._label}/{path} cannot be read by user {os.geteuid()}, "
                "the owner of the folder",
                hint=f"chown -R --reference={self._label} {self._label}",
            ) from None

    def _contents(self, file: int) -> bytes:
        """Read a file's contents; its st_size is not reliable: it may grow, or be sparse."""
        chunks = []
        while chunk := os.read(file, _CHUNK_BYTES):
            chunks.append(chunk)
            self._bytes += len(chunk)
            if self._bytes > _MAX_BYTES:
                raise self._too_large(f"more than {_MAX_BYTES >> 20} MiB")
            self._check_time()
        return b"".join(chunks)

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise self._too_large(f"more than can be read in {_MAX_SECONDS:.0f} s")

    def _too_large(self, what: str) -> TooLarge:
        return TooLarge(
            f"{self._label} has {what}", hint="name the folder that has only your program"
        )
