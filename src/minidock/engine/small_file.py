"""Small files that are always whole, and can be written although the disk is full.

A container's document and a network's list of addresses must change for a container to end and go:
just then nobody can be told to make room first. A new file is renamed over the old one; where there
is no room for a new one, the old one's own blocks are written over.

Sources: rename(2), pwrite(2); errno(3) ENOSPC, EDQUOT.
"""

from __future__ import annotations

import os

ENOSPC, EDQUOT = 28, 122
_BLOCK_BYTES = 4096


def replace(path: str, text: str, *, beside: str = "") -> None:
    """Put a file in the place of the old one: who reads sees the old or the new.

    beside: the new file's name until then. Where one process at a time writes, a fixed name leaves
    nothing behind after a kill -9: the next one uses it again.
    Raises OSError where it cannot be written, not even over the old one.
    """
    beside = beside or f"{path}.{os.getpid()}.new"
    content = text.encode()
    try:
        _write(beside, content)
        os.rename(beside, path)
    except OSError as error:
        _remove(beside)
        if error.errno not in (ENOSPC, EDQUOT) or not _overwrite(path, content):
            raise


def _write(path: str, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while content:
            content = content[os.write(fd, content) :]
    finally:
        os.close(fd)


def _overwrite(path: str, content: bytes) -> bool:
    """Write over a file's own blocks; returns whether it fits in them.

    What gets shorter is filled up with blanks, which JSON allows, so that one write does all of it.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        size = os.fstat(fd).st_size
        if len(content) > -(-size // _BLOCK_BYTES) * _BLOCK_BYTES:
            return False
        os.pwrite(fd, content.ljust(size), 0)
    finally:
        os.close(fd)
    return True


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
