"""Documents: the small JSON files of a store, validated when read, replaced atomically.

A power failure, a full disk, a bad block or a person may truncate, empty, replace or remove any of
them. `read` returns a value that matches a shape, or raises DamagedFile with the path; it never
blocks (a FIFO in its place is opened with O_NONBLOCK), and its input is limited.

Functions that list many documents skip damaged ones and report them (`report_skipped`). Objects
that a damaged document may refer to are not removed.

    a shape       what it allows
    str, int …    a value of this type; bool is not an int here
    a function    values for which it returns True, such as is_digest
    (a, b)        any of these shapes; None is a shape too
    [a]           a list of them
    {"k": a}      an object with these keys; one that ends in "?" may be missing; others are allowed
    Each(a)       an object whose values are all of that shape

A file is written beside its target and renamed over it. With durable=True it survives a power
failure from then on: the file is on the disk before its name, and its name when `write` returns.

Sources: open(2) O_NONBLOCK, O_NOFOLLOW; rename(2); fsync(2): "Calling fsync() does not necessarily
ensure that the entry in the directory containing the file has also reached disk"; pwrite(2).
"""

from __future__ import annotations

import errno
import os
import stat
from _thread import get_native_id

from minidock import jsontext
from minidock.errors import DamagedFile, LockTimeout, MinidockError, system_error
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, TypeAlias, TypeVar

    T = TypeVar("T")
    # As the table above has it. A function may take values of one type only: hence Any.
    Shape: TypeAlias = """(
        type | Callable[[Any], bool] | tuple[Shape, ...] | list[Shape] | Mapping[str, Shape]
        | Each | None
    )"""

LONGEST_BYTES = 64 << 20  # a network with 65,534 leases takes a third of that
_BLOCK_BYTES = 4096
# Errors of open(2) and read(2) for a file that is not a regular one, or on a broken disk.
_BROKEN = {errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EIO, errno.EUCLEAN, errno.EBADMSG}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFLNK: "a symbolic link"}


class Each:
    """The shape of an object with arbitrary keys, whose values all have one shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape


def read(path: str, shape: Shape) -> Any:
    """Read a document and return its value, to which the caller gives the type of its shape.

    Raises FileNotFoundError; DamagedFile if the value does not match `shape`.
    """
    return parse(read_bytes(path), path, shape)


def parse(content: bytes, path: str, shape: Shape) -> Any:
    """Parse the content of a document. Raises DamagedFile."""
    try:
        value = jsontext.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(path, str(error) if content else "it is empty") from None
    if wrong := _mismatch(value, shape, ""):
        raise DamagedFile(path, wrong)
    return value


def read_bytes(path: str, *, longest: int = LONGEST_BYTES, follow: bool = False) -> bytes:
    """Read a regular file.

    longest: the maximum size in bytes. follow: follow a symbolic link in the last component.
    Raises FileNotFoundError, DamagedFile, and OSError for other errors (EACCES).
    """
    fd = open_regular(path, follow=follow)
    try:
        if (size := os.fstat(fd).st_size) > longest:
            raise DamagedFile(path, f"it has {size} bytes; the maximum is {longest}")
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
    """Open a regular file without blocking on files of other types.

    flags, mode: as for open(2). follow, errors: as for `read_bytes`.
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
    """Read a file to its end."""
    blocks = []
    while longest >= 0 and (block := os.read(fd, 1 << 16)):
        blocks.append(block)
        longest -= len(block)
    return b"".join(blocks)


def _kind_of(path: str) -> str:
    """Describe the type of a file that is not a regular one."""
    try:
        kind = stat.S_IFMT(os.lstat(path).st_mode)
    except OSError:
        return ""
    return "" if kind == stat.S_IFREG else f"it is {_KINDS.get(kind, 'a device or a socket')}"


def _mismatch(value: Any, shape: Shape, where: str) -> str:
    """Return the first mismatch, such as "State.Running: not a bool"; "" if the value matches."""
    if isinstance(shape, tuple):
        answers = [_mismatch(value, one, where) for one in shape]
        return "" if "" in answers else answers[0]
    if wrong := _wrong_kind(value, shape):
        return f"{where or 'its value'}: {wrong}"
    if isinstance(shape, dict):
        for key in shape:
            if not key.endswith("?") and key not in value:
                return f"{where}.{key} is missing".lstrip(".")
    items = _items(value, shape, where)
    return next((wrong for at, item, inner in items if (wrong := _mismatch(item, inner, at))), "")


