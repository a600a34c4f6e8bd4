"""Documents: the small files of a store, each read and written here, whole or not at all.

A power cut, a full disk, a bad block or a person may leave any of them truncated, empty, of another
kind, or gone. Whoever reads one gets what its shape promises, or DamagedFile, which names the file;
nothing waits (a FIFO in its place is opened with O_NONBLOCK), and nothing is read without a limit.

A list of many passes over those that are damaged (`passed_over`), so that one of them does not hide
the others. What a damaged one might use, nobody removes.

    a shape       what it allows
    str, int …    a value of this type; bool is not an int here
    a function    values of which it says True, such as is_digest
    (a, b)        any of these shapes; None is a shape too
    [a]           a list of them
    {"k": a}      an object with these keys; one that ends in "?" may be missing; others are allowed
    Each(a)       an object whose values are all of that shape

A file is written beside its target and renamed over it. With durable=True it survives a power cut
from then on: the file is on the disk before its name is, and its name when `write` returns.

Sources: open(2) O_NONBLOCK, O_NOFOLLOW; rename(2); fsync(2): "Calling fsync() does not necessarily
ensure that the entry in the directory containing the file has also reached disk"; pwrite(2).
"""

from __future__ import annotations

import errno
import os
import stat
from _thread import get_native_id

from minidock import jsontext
from minidock.errors import DamagedFile
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LONGEST_BYTES = 64 << 20  # a network with 65,534 leases takes a third of that
_BLOCK_BYTES = 4096
# What an open(2) or read(2) says of a file that cannot be one of ours, or of a disk that lost it.
_BROKEN = {errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EIO, errno.EUCLEAN, errno.EBADMSG}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFLNK: "a symbolic link"}


