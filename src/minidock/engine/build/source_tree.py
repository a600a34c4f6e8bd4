"""Where COPY and ADD take files from: the context, a stage, an image, a here-document, a download.

All of them are trees below a descriptor. Names lead nowhere else: what an instruction names is
resolved as if the tree's root were "/" (openat2's RESOLVE_IN_ROOT), and below that no link is
followed.

Sources: docs.docker.com/reference/dockerfile "COPY"; Go's path/filepath.Match for wildcards.
"""

from __future__ import annotations

import os
import posixpath
import stat

from minidock.errors import KernelError
from minidock.kernel.path import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.engine.dockerfile.ignore import Ignore
    from minidock.wildcards import Pattern

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WILD = frozenset("*?[\\")


class Entry:
    """One file of a tree.

    path: relative to the tree's root, such as "src/main.c". fd: O_PATH; for a directory O_RDONLY.
    """

    def __init__(self, path: str, fd: int, status: os.stat_result) -> None:
        self.path = path
        self.fd = fd
        self.status = status

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    def read_link(self) -> bytes:
        return os.readlink(b"", dir_fd=self.fd)

    def open_content(self) -> int:
        return os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)

    def xattrs(self) -> dict[str, bytes]:
        """Those that belong to the file, wherever it goes."""
        if stat.S_ISLNK(self.status.st_mode):
            return {}
        root_path = f"/proc/self/fd/{self.fd}"
        try:
            names = os.listxattr(root_path)
        except OSError:
            return {}  # a file system without
        return {
            name: os.getxattr(root_path, name)
            for name in names
            if name.startswith("user.") or name == "security.capability"
        }

    def close(self) -> None:
        os.close(self.fd)


class Tree:
    """Files to copy from.

    root: a descriptor of its root, which the tree closes. ignore: what is not to be seen of it.
    owner: whom all files are given to, (0, 0) for what comes from outside; None: they keep theirs.
    what: how errors call it. extracts: ADD unpacks archives that it finds here. is_whole: what is
    copied is all of it, not the files that are in it (a git repository).
    """

    def __init__(
        self,
        root: int,
        *,
        what: str,
        owner: tuple[int, int] | None = None,
        ignore: Ignore | None = None,
        extracts: bool = False,
        is_whole: bool = False,
    ) -> None:
        self.root = root
        self.extracts = extracts
        self.is_whole = is_whole
        self.what = what
        self.owner = owner
        self.ignore = ignore

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.root)

    @property
    def root_path(self) -> str:
        """A path of its root, for as long as this process has it open."""
        return f"/proc/self/fd/{self.root}"

    def open(self, path: str) -> Entry:
        """What an instruction names, links followed. Raises FileNotFoundError, with `path`."""
        real = self._resolve(path)
        if real and self.ignores(real):
            raise FileNotFoundError(2, "not found", f"/{path}")
        try:
            fd = open_in_root(self.root_path, f"/{real}")
        except KernelError:
            raise FileNotFoundError(2, "not found", f"/{path}") from None
        return _entry(real, fd)

    def _resolve(self, path: str) -> str:
        """Where a path really leads to in this tree: what .dockerignore speaks of."""
        try:
            fd = open_in_root(self.root_path, f"/{path}")
        except KernelError:
            raise FileNotFoundError(2, "not found", f"/{path}") from None
        try:
            real = os.readlink(f"/proc/self/fd/{fd}")
            top = os.readlink(self.root_path)
        finally:
            os.close(fd)
        return posixpath.relpath(real, top) if real != top else ""

    def ignores(self, path: str) -> bool:
        return self.ignore is not None and self.ignore.matches(path)

    def children(self, directory: Entry) -> Iterator[Entry]:
        """What is in a directory, by name; each is closed when the next one is asked for."""
        for name in sorted(os.listdir(directory.fd)):
            path = f"{directory.path}/{name}" if directory.path else name
            try:
                fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
            except FileNotFoundError:
                continue  # an editor's own file, or git's lock: it went while we looked
            entry = _entry(path, fd)
            try:
                ignored = self.ignores(path)
                if ignored and not (entry.is_directory and self._has_included_files(entry)):
                    continue
                yield entry
            finally:
                entry.close()

    def _has_included_files(self, directory: Entry) -> bool:
        """Whether an ignored directory holds what a "!" takes back."""
        assert self.ignore is not None
        if self.ignore.skips(directory.path):
            return False
        return next(iter(self.children(directory)), None) is not None

    def find(self, pattern: str) -> list[str]:
        """The paths that a source names: itself, or what its wildcards match, sorted.

        That may be nothing. Raises FileNotFoundError for a path, or the folder of a wildcard, that
        is not there.
        """
        clean = posixpath.normpath("/" + pattern).lstrip("/")
        if not any(character in _WILD for character in clean):
            self.open(clean).close()
            return [clean]
        first_wild = min(at for at, character in enumerate(clean) if character in _WILD)
        self.open(posixpath.dirname(clean[:first_wild])).close()
        parts = [(part, _name_pattern(part)) for part in clean.split("/")]
        return sorted(self._matches("", parts))

    def _matches(self, folder: str, parts: list[tuple[str, Pattern | None]]) -> Iterator[str]:
        """The paths below a folder that the pattern's parts match, one part a level."""
        (literal, pattern), *rest = parts
        try:
            directory = self.open(folder)
        except FileNotFoundError:
            return
        try:
            if not directory.is_directory:
                return
            names = [os.path.basename(entry.path) for entry in self.children(directory)]
        finally:
            directory.close()
        for name in names:
            if not (name == literal if pattern is None else pattern.matches(name)):
                continue
            path = f"{folder}/{name}" if folder else name
            if rest:
                yield from self._matches(path, rest)
            else:
                yield path


def _entry(path: str, fd: int) -> Entry:
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        listed = os.open(".", _DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = listed
    return Entry(path, fd, status)


def _name_pattern(pattern: str) -> Pattern | None:
    """One part of a path with wildcards: * ? [a-z] [^a] and a backslash; None for a plain name.

    Raises ValueError for a pattern that is none.
    """
    if not any(character in _WILD for character in pattern):
        return None
    from minidock.wildcards import Malformed, path_pattern  # only builds with wildcards pay for it

    try:
        return path_pattern(pattern)
    except Malformed as error:
        raise ValueError(f"{error} {pattern}") from None


class Source:
    """One thing to copy.

    path: in its tree. extract: if it is a local archive, its content is meant (ADD).
    """

    def __init__(self, tree: Tree, path: str, *, extract: bool = False) -> None:
        self.tree = tree
        self.path = path
        self.extract = extract