def _wrong_kind(value: object, shape: Shape) -> str:
    """What is wrong with a value, whatever is inside it: "not a list"; "" if nothing is."""
    if shape is None:
        return "" if value is None else "not null"
    if isinstance(shape, type):
        is_right = isinstance(value, shape) and not (shape is int and isinstance(value, bool))
        return "" if is_right else f"not {_article(shape)}"
    if callable(shape):
        return "" if shape(value) else f"{value!r:.80} is not allowed here"
    if isinstance(shape, list):
        return "" if isinstance(value, list) else "not a list"
    return "" if isinstance(value, dict) else "not an object"


def _items(value: Any, shape: Shape, where: str) -> Iterator[tuple[str, Any, Any]]:
    """What is inside a list or an object, each as (place, value, shape)."""
    if isinstance(shape, list):
        for number, item in enumerate(value):
            yield f"{where}[{number}]", item, shape[0]
    elif isinstance(shape, Each):
        for key, item in value.items():
            yield f"{where}.{key}".lstrip("."), item, shape.shape
    elif isinstance(shape, dict):
        for key, inner in shape.items():
            name = key.removesuffix("?")
            if name in value:
                yield f"{where}.{name}".lstrip("."), value[name], inner


def _article(kind: type) -> str:
    names = {str: "a string", int: "a number", bool: "true or false", dict: "an object"}
    return names.get(kind, f"a {kind.__name__}")


def without_empty(value: T) -> T:
    """A copy of an object without the fields that are empty: null, "", 0, false, [] and {}."""
    fields: Any = value  # a TypedDict cannot be filtered by names that are not literals
    fields = {name: part for name, part in fields.items() if part}
    kept: T = fields
    return kept


def without_null(value: T) -> T:
    """A copy of an object without the fields that are null."""
    fields: Any = value  # as above
    fields = {name: part for name, part in fields.items() if part is not None}
    kept: T = fields
    return kept


# --- records, one a line -------------------------------------------------------------------------


def open_lines(path: str, *, create: bool = True, mode: int = 0o600) -> int:
    """Open a file of one record per line for appending; errors as for `open_regular`.

    An incomplete last line, left by a power failure or a full disk, is ended first and marked by a
    NUL, which no record contains.
    """
    flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0)
    fd = open_regular(path, flags, mode=mode)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            os.write(fd, b"\0\n")
    except OSError:
        pass  # a full disk: the appended record is lost too, and the next open repairs the line
    return fd


def is_cut_off(line: bytes) -> bool:
    """Whether a line is the rest of records after a power failure or on a full disk.

    Blocks that were never written read as NULs.
    """
    return line.startswith(b"\0") or line.endswith(b"\0")


# --- skipped documents ---------------------------------------------------------------------------

_listener: Callable[[MinidockError], None] | None = None


def report_skipped(error: MinidockError) -> None:
    """Report what a command has skipped: a damaged file, or a leftover that cannot be removed.

    The listener warns the user.
    """
    if _listener is not None:
        _listener(error)


def listen_for_skipped(listener: Callable[[MinidockError], None]) -> None:
    """Call `listener` for each thing that is skipped, possibly more than once."""
    global _listener
    _listener = listener


class reporting_skipped:
    """An error in this block ends only the block, and is reported: for leftovers on the way.

    A leftover that the kernel does not let us remove must not hinder a command that has nothing to
    do with it. A LockTimeout is raised: the command itself would wait for the same lock.
    error: what was reported, or None.
    """

    error: MinidockError | None = None

    def __enter__(self) -> reporting_skipped:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, OSError):
            error = system_error(error)
        if not isinstance(error, MinidockError) or isinstance(error, LockTimeout):
            return False
        self.error = error
        report_skipped(error)
        return True


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
    """Replace a file atomically: a reader sees the old content or the new one.

    durable: the content is on the disk when this returns, and survives a power failure.
    beside: the path of the temporary file; a fixed one if only one process writes at a time: then a
    leftover of kill -9 is reused. By default each thread has its own.
    over_when_full: on a full disk, overwrite the blocks of the old file.
    Raises OSError; the old file is unchanged then.
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
    """Return the thread id in the name of a temporary file of `write`; 0 for other names."""
    _, number, end = name.rsplit(".", 2) if name.count(".") > 1 else ("", "", "")
    return int(number) if end == "new" and is_decimal(number) else 0


def sync(path: str) -> None:
    """Flush a file, or the entries of a directory, to the disk. Source: fsync(2)."""
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
    """Overwrite a file's blocks; returns whether the content fits.

    Shorter content is padded with spaces, which JSON allows, so that one write is enough.
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
