"""A container's log: written by its monitor, read by `logs`.

One JSON object a line, in the format of Docker's json-file driver:

    {"log":"hello\\n","stream":"stdout","time":"2024-05-01T12:00:00.123456789Z"}

Source: Docker's documentation of the json-file logging driver.
"""

from __future__ import annotations

import os
import time

from minidock import jsontext
from minidock.document import is_cut_off, open_lines, open_regular, parse, report_skipped
from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import find
from minidock.engine.container.restart_policy import NO, policy_of
from minidock.engine.store.timestamps import timestamp
from minidock.errors import Conflict, DamagedFile, NotFound, UsageError
from minidock.numerals import decimal_fraction, is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.document import Shape
    from minidock.document_types.host_config import HostConfig
    from minidock.paths import Store

_LINE_BYTES = 16 * 1024
_BLOCK_BYTES = 64 * 1024
_POLL_SECONDS = 0.1
_RECORD_TYPES: Shape = {"log": str, "stream": str, "time": str}
_MAX_LINE_BYTES = 1 << 20
_HINT = "--log-opt max-size=10m --log-opt max-file=3"


class Limits:
    """The limits of log rotation: --log-opt max-size and max-file.

    max_bytes: 0 for no rotation.
    """

    def __init__(self, max_bytes: int = 0, max_files: int = 1) -> None:
        self.max_bytes = max_bytes
        self.max_files = max_files


def limits_of(host_config: HostConfig) -> Limits:
    """The limits of a HostConfig. Raises UsageError with Docker's messages."""
    options = (host_config.get("LogConfig") or {}).get("Config") or {}
    size, count = options.get("max-size"), options.get("max-file")
    max_bytes = _size_bytes(size) if size is not None else 0
    if count is not None and not is_decimal(count):
        raise UsageError(f'strconv.Atoi: parsing "{count}": invalid syntax', hint=_HINT)
    if count is not None and int(count) < 1:
        raise UsageError("max-file cannot be less than 1", hint=_HINT)
    if count is not None and int(count) > 1 and not max_bytes:
        return Limits()  # no rotation without max-size
    return Limits(max_bytes, int(count or 1))


def _size_bytes(text: str) -> int:
    """A size such as "10k" or "1.5m" in bytes; powers of 1000, as with Docker."""
    word = text.lower().removesuffix("b").removesuffix("i")
    power = "kmgtp".find(word[-1:]) + 1 if word[-1:] else 0
    number = word[:-1] if power else word
    try:
        size = int(decimal_fraction(number) * 1000**power)
    except ValueError:
        raise UsageError(f"invalid size: '{text}'", hint=_HINT) from None
    if size <= 0:
        raise UsageError("max-size must be a positive number", hint=_HINT)
    return size


