"""What a container has said: written by its monitor, read by `logs`.

One JSON object a line, in the form of Docker's json-file driver, so that its tools read ours:

    {"log":"hello\\n","stream":"stdout","time":"2024-05-01T12:00:00.123456789Z"}

Source: Docker's documentation of the json-file logging driver.
"""

from __future__ import annotations

import os
import time

from minidock import jsontext
from minidock.engine.clock import timestamp
from minidock.engine.container.containers import Container, find
from minidock.engine.container.restart import NO, policy_of
from minidock.errors import Conflict, NotFound, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store

_LINE_BYTES = 16 * 1024
_BLOCK_BYTES = 64 * 1024
_POLL_SECONDS = 0.1


class LogFile:
    """The monitor's end. A line is written when it is complete, or longer than 16 KiB."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o640)
        self._partial = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        """Take what a stream said."""
        lines = (self._partial[stream] + data).split(b"\n")
        rest = lines.pop()
        now = timestamp()
        out = [_record(line + b"\n", stream, now) for line in lines]
        while len(rest) >= _LINE_BYTES:
            out.append(_record(rest[:_LINE_BYTES], stream, now))
            rest = rest[_LINE_BYTES:]
        self._partial[stream] = rest
        self._append("".join(out))

    def _append(self, text: str) -> None:
        """Add complete lines. Where the disk is full they are lost, and the container lives on."""
        end = os.fstat(self._fd).st_size
        rest = text.encode()
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            os.ftruncate(self._fd, end)  # half a line would spoil the next one

    def close(self) -> None:
        """Write what had no newline at its end."""
        for stream, rest in self._partial.items():
            if rest:
                self._append(_record(rest, stream, timestamp()))
        os.close(self._fd)


def _record(line: bytes, stream: str, now: str) -> str:
    text = line.decode("utf-8", "replace")
    return jsontext.dumps({"log": text, "stream": stream, "time": now}) + "\n"


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
    """What a container has said, as ("stdout" or "stderr", bytes), line by line.

    tail: only that many last lines. since, until: seconds since 1970. follow: go on until it ends.
    Raises NotFound, and Conflict for a container whose log is turned off.
    """
    container = find(store, reference)
    if (container.host_config.get("LogConfig") or {}).get("Type") == "none":
        raise Conflict("configured logging driver does not support reading")
    path = container.paths.log
    with open(path, "rb") as file:
        if tail is not None:
            file.seek(_start_of_tail(file.fileno(), tail))
        for line in _lines(container, file.fileno(), file.tell(), follow=follow):
            try:
                record = jsontext.loads(line)
            except ValueError as error:
                raise StoreError(f"{path}: a line that is not a log record: {error}") from None
            moment = record["time"]
            if since is not None and moment < _stamp(since):
                continue
            if until is not None and moment > _stamp(until):
                return
            prefix = f"{moment} " if timestamps else ""
            yield record["stream"], (prefix + record["log"]).encode()


def _stamp(seconds: float) -> str:
    return timestamp(int(seconds * 1_000_000_000))


def _lines(container: Container, fd: int, offset: int, *, follow: bool) -> Iterator[bytes]:
    """Complete lines from an offset on; with follow, until the container has ended."""
    rest = b""
    while True:
        lives = follow and _goes_on(container)
        block = os.pread(fd, _BLOCK_BYTES, offset)
        offset += len(block)
        if block:
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
        elif not lives:
            return
        else:
            time.sleep(_POLL_SECONDS)


def _goes_on(container: Container) -> bool:
    """Whether the run that is followed goes on: `logs -f` ends with it, as Docker's does."""
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


def _start_of_tail(fd: int, lines: int) -> int:
    """The offset at which the last `lines` lines begin, found from the end in blocks."""
    end = os.fstat(fd).st_size
    if lines <= 0:
        return end
    found, position = -1, end  # the newline at the very end closes the last line
    while position > 0:
        size = min(_BLOCK_BYTES, position)
        position -= size
        block = os.pread(fd, size, position)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            found += 1
            if found == lines:
                return position + at + 1
    return 0
