"""Copy files from a source tree into a root file system, as COPY and ADD do.

The rules are BuildKit's:

- COPY of a directory copies its contents, and merges them into an existing destination;
- a file is copied into a destination that is a directory, else under the destination's name;
- a symbolic link named as a source is followed; links below a source directory are copied as links;
- missing parent directories are made with mode 0755, owned by root or the user of --chown;
- an existing destination directory keeps its mode and owner; directories below a copied one take
  those of the source;
- hard links among the copied files stay hard links; copy_file_range(2) shares blocks where the file
  system can.

The destination lies in an untrusted root file system: openat2(2) with RESOLVE_IN_ROOT opens it, and
paths below are opened by descriptor without following links.

Sources: docs.docker.com/reference/dockerfile "COPY"; BuildKit's behaviour (tests/dockerfiles).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from minidock.engine.build.source_tree import Entry, Tree
from minidock.errors import Conflict, KernelError
from minidock.kernel.path import open_in_root

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 30
_BUFFER = 1 << 20
_LINKS_MAX = 40


class Copier:
    """Copies files into one root file system.

    root: a descriptor of it. owner: (uid, gid) of all copied and made files, None to keep those of
    the source. mode: of all copied files and directories, None to keep those of the source.
    """

    def __init__(self, root: int, *, owner: tuple[int, int] | None, mode: int | None) -> None:
        self._root = root
        self._owner = owner
        self._mode = mode
        self._linked: dict[tuple[int, int], tuple[int, str]] = {}
        self._held_fds: list[int] = []

    def __enter__(self) -> Copier:
        return self

    def __exit__(self, *error: object) -> None:
        for fd in self._held_fds:
            os.close(fd)

    def copy(self, tree: Tree, path: str, destination: str) -> None:
        """Copy a path of a tree to an absolute destination; a trailing "/" means a directory.

        Raises Conflict if a file and a directory collide.
        """
        source = tree.open(path)
        try:
            if destination.endswith("/"):
                os.close(self.make_directories(destination))
            if source.is_directory:
                target = self.make_directories(destination)
                try:
                    self._copy_children(tree, source, target)
                finally:
                    os.close(target)
                return
            folder, name = self._destination_for(destination, posixpath.basename(path))
            try:
                self._copy_entry(tree, source, folder, name)
            finally:
                os.close(folder)
        finally:
            source.close()

    def make_directories(self, path: str, *, mode: int = 0o755) -> int:
        """Make a directory and its missing parents; returns a descriptor of it."""
        here = os.dup(self._root)
        done = ""
        pending = [part for part in path.split("/") if part not in ("", ".")][::-1]
        links = 0
        while pending:
            part = pending.pop()
            done = posixpath.normpath(f"{done}/{part}")
            try:
                os.close(here)
                fd = open_in_root(self._root_path, done, os.O_RDONLY | os.O_DIRECTORY)
            except KernelError as error:
                here = self._parent(done)
                if error.errno == errno.ENOENT and (link := _read_link(here, part)) is not None:
                    links += 1  # a dangling symbolic link: make its target
                    if links > _LINKS_MAX:
                        raise
                    pending += [p for p in link.split("/") if p not in ("", ".")][::-1]
                    done = "" if link.startswith("/") else posixpath.dirname(done)
                    continue
                if error.errno == errno.ENOENT:
                    fd = self._make_directory(here, part, mode)
                    os.close(here)
                elif error.errno == errno.ENOTDIR:
                    raise Conflict(f"cannot copy to non-directory: {done}") from None
                else:
                    raise
            here = fd
        return here

    @property
    def _root_path(self) -> str:
        return f"/proc/self/fd/{self._root}"

    def _parent(self, path: str) -> int:
        return open_in_root(
            self._root_path, posixpath.dirname(path) or "/", os.O_RDONLY | os.O_DIRECTORY
        )

    def _make_directory(self, parent: int, name: str, mode: int) -> int:
        os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        if self._owner is not None:
            os.fchown(fd, *self._owner)
        os.fchmod(fd, mode)
        return fd

    def _destination_for(self, destination: str, name: str) -> tuple[int, str]:
        """The directory and name under which a file is copied."""
        try:
            folder = open_in_root(self._root_path, destination, os.O_RDONLY | os.O_DIRECTORY)
            return folder, name
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
        parent, base = posixpath.split(destination.rstrip("/"))
        folder = self.make_directories(parent)
        if (
            link := _read_link(folder, base)
        ) is not None:  # the file that the link names, in this root
            os.close(folder)
            target = posixpath.join(parent, link)
            folder = self.make_directories(posixpath.dirname(target))
            base = posixpath.basename(target)
        return folder, base

    def _copy_children(self, tree: Tree, source: Entry, target: int) -> None:
        """Copy the contents of a directory into another one."""
        for child in tree.children(source):
            self._copy_entry(tree, child, target, os.path.basename(child.path))

    def _copy_entry(self, tree: Tree, source: Entry, folder: int, name: str) -> None:
        mode = source.status.st_mode
        if source.is_directory:
            self._copy_directory(tree, source, folder, name)
        elif stat.S_ISREG(mode):
            self._copy_file(tree, source, folder, name)
        elif stat.S_ISLNK(mode):
            _unlink(folder, name)
            os.symlink(source.read_link(), name, dir_fd=folder)
            os.chown(name, *self._owner_of(tree, source), dir_fd=folder, follow_symlinks=False)
            _set_time(name, source, folder)
        elif not stat.S_ISSOCK(mode):
            _unlink(folder, name)
            os.mknod(name, stat.S_IFMT(mode) | 0o600, source.status.st_rdev, dir_fd=folder)
            os.chown(name, *self._owner_of(tree, source), dir_fd=folder, follow_symlinks=False)
            os.chmod(name, self._mode_of(source), dir_fd=folder)
            _set_time(name, source, folder)

    def _copy_directory(self, tree: Tree, source: Entry, folder: int, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise Conflict(
                    f"cannot copy to non-directory: {name}",
                    hint="the destination has a file of that name",
                ) from None
        target = os.open(name, _DIRECTORY, dir_fd=folder)
        try:
            self._copy_children(tree, source, target)
            self._set_metadata(tree, source, target)
        finally:
            os.close(target)

    def _copy_file(self, tree: Tree, source: Entry, folder: int, name: str) -> None:
        _unlink(folder, name)
        if self._link_to_copied(source, folder, name):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(name, flags, 0o600, dir_fd=folder)
        content = source.open_content()
        try:
            copy_content(content, target)
            self._set_metadata(tree, source, target)
        finally:
            os.close(content)
            os.close(target)

    def _link_to_copied(self, source: Entry, folder: int, name: str) -> bool:
        """Make a hard link to a file that was copied already; returns False for its first name."""
        status = source.status
        if status.st_nlink < 2:
            return False
        identity = (status.st_dev, status.st_ino)
        if first := self._linked.get(identity):
            os.link(first[1], name, src_dir_fd=first[0], dst_dir_fd=folder, follow_symlinks=False)
            return True
        self._held_fds.append(os.dup(folder))
        self._linked[identity] = (self._held_fds[-1], name)
        return False

    def _set_metadata(self, tree: Tree, source: Entry, target: int) -> None:
        """Set owner, mode, xattrs, times; chown(2) first, as it clears setuid and capabilities."""
        os.fchown(target, *self._owner_of(tree, source))
        os.fchmod(target, self._mode_of(source))
        if tree.owner is None:  # COPY drops the xattrs of a build context
            for name, value in source.xattrs().items():
                os.setxattr(target, name, value)
        status = source.status
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _owner_of(self, tree: Tree, source: Entry) -> tuple[int, int]:
        return self._owner or tree.owner or (source.status.st_uid, source.status.st_gid)

    def _mode_of(self, source: Entry) -> int:
        return stat.S_IMODE(source.status.st_mode) if self._mode is None else self._mode


def copy_content(source: int, target: int) -> None:
    """Copy a file's content, within the kernel if it can."""
    try:
        while os.copy_file_range(source, target, _CHUNK):
            pass
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    while chunk := os.read(source, _BUFFER):
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]


def _read_link(folder: int, name: str) -> str | None:
    """The target of a symbolic link; None for any other file."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None


def _unlink(folder: int, name: str) -> None:
    """Remove a file that is to be replaced. Raises Conflict for a directory."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise Conflict(
            f"cannot overwrite directory with non-directory: {name}",
            hint="the destination has a directory of that name",
        ) from None


def _set_time(name: str, source: Entry, folder: int) -> None:
    times = (source.status.st_atime_ns, source.status.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
