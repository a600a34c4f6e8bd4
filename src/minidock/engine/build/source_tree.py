"""Source trees of COPY and ADD: the context, a stage, an image, here-documents, a download.

A tree is accessed through a descriptor of its root. Paths named by an instruction are resolved as
if that root were "/" (RESOLVE_IN_ROOT of openat2(2)); below them, links are not followed.

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

    from minidock.engine.dockerfile.dockerignore import Ignore
    from minidock.wildcards import Pattern

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WILD = frozenset("*?[\\")


class Entry:
    """One file of a tree.

    path: relative to the tree's root, such as "src/main.c". fd: opened with O_PATH, a directory
    with O_RDONLY.
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
        """The extended attributes that a copy keeps."""
        if stat.S_ISLNK(self.status.st_mode):
            return {}
        root_path = f"/proc/self/fd/{self.fd}"
        try:
            names = os.listxattr(root_path)
        except OSError:
            return {}  # the file system does not support them
        return {
            name: os.getxattr(root_path, name)
            for name in names
            if name.startswith("user.") or name == "security.capability"
        }

    def close(self) -> None:
        os.close(self.fd)


class Tree:
    """A tree of files to copy from.

    root: a descriptor of its root, which `close` closes. ignore: the excluded files.
    owner: (uid, gid) of all copies, (0, 0) for files from outside; None keeps those of the source.
    what: its name in error messages. extracts: ADD unpacks archives of this tree. is_whole: the
    source of the copy is the root itself, not the files in it (a git repository).
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
        """A path of its root, valid while the tree is open in this process."""
        return f"/proc/self/fd/{self.root}"

    def open(self, path: str) -> Entry:
        """Open a path, symbolic links followed. Raises FileNotFoundError, with `path`."""
        real = self._resolve(path)
        if real and self.ignores(real):
            raise FileNotFoundError(2, "not found", f"/{path}")
        try:
            fd = open_in_root(self.root_path, f"/{real}")
        except KernelError:
            raise FileNotFoundError(2, "not found", f"/{path}") from None
        return _entry(real, fd)

    def _resolve(self, path: str) -> str:
        """The path with symbolic links resolved, as .dockerignore patterns match it."""
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
        """The entries of a directory, sorted by name; the iterator closes each after use."""
        for name in sorted(os.listdir(directory.fd)):
            path = f"{directory.path}/{name}" if directory.path else name
            try:
                fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
            except FileNotFoundError:
                continue  # removed meanwhile, such as an editor's temporary file
            entry = _entry(path, fd)
            try:
                ignored = self.ignores(path)
                if ignored and not (entry.is_directory and self._has_included_files(entry)):
                    continue
                yield entry
            finally:
                entry.close()

    def _has_included_files(self, directory: Entry) -> bool:
        """Whether an ignored directory has files that a "!" pattern includes again."""
        assert self.ignore is not None
        if self.ignore.skips(directory.path):
            return False
        return next(iter(self.children(directory)), None) is not None

    def find(self, pattern: str) -> list[str]:
        """The paths that a source names: itself, or the matches of its wildcards, sorted.

        Wildcards may match nothing. Raises FileNotFoundError for a missing path, or for a missing
        directory of a wildcard.
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
        """The paths below a directory that match the pattern, one component a level."""
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
    """Compile one path component with wildcards: * ? [a-z] [^a] \\; None for a plain name.

    Raises ValueError for an invalid pattern.
    """
    if not any(character in _WILD for character in pattern):
        return None
    from minidock.wildcards import Malformed, path_pattern  # for wildcards only

    try:
        return path_pattern(pattern)
    except Malformed as error:
        raise ValueError(f"{error} {pattern}") from None


class Source:
    """One source of a COPY or ADD.

    path: in its tree. extract: unpack it if it is a tar archive (ADD).
    """

    def __init__(self, tree: Tree, path: str, *, extract: bool = False) -> None:
        self.tree = tree
        self.path = path
        self.extract = extract
