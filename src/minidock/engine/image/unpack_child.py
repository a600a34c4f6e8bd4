"""The child process that unpacks a layer after chroot(2) (see layers.py for the parent).

The rules are those of a container's init: all modules are imported before chroot(2), and sys.path
and sys.meta_path are cleared after it, so that Python cannot import a hostile module from the
layer; no exception leaves `run`.

Source: chroot(2).
"""

from __future__ import annotations

import io
import os
import signal
import sys

from minidock import jsontext
from minidock.engine.image import tar_split
from minidock.engine.image.unpack import LayerUnpacker
from minidock.errors import ArchiveError, MinidockError
from minidock.kernel.op import use_journal
from minidock.kernel.pivot_root import chroot
from minidock.oci.tar import TarReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from minidock.document_types.image import Unpacked, UnpackFailure

_BUFFER = 1 << 18


def run(layer: str, archive: int, answer: int) -> NoReturn:
    """Unpack the archive from one pipe; write the result to the other."""
    report_and_exit(answer, lambda: _unpack(layer, archive))


def report_and_exit(answer: int, unpack: Callable[[], Unpacked]) -> NoReturn:
    """Unpack, report the result or error to the parent, and exit."""
    result: Unpacked | UnpackFailure
    try:
        result = unpack()
    except MinidockError as error:
        result = {"kind": type(error).__name__, "error": str(error), "hint": error.hint}
    except BaseException as error:  # a forked child must not unwind the parent's stack
        result = {"kind": "StoreError", "error": f"unpacking failed: {error!r}", "hint": ""}
    try:
        os.write(answer, jsontext.dumps(result).encode())
    finally:
        os._exit(0)


def _unpack(layer: str, archive: int) -> Unpacked:
    use_journal(None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us by closing the pipe
    os.umask(0)
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    replaced_fd = os.open(f"{layer}/{tar_split.REPLACED}", os.O_RDONLY | os.O_DIRECTORY | flags)
    split_fd = os.open(
        f"{layer}/{tar_split.FILE_NAME}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600
    )
    enter_chroot(f"{layer}/diff")
    split = tar_split.TarSplitWriter(split_fd)
    source = io.BufferedReader(io.FileIO(archive), _BUFFER)
    unpacker = LayerUnpacker(TarReader(source, record=split.record), split, replaced_fd=replaced_fd)
    unpacker.unpack()
    split.finish()
    if not split.total_bytes:
        raise ArchiveError("a layer of the image is empty: it lacks the end of a tar archive")
    return {
        "content_bytes": unpacker.content_bytes,
        "tar_bytes": split.total_bytes,
        "replaced_any": unpacker.replaced_any,
    }


def enter_chroot(directory: str) -> None:
    """Make a directory the root of this process, and disable imports."""
    chroot(directory)
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
