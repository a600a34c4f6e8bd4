"""Unpack a layer's tar archive into the root directory of this process.

This code runs in a forked child, after chroot(2) into the new, empty layer
(engine/image/layers.py): "/", ".." and symbolic links of a hostile archive cannot lead out of the
layer. The child imports nothing after chroot, and ends by os._exit.

As in Docker:
- an entry replaces an existing file, but two directories are merged;
- an entry for "/" is ignored; missing parent directories are made, owned by root, mode 0755;
- symbolic links are followed as path components, never as the last one;
- a whiteout ".wh.NAME" becomes overlayfs's, as does ".wh..wh..opq" (whiteout.py).
Unlike Docker, a ".." that leads out of the layer is refused (Docker strips it), and long runs of
zeros become holes, so that a decompression bomb of zeros uses no disk space.

Sources: OCI image-spec layer.md; moby pkg/archive/archive.go and archive_linux.go; overlayfs.rst
"whiteouts and opaque directories"; chown(2) and capabilities(7) for why the owner comes first.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from minidock.engine.image.whiteout import (
    OVERLAY_XATTRS,
    WHITEOUT,
    create_whiteout,
    is_whiteout,
    mark_opaque,
)
from minidock.errors import ArchiveError, StoreError
from minidock.oci import tar_header as tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.image.tar_split import TarSplitWriter
    from minidock.oci.tar import TarReader
    from minidock.oci.tar_header import Entry

_XATTR_NAMESPACES = (b"user.", b"security.", b"system.", b"trusted.")
IMPLIED_DIRECTORY_MODE = 0o755
_NODES = {tar.CHARACTER: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}
_CHUNK = 1 << 18
_ZEROS = bytes(_CHUNK)
_HOLE_MIN = 1 << 16  # a shorter hole would save too little
_TIME_MAX_NS = (1 << 63) - 1
_STORE_ERRNOS = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOMEM)
)


def clean_name(name: bytes) -> bytes:
    """Normalise a path of the archive: no leading "/", no "." and ".."; b"" for the root.

    Raises ArchiveError for a path that leads above the root.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise ArchiveError(
                    f"the archive has a path that leads out of the layer: {tar.shown(name)}"
                )
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


