"""ADD of local tar archives: unpack them, plain or compressed by gzip, bzip2, xz or zstd.

An archive is recognised by its content, not by its name. It is unpacked below the destination as
tar(1) does: an existing directory keeps its contents, an existing file is replaced. As for image
layers (engine/image/unpack.py), a child process unpacks it after chroot(2) into the step's root
file system, so that no link leads out of it.

A name that begins with ".wh." is refused: in a layer it marks a removed file.

Source: docs.docker.com/reference/dockerfile "ADD".
"""

from __future__ import annotations

import io
import os
import signal
import stat

from minidock.engine.image.compression import compression_of, uncompressed_chunks
from minidock.engine.image.unpack import LayerUnpacker, clean_name
from minidock.engine.image.unpack_child import enter_chroot, report_and_exit
from minidock.engine.image.whiteout import WHITEOUT
from minidock.errors import ArchiveError
from minidock.kernel.op import use_journal
from minidock.oci import tar_header as tar
from minidock.oci.tar import TarReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from minidock.document_types.image import Unpacked
    from minidock.engine.build.source_tree import Source
    from minidock.engine.image.tar_split import TarSplitWriter
    from minidock.oci.tar_header import Entry

_HEAD_BYTES = 512
_USTAR_AT = 257
_BUFFER = 1 << 18


def is_archive(source: Source) -> bool:
    """Whether a source is a regular file with a tar archive, compressed or not."""
    entry = source.tree.open(source.path)
    try:
        if not stat.S_ISREG(entry.status.st_mode) or entry.status.st_size < 10:
            return False
        fd = entry.open_content()
    finally:
        entry.close()
    with open(fd, "rb") as file:
        head = file.read(_HEAD_BYTES)
        if not compression_of(head):
            return _is_tar(head)
        file.seek(0)
        return _is_tar(_decompressed_head(file))


def _decompressed_head(file: io.BufferedReader) -> bytes:
    head = b""
    try:
        for chunk in uncompressed_chunks(file, what="the archive"):
            head += chunk
            if len(head) >= _HEAD_BYTES:
                break
    except ArchiveError:
        return b""  # damaged, or not a tar archive: copied as a file
    return head


def _is_tar(head: bytes) -> bool:
    return head[_USTAR_AT : _USTAR_AT + 5] == b"ustar"


def extract(source: Source, root: int, destination: str, owner: tuple[int, int] | None) -> None:
    """Unpack an archive below a directory of a root file system.

    root: a descriptor of it. owner: (uid, gid) of all files, None to keep those of the archive.
    Raises ArchiveError, StoreError.
    """
    from minidock.engine.image.layers import UnpackChild

    entry = source.tree.open(source.path)
    try:
        fd = entry.open_content()
    finally:
        entry.close()
    with open(fd, "rb") as file:
        child = UnpackChild(_run_child, root, destination, owner, keep_fds=(root,))
        try:
            for chunk in uncompressed_chunks(file, what=f"the archive {source.path}"):
                if not child.send(chunk):
                    break
            child.finish()
        finally:
            child.reap()


def _run_child(
    root: int, destination: str, owner: tuple[int, int] | None, archive: int, answer: int
) -> NoReturn:
    """The child process: unpack, report, exit."""
    report_and_exit(answer, lambda: _unpack(root, destination, owner, archive))


def _unpack(root: int, destination: str, owner: tuple[int, int] | None, archive: int) -> Unpacked:
    use_journal(None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us by closing the pipe
    os.umask(0)
    enter_chroot(f"/proc/self/fd/{root}")
    reader = TarReader(io.BufferedReader(io.FileIO(archive), _BUFFER), record=_ignore)
    _Extractor(reader, os.fsencode(destination.strip("/")), owner).unpack()
    return {}


def _ignore(blocks: bytes) -> None:
    del blocks


class _NullTarSplit:
    """A TarSplitWriter that records nothing: the archive is not rebuilt later."""

    def record_file(self, path: bytes, pieces: list[tuple[int, int]]) -> int:
        return 0


class _Extractor(LayerUnpacker):
    """Unpacks entries below a directory, which may contain files."""

    def __init__(self, reader: TarReader, folder: bytes, owner: tuple[int, int] | None) -> None:
        split: TarSplitWriter = _NullTarSplit()  # type: ignore[assignment]
        super().__init__(reader, split, replaced_fd=-1)
        self._folder = folder
        self._owner = owner

    def _unpack_entry(self, entry: Entry) -> None:
        name = clean_name(entry.name)
        if not name:
            return
        if name.rpartition(b"/")[2].startswith(WHITEOUT):
            raise ArchiveError(
                f"the archive has a file {entry.shown()}, which an image layer cannot represent",
                hint="names that begin with .wh. mark deleted files in layers",
            )
        entry.name = self._below(name)
        if entry.kind == tar.HARD_LINK:
            entry.link = self._below(clean_name(entry.link))
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        super()._unpack_entry(entry)

    def _below(self, name: bytes) -> bytes:
        return self._folder + b"/" + name if self._folder else name

    def _note_contents(self, fd: int, path: bytes, pieces: list[tuple[int, int]]) -> None:
        """Record nothing."""