class Each:
    """The shape of an object with any keys, whose values all have one shape."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


def read(path: str, shape: Any) -> Any:
    """The value that a document holds.

    Raises FileNotFoundError where it is not there, DamagedFile where it is not what `shape` says.
    """
    return parse(read_bytes(path), path, shape)


def parse(content: bytes, path: str, shape: Any) -> Any:
    """The value of a document that has been read. Raises DamagedFile."""
    try:
        value = jsontext.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(path, str(error) if content else "it is empty") from None
    if wrong := _mismatch(value, shape, ""):
        raise DamagedFile(path, wrong)
    return value


def read_bytes(path: str, *, longest: int = LONGEST_BYTES, follow: bool = False) -> bytes:
    """The bytes of a regular file.

    longest: what is larger is no file of ours. follow: its last component may be a link.
    Raises FileNotFoundError, DamagedFile, and OSError for what is not about the file (EACCES).
    """
    fd = open_regular(path, follow=follow)
    try:
        if (size := os.fstat(fd).st_size) > longest:
            raise DamagedFile(path, f"it has {size} bytes, where {longest} are the most")
        return _read_all(fd, longest)
    except OSError as error:
        if error.errno in _BROKEN:
            raise DamagedFile(path, f"{error.strerror}") from None
        raise
    finally:
        os.close(fd)


def open_regular(
    path: str, flags: int = os.O_RDONLY, *, mode: int = 0o600, follow: bool = False
) -> int:
    """A descriptor of a regular file; whatever else stands there, nothing waits for it.

    flags, mode: as open(2)'s; with O_CREAT it may be made. follow, errors: as of `read_bytes`.
    """
    flags |= os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags, mode)
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, error.strerror, path) from None
    except OSError as error:
        if error.errno in _BROKEN:
            raise DamagedFile(path, _kind_of(path) or f"{error.strerror}") from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DamagedFile(path, _kind_of(path) or "it is not a regular file")
    return fd


def _read_all(fd: int, longest: int) -> bytes:
    """All that a file holds: most are read at once, and a second read(2) finds the end."""
    blocks = []
    while longest >= 0 and (block := os.read(fd, 1 << 16)):
        blocks.append(block)
        longest -= len(block)
    return b"".join(blocks)


def _kind_of(path: str) -> str:
    """What stands at a path, in words, where it is no regular file."""
    try:
        kind = stat.S_IFMT(os.lstat(path).st_mode)
    except OSError:
        return ""
    return "" if kind == stat.S_IFREG else f"it is {_KINDS.get(kind, 'a device or a socket')}"


def _mismatch(value: Any, shape: Any, where: str) -> str:
    """What of a value is not as its shape says: "State.Running: not a bool"; "" where all is."""
    if isinstance(shape, type):
        if isinstance(value, shape) and not (shape is int and isinstance(value, bool)):
            return ""
        return f"{where or 'its value'}: not {_article(shape)}"
    if callable(shape):
        return "" if shape(value) else f"{where or 'its value'}: {value!r:.80} is not allowed here"
    if shape is None:
        return "" if value is None else f"{where or 'its value'}: not null"
    if isinstance(shape, tuple):
        answers = [_mismatch(value, one, where) for one in shape]
        return "" if "" in answers else answers[0]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where or 'its value'}: not a list"
        items: Any = ((f"{where}[{n}]", item, shape[0]) for n, item in enumerate(value))
    elif not isinstance(value, dict):
        return f"{where or 'its value'}: not an object"
    elif isinstance(shape, Each):
        items = ((f"{where}.{key}".lstrip("."), item, shape.shape) for key, item in value.items())
    else:
        items = []
        for key, inner in shape.items():
            name = key.removesuffix("?")
            if name in value:
                items.append((f"{where}.{name}".lstrip("."), value[name], inner))
            elif name == key:
                return f"{where}.{name} is missing".lstrip(".")
    return next((wrong for at, item, inner in items if (wrong := _mismatch(item, inner, at))), "")


def _article(kind: type) -> str:
    names = {str: "a string", int: "a number", bool: "true or false", dict: "an object"}
    return names.get(kind, f"a {kind.__name__}")


# --- records, one a line -------------------------------------------------------------------------


def open_lines(path: str, *, create: bool = True, mode: int = 0o600) -> int:
    """A descriptor that appends to a file of one record a line; errors as of `open_regular`.

    A line without an end, which a power cut or a full disk left there, is ended first, and marked
    by a NUL: no record has one.
    """
    flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0)
    fd = open_regular(path, flags, mode=mode)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            os.write(fd, b"\0\n")
    except OSError:
        pass  # a full disk: what would be appended is lost as well, and who opens it next does this
    return fd


def is_cut_off(line: bytes) -> bool:
    """Whether a line is what is left of records after a power cut or on a full disk.

    Blocks that were never written read as NULs, up to the file's end or to a later block.
    """
    return line.startswith(b"\0") or line.endswith(b"\0")


# --- what is passed over -------------------------------------------------------------------------

_listener: Callable[[DamagedFile], None] | None = None


def report_skipped(error: DamagedFile) -> None:
    """Note that an answer lacks what a damaged file says; who talks to people says so."""
    if _listener is not None:
        _listener(error)


def listen_for_skipped(listener: Callable[[DamagedFile], None]) -> None:
    """Have `listener` called for each damaged file that an answer lacks, maybe more than once."""
    global _listener
    _listener = listener


# --- writing -------------------------------------------------------------------------------------


def write(
    path: str,
    content: str | bytes,
    *,
    durable: bool,
    beside: str = "",
    over_when_full: bool = False,
    mode: int = 0o600,
) -> None:
    """Put a file in the place of the old one: who reads sees the old or the new.

    durable: it is on the disk when this returns, whatever happens to the machine then.
    beside: the new file's name until then; a fixed one where one process at a time writes: what a
    kill -9 leaves is used again. Else each thread has its own.
    over_when_full: where there is no room for a new file, write over the old one's own blocks.
    Raises OSError; then the old one is there as it was.
    """
    beside = beside or f"{path}.{get_native_id()}.new"
    content = content.encode() if isinstance(content, str) else content
    try:
        _write_new(beside, content, durable=durable, mode=mode)
        os.rename(beside, path)
    except BaseException as error:
        _remove(beside)
        full = isinstance(error, OSError) and error.errno in _NO_ROOM and over_when_full
        if not full or not _overwrite(path, content, durable=durable):
            raise
    if durable:
        sync(os.path.dirname(path) or ".")


def writer_of(name: str) -> int:
    """The thread that writes a file of this name (`write`), before it is renamed; 0 for another."""
    _, number, end = name.rsplit(".", 2) if name.count(".") > 1 else ("", "", "")
    return int(number) if end == "new" and is_decimal(number) else 0


def sync(path: str) -> None:
    """Have the disk hold a file, or the names in a directory. Source: fsync(2)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_new(path: str, content: bytes, *, durable: bool, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        while content:
            content = content[os.write(fd, content) :]
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _overwrite(path: str, content: bytes, *, durable: bool) -> bool:
    """Write over a file's own blocks; returns whether it fits in them.

    What gets shorter is filled up with blanks, which JSON allows, so that one write does all of it.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        size = os.fstat(fd).st_size
        if len(content) > -(-size // _BLOCK_BYTES) * _BLOCK_BYTES:
            return False
        os.pwrite(fd, content.ljust(size), 0)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    return True


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