class LayerUnpacker:
    """Unpacks the entries of one archive into the current root directory.

    replaced_fd: an open directory outside, for contents that a later entry replaces.
    content_bytes: after `unpack`, the sum of the sizes of files and links, as in Docker.
    """

    def __init__(self, reader: TarReader, split: TarSplitWriter, *, replaced_fd: int) -> None:
        self._reader = reader
        self._split = split
        self._replaced_fd = replaced_fd
        self._real_directories: dict[bytes, bytes] = {}
        self._directory_times: dict[bytes, int] = {}
        self._ordinals: dict[int, int] = {}  # inode -> its number in tar-split.z
        self.content_bytes = 0
        self.replaced_any = False

    def unpack(self) -> None:
        """Unpack all entries, up to the end of the stream.

        Raises ArchiveError; StoreError for a disk error.
        """
        for entry in self._reader:
            try:
                self._unpack_entry(entry)
            except (OSError, ValueError, OverflowError, RecursionError) as error:
                raise _entry_error(entry, error) from None
        self._reader.skip_rest()
        for path, mtime_ns in self._directory_times.items():
            os.utime(path, ns=(mtime_ns, mtime_ns))

    def _unpack_entry(self, entry: Entry) -> None:
        """Unpack one entry of any type."""
        name = clean_name(entry.name)
        if not name:
            return
        parent, _, base = name.rpartition(b"/")
        directory = self._real_directories.get(parent)
        if directory is None:
            directory = self._make_parents(parent)
        if base.startswith(WHITEOUT):
            create_whiteout(directory, base)
            return
        path = directory + base
        if entry.kind == tar.REGULAR:
            self._create_file(path, entry)
        elif entry.kind == tar.DIRECTORY:
            self._create_directory(path, entry)
        elif entry.kind == tar.SYMLINK:
            self._create(path, os.symlink, entry.link, path)
            self.content_bytes += len(entry.link)
            self._set_metadata(path, entry)
        elif entry.kind == tar.HARD_LINK:
            self._create_hard_link(path, entry)
        elif entry.kind in (tar.CHARACTER, tar.BLOCK_DEVICE, tar.FIFO):
            self._create_node(path, entry)
        else:
            raise ArchiveError(
                f"{entry.shown()} has a type that a layer cannot contain: {chr(entry.kind)!r}"
            )

    def _make_parents(self, parent: bytes) -> bytes:
        """Make the missing parent directories of an entry.

        Returns the parent's absolute path with symbolic links resolved and a trailing "/".
        """
        outer, _, base = parent.rpartition(b"/")
        around = self._real_directories.get(outer) if outer else b"/"
        if around is not None and _is_directory(around + base):
            self._real_directories[parent] = around + base + b"/"
            return around + base + b"/"
        real = posixpath.realpath(b"/" + parent)
        made = b"/"
        for part in real.split(b"/"):
            if part:
                made += part
                try:
                    os.mkdir(made, IMPLIED_DIRECTORY_MODE)
                except FileExistsError:
                    if not stat.S_ISDIR(os.lstat(made).st_mode):
                        raise NotADirectoryError(errno.ENOTDIR, "", made) from None
                made += b"/"
        self._real_directories[parent] = made
        return made

    def _create_file(self, path: bytes, entry: Entry) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = self._create(path, os.open, path, flags, entry.mode & 0o777)
        try:
            if entry.segments is not None:
                self._write_segments(fd, path, entry)
            elif entry.size_bytes:
                self._write_content(fd, 0, entry.size_bytes)
                if entry.size_bytes >= _HOLE_MIN:
                    os.ftruncate(fd, entry.size_bytes)  # extends the file over a trailing hole
                self._note_contents(fd, path, [(0, entry.size_bytes)])
            self.content_bytes += entry.size_bytes
            # The owner before the mode and the xattrs: chown drops setuid and capabilities.
            os.fchown(fd, entry.uid, entry.gid)
            if entry.mode & 0o7000:
                os.fchmod(fd, entry.mode)
            if entry.xattrs:
                _set_xattrs(fd, entry)
            mtime_ns = _kernel_time(entry.mtime_ns)
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(fd)

    def _write_segments(self, fd: int, path: bytes, entry: Entry) -> None:
        """Write the data segments of a sparse file, with holes between them."""
        pieces = [piece for piece in entry.segments or () if piece[1]]
        for offset, length in pieces:
            self._write_content(fd, offset, length)
        os.ftruncate(fd, entry.size_bytes)
        if pieces:
            self._note_contents(fd, path, pieces)

    def _write_content(self, fd: int, offset: int, length: int) -> None:
        """Copy content into a file, leaving long runs of zeros as holes."""
        read = self._reader.read_content
        if length <= _HOLE_MIN:
            _write_all(fd, read(length), offset)
            return
        end = offset + length
        while offset < end:
            content = read(min(_CHUNK, end - offset))
            if content != (_ZEROS if len(content) == _CHUNK else _ZEROS[: len(content)]):
                _write_all(fd, content, offset)
            offset += len(content)

    def _note_contents(self, fd: int, path: bytes, pieces: list[tuple[int, int]]) -> None:
        ordinal = self._split.record_file(path[1:], pieces)
        self._ordinals[os.fstat(fd).st_ino] = ordinal

    def _create_directory(self, path: bytes, entry: Entry) -> None:
        opaque = False
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            status = os.lstat(path)
            if not stat.S_ISDIR(status.st_mode):
                opaque = is_whiteout(status)  # ".wh.x", then "x/": replaces the lower x
                self._remove_existing(path)
                os.mkdir(path, 0o700)
        self._set_metadata(path, entry)
        if opaque:
            mark_opaque(path)
        self._directory_times[path] = _kernel_time(entry.mtime_ns)

    def _create_hard_link(self, path: bytes, entry: Entry) -> None:
        parent, _, base = clean_name(entry.link).rpartition(b"/")
        target = posixpath.realpath(b"/" + parent).rstrip(b"/") + b"/" + base
        try:
            if not base or target == path:
                raise FileNotFoundError
            os.lstat(target)
            self._create(path, os.link, target, path)
        except FileNotFoundError:
            raise ArchiveError(
                f"{entry.shown()} is a hard link to {tar.shown(entry.link)}, which is not in "
                "this layer",
                hint="a hard link must stay within its layer; Docker refuses it too",
            ) from None

    def _create_node(self, path: bytes, entry: Entry) -> None:
        device = os.makedev(entry.device_major, entry.device_minor)
        self._create(path, os.mknod, path, _NODES[entry.kind] | 0o600, device)
        self._set_metadata(path, entry)

    def _create(self, path: bytes, make, *arguments):  # type: ignore[no-untyped-def]
        """Call `make(*arguments)`, which creates a file; replaces an existing one."""
        try:
            return make(*arguments)
        except FileExistsError:
            self._remove_existing(path)
            return make(*arguments)

    def _remove_existing(self, path: bytes) -> None:
        """Remove a replaced file or tree; keep contents that tar-split.z references."""
        self.replaced_any = True
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            self._remove_file(path, status)
            return
        self._real_directories.clear()
        for directory, _, files in os.walk(path, topdown=False):
            for name in files:
                self._remove_file(directory + b"/" + name, None)
            for entry in os.listdir(directory):  # symbolic links to directories
                self._remove_file(directory + b"/" + entry, None)
            os.rmdir(directory)
            self._directory_times.pop(directory, None)

    def _remove_file(self, path: bytes, status: os.stat_result | None) -> None:
        status = status or os.lstat(path)
        self._real_directories.clear()
        ordinal = self._ordinals.pop(status.st_ino, None)
        if ordinal is None:
            os.unlink(path)
        else:
            os.rename(path, b"%d" % ordinal, dst_dir_fd=self._replaced_fd)

    def _set_metadata(self, path: bytes, entry: Entry) -> None:
        """Set owner, mode, xattrs and time, in this order, of anything but a regular file."""
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        if entry.kind != tar.SYMLINK:
            os.chmod(path, entry.mode)
        if entry.xattrs:
            _set_xattrs(path, entry)
        if entry.kind != tar.DIRECTORY:
            mtime_ns = _kernel_time(entry.mtime_ns)
            os.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def _is_directory(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _set_xattrs(target: int | bytes, entry: Entry) -> None:
    """Set extended attributes, including file capabilities.

    Skips trusted.overlay.*, which controls overlayfs: a redirect could expose other layers' files.
    """
    follow = {} if isinstance(target, int) else {"follow_symlinks": False}
    for name, value in entry.xattrs.items():
        if name.startswith(OVERLAY_XATTRS):
            continue
        try:
            os.setxattr(target, name, value, **follow)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP or not name.startswith(_XATTR_NAMESPACES):
                raise
            raise StoreError(
                f"the store's file system cannot keep the attribute {tar.shown(name)} of "
                f"{entry.shown()}",
                hint="set MINIDOCK_ROOT to a directory on ext4, xfs or btrfs",
            ) from None


def _write_all(fd: int, content: bytes, offset: int) -> None:
    written = os.pwrite(fd, content, offset)
    while written < len(content):
        written += os.pwrite(fd, content[written:], offset + written)


def _kernel_time(mtime_ns: int) -> int:
    """Clamp a time for all file systems: before 1970 or after 2262 becomes 1970, as in Docker."""
    return mtime_ns if 0 <= mtime_ns <= _TIME_MAX_NS else 0


def _entry_error(entry: Entry, error: Exception) -> Exception:
    """Convert an exception of an entry to ArchiveError or StoreError."""
    if isinstance(error, OSError) and error.errno in _STORE_ERRNOS:
        return StoreError(
            f"cannot unpack {entry.shown()}: {os.strerror(error.errno)}",
            hint="nothing of the image was stored; free some disk space and load it again",
        )
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return ArchiveError(f"cannot unpack the archive's entry {entry.shown()}: {reason}")