class LogFile:
    """Writes the log: a line once it is complete, or in parts of 16 KiB.

    Rotation renames log.json to log.json.1, that to log.json.2, and removes the oldest.
    """

    def __init__(self, path: str, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._fd = open_lines(path, mode=0o640)
        self._partial = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        """Write output of a stream."""
        lines = (self._partial[stream] + data).split(b"\n")
        rest = lines.pop()
        now = timestamp()
        out = _records([line + b"\n" for line in lines], stream, now)
        long = len(rest) - len(rest) % _LINE_BYTES
        cut = [rest[at : at + _LINE_BYTES] for at in range(0, long, _LINE_BYTES)]
        self._partial[stream] = rest[long:]
        self._append_all(out + _records(cut, stream, now))

    def _append_all(self, records: list[bytes]) -> None:
        """Append records, and rotate full files."""
        longest = self._limits.max_bytes
        if not longest:
            self._append(b"".join(records))
            return
        size, fitting = os.fstat(self._fd).st_size, b""
        for record in records:
            if size >= longest:
                self._append(fitting)
                self._rotate()
                size, fitting = 0, b""
            size += len(record)
            fitting += record
        self._append(fitting)

    def _rotate(self) -> None:
        """Rotate the full file; on a disk error it keeps growing."""
        names = [self._path, *(f"{self._path}.{n}" for n in range(1, self._limits.max_files))]
        try:
            for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
                if os.path.exists(newer):
                    os.rename(newer, older)
            if len(names) == 1:
                os.unlink(self._path)  # readers have it open
            fresh = open_lines(self._path, mode=0o640)
        except OSError:
            return
        os.close(self._fd)
        self._fd = fresh

    def _append(self, rest: bytes) -> None:
        """Append complete lines; drop them if the disk is full."""
        end = os.fstat(self._fd).st_size
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            os.ftruncate(self._fd, end)  # a partial line would damage the next one

    def close(self) -> None:
        """Write partial lines and close."""
        for stream, rest in self._partial.items():
            if rest:
                self._append_all(_records([rest], stream, timestamp()))
        os.close(self._fd)


def _records(lines: list[bytes], stream: str, now: str) -> list[bytes]:
    """Format records directly, for speed."""
    quote, end = jsontext.quote, f',"stream":"{stream}","time":"{now}"}}\n'
    return [f'{{"log":{quote(line.decode("utf-8", "replace"))}{end}'.encode() for line in lines]


def stream(
    store: Store,
    reference: str,
    *,
    follow: bool,
    tail: int | None,
    since: float | None,
    until: float | None,
    timestamps: bool,
) -> Iterator[tuple[str, bytes]]:
    """Read a container's log in blocks, as ("stdout" or "stderr", bytes).

    tail: only that many last lines. since, until: seconds since 1970. follow: continue until the
    container stops. Raises NotFound, and Conflict for the driver "none".
    """
    container = find(store, reference)
    if (container.host_config.get("LogConfig") or {}).get("Type") == "none":
        raise Conflict("configured logging driver does not support reading")
    path = container.paths.log
    files = _open_all(path, since_inode=0)
    try:
        at, offset = (0, 0) if tail is None else _start_of_tail(files, tail)
        for lines in _lines(container, files, at, offset, follow=follow):
            output, name = b"", ""
            for record in filter(None, (_parse_record(line, path) for line in lines)):
                moment = record["time"]
                if since is not None and moment < _stamp(since):
                    continue
                if until is not None and moment > _stamp(until):
                    yield name, output
                    return
                if record["stream"] != name:
                    yield name, output
                    output, name = b"", record["stream"]
                prefix = f"{moment} " if timestamps else ""
                output += (prefix + record["log"]).encode(errors="replace")
            yield name, output
    finally:
        for descriptor in files:
            os.close(descriptor)


def _parse_record(line: bytes, path: str) -> dict[str, str] | None:
    """Parse a line; None for a partial or damaged one."""
    if is_cut_off(line):
        return None
    try:
        record: dict[str, str] = parse(line, path, _RECORD_TYPES)
    except DamagedFile as error:
        report_skipped(DamagedFile(path, error.why, hint="its other lines are shown"))
        return None
    return record


def _stamp(seconds: float) -> str:
    return timestamp(int(seconds * 1_000_000_000))


def _open_all(path: str, *, since_inode: int) -> list[int]:
    """Open the log's files, oldest first. since_inode: only those newer than that file.

    The newest is opened first. If it is rotated meanwhile, it appears again under its next name,
    and is skipped.
    """
    found: list[int] = []
    seen = set()
    name, number = path, 0
    while True:
        try:
            fd = open_regular(name)
        except FileNotFoundError:
            if number:
                break
            fd = -1  # rotation is under way
        inode = os.fstat(fd).st_ino if fd >= 0 else 0
        if inode and inode == since_inode:
            os.close(fd)
            break
        if inode in seen:
            os.close(fd)
        elif fd >= 0:
            seen.add(inode)
            found.insert(0, fd)
        number += 1
        name = f"{path}.{number}"
    return found


def _lines(
    container: Container, files: list[int], at: int, offset: int, *, follow: bool
) -> Iterator[list[bytes]]:
    """Yield complete lines, block by block, from an offset of a file; with follow, until the
    container has stopped.

    files: open descriptors, closed by the caller; files created meanwhile are added.
    """
    rest = b""
    while files:
        continues = follow and _continues(container)
        is_last = at == len(files) - 1
        if is_last and continues:
            files += _newer(container.paths.log, files[at])
        block = os.pread(files[at], _BLOCK_BYTES, offset)
        offset += len(block)
        if block:
            *lines, rest = (rest + block).split(b"\n")
            if len(rest) > _MAX_LINE_BYTES:
                raise DamagedFile(container.paths.log, "it contains a line that is too long")
            yield lines
        elif at < len(files) - 1:
            at, offset, rest = at + 1, 0, b""
        elif not continues:
            return
        else:
            time.sleep(_POLL_SECONDS)


def _newer(path: str, fd: int) -> list[int]:
    """Open the files created after this one."""
    inode = os.fstat(fd).st_ino
    try:
        if os.stat(path).st_ino == inode:
            return []
    except FileNotFoundError:
        return []
    return _open_all(path, since_inode=inode)


def _continues(container: Container) -> bool:
    """Whether the followed run continues: `logs -f` ends with it, as Docker's does."""
    if container.monitor_pid == 0:
        return False
    if policy_of(container.host_config).name == NO:
        return True
    started = container.state["StartedAt"]
    try:
        container.reload()
    except NotFound:
        return False
    return not container.restarting and bool(container.state["StartedAt"] == started)


def _start_of_tail(files: list[int], lines: int) -> tuple[int, int]:
    """The index of the file, and the offset in it, of the last `lines` lines."""
    wanted = lines
    for at in reversed(range(len(files))):
        offset, found = _start_in_file(files[at], wanted)
        if found >= wanted or at == 0:
            return at, offset
        wanted -= found
    return 0, 0


def _start_in_file(fd: int, lines: int) -> tuple[int, int]:
    """The offset of the last `lines` lines of a file, and their number; reads from the end."""
    end = os.fstat(fd).st_size
    if lines <= 0:
        return end, 0
    found, position = -1, end  # the final newline ends the last line
    while position > 0:
        size = min(_BLOCK_BYTES, position)
        position -= size
        block = os.pread(fd, size, position)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            found += 1
            if found == lines:
                return position + at + 1, found
    return 0, found + 1
