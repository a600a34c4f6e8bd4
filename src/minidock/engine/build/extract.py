"""ADD's unpacking of local archives: tar, plain or compressed by gzip, bzip2, xz or zstd."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.copy_step import Source


def is_archive(source: Source) -> bool:
    return False
