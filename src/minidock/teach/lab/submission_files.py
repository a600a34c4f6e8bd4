"""A program's files in memory, and how they are read out of a folder that changes meanwhile.

A directory may be exchanged for a link between any two system calls, and a directory that changes
may list a name twice. So each name is opened once, below the descriptor of the directory that lists
it, whatever it is; what it is, its bytes, its names or its target are then asked of that descriptor
alone. And a tree in memory has no name below a link or a file: writing it follows no link of it.

Limits, for what lies there or grows meanwhile: files and folders, bytes, depth, seconds. FIFOs,
sockets and devices are never opened; what is mounted in a submission is refused.

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

_MOST_ENTRIES, _MOST_BYTES, _MOST_DEPTH, _MOST_SECONDS = 2000, 32 << 20, 40, 30.0
_CHUNK_BYTES = 1 << 20
_NOT_TAKEN = {".git", "__pycache__", ".venv", "node_modules", ".mypy_cache", ".ruff_cache"}


class TooLarge(UsageError):
    """A folder that is more than a program is."""


class Files:
    """Files by their path in a folder: each a mode and its bytes, or where a link points."""

    def __init__(self) -> None:
        self._modes: dict[str, int] = {}
        self._data: dict[str, bytes] = {}
        self._folders: set[str] = set()

    @classmethod
    def read(cls, folder: str) -> Files:
        """What is in a folder, as its owner may read it.

        Raises NotFound; UsageError where a link leads to it, where something is mounted in it, or
        where it is too large to be a program.
        """
        with open_folder(folder) as fd:
            return read_submission(fd, folder)

    def put(self, name: str, data: bytes, mode: int = stat.S_IFREG | 0o644) -> None:
        """Add a file, or replace it.

        Raises UsageError for a name that leads out, or that lies below a file or a link.
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
        """These over those below."""
        both = Files()
        for files in (lower, self):
            for name, data in files._data.items():
                both.put(name, data, files._modes[name])
        return both

    def names(self) -> list[str]:
        """The paths, sorted."""
        return sorted(self._data)

    def mode(self, name: str) -> int:
        """A file's st_mode."""
        return self._modes[name]

    def is_executable(self, name: str) -> bool:
        """Whether a file may be executed."""
        return bool(self._modes[name] & 0o111)

    def text(self, name: str) -> str:
        """A file as text. Raises KeyError."""
        return self._data[name].decode(errors="replace")

    def __contains__(self, name: str) -> bool:
        return name in self._data

    def write(self, folder: str) -> None:
        """Write all of it into a folder that is there, as its owner."""
        with open_folder(folder) as fd:
            self.write_into(fd)

    def write_into(self, folder: int) -> None:
        """Write all of it into an open folder; what it has of these names is replaced.

        Raises KernelError (ELOOP, ENOTDIR) where a folder of these is a link or a file there.
        """
        for name, data in self._data.items():
            above, _, last = name.rpartition("/")
            directory = make_folders(folder, above)
            try:
                write_file(directory, last, data, self._modes[name])
            finally:
                os.close(directory)


def read_submission(folder: int, shown: str) -> Files:
    """A student's files in an open folder; shown: what messages call it."""
    reader = _Reader(shown, not_taken=_NOT_TAKEN, same_mount=True)
    reader.read(folder)
    return reader.found


def read_all(folder: int, shown: str) -> Files:
    """All files and links below an open folder, and in what is mounted there.

    Raises TooLarge.
    """
    reader = _Reader(shown, not_taken=set(), same_mount=False)
    reader.read(folder)
    return reader.found


class _Reader:
    """One reading of a tree, with its limits."""

    def __init__(self, shown: str, *, not_taken: set[str], same_mount: bool) -> None:
        self.found = Files()
        self._shown = shown
        self._not_taken = not_taken
        self._same_mount = same_mount
        self._entries = self._bytes = 0
        self._deadline = time.monotonic() + scale_timeout(_MOST_SECONDS)

    def read(self, folder: int, prefix: str = "", depth: int = 0) -> None:
        """Take what an open directory holds, and all below it."""
        if depth > _MOST_DEPTH:
            raise self._too_large(f"folders nested deeper than {_MOST_DEPTH}")
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
                        f"{self._shown}/{prefix}{name} is a mount of its own",
                        hint="unmount it, or copy what is in there",
                    ) from None
                raise
            try:
                self._take(fd, prefix + name, depth)
            finally:
                os.close(fd)

    def _names(self, folder: int) -> set[str]:
        """What an open directory lists; a set, for a tmpfs that changes lists a name twice."""
        names = set()
        with os.scandir(folder) as entries:
            for entry in entries:
                names.add(entry.name)
                if self._entries + len(names) > _MOST_ENTRIES:
                    raise self._too_large(f"more than {_MOST_ENTRIES} files and folders")
        self._entries += len(names)
        return names - self._not_taken

    def _take(self, fd: int, path: str, depth: int) -> None:
        """Take what an O_PATH descriptor stands for: of a FIFO or a device nothing."""
        mode = os.fstat(fd).st_mode
        if stat.S_ISLNK(mode):
            self.found.put(path, os.fsencode(os.readlink("", dir_fd=fd)), mode)
        elif stat.S_ISDIR(mode):
            below = self._reopened(fd, FOLDER, path)
            try:
                self.read(below, f"{path}/", depth + 1)
            finally:
                os.close(below)
        elif stat.S_ISREG(mode):
            file = self._reopened(fd, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, path)
            try:
                self.found.put(path, self._contents(file), mode)
            finally:
                os.close(file)

    def _reopened(self, fd: int, flags: int, path: str) -> int:
        """What an O_PATH descriptor stands for, and nothing else, opened for reading."""
        try:
            return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)
        except PermissionError:
            raise UsageError(
                f"{self._shown}/{path} cannot be read by user {os.geteuid()}, "
                "the owner of the folder",
                hint=f"chown -R --reference={self._shown} {self._shown}",
            ) from None

    def _contents(self, file: int) -> bytes:
        """A file's bytes; not its size says how many: it may grow, or be sparse."""
        chunks = []
        while chunk := os.read(file, _CHUNK_BYTES):
            chunks.append(chunk)
            self._bytes += len(chunk)
            if self._bytes > _MOST_BYTES:
                raise self._too_large(f"more than {_MOST_BYTES >> 20} MiB")
            self._check_time()
        return b"".join(chunks)

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise self._too_large(f"more than can be read in {_MOST_SECONDS:.0f} s")

    def _too_large(self, what: str) -> TooLarge:
        return TooLarge(f"{self._shown} has {what}", hint="give the folder of your program alone")
