"""The events of a store: one line of JSON per event, in a file that `events` reads.

dockerd keeps its last 256 events in memory. Without a daemon, each process (a command, a
container's monitor) appends a line to events.jsonl, by one write(2) in append mode, so that lines
of several processes do not mix. At 4 MiB the file is renamed to events.jsonl.1, which replaces an
older one, and a new file is started.

If an event cannot be written, on a full disk, it is lost, but the operation does not fail.

    {"status":"start","id":"3f…","from":"busybox","Type":"container","Action":"start",
     "Actor":{"ID":"3f…","Attributes":{"image":"busybox","name":"web"}},
     "scope":"local","time":1714564800,"timeNano":1714564800123456789}

Source: Docker Engine API 1.45 SystemEvents; the events and attributes of docker 26.1.
"""

from __future__ import annotations

import os
import time

from minidock import jsontext
from minidock.document import (
    Each,
    is_cut_off,
    open_lines,
    open_regular,
    parse,
    read_bytes,
    report_skipped,
)
from minidock.errors import DamagedFile
from minidock.kernel.flock import try_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.document import Shape
    from minidock.document_types.store import Event
    from minidock.paths import Store

SHAPE: Shape = {
    "Type": str, "Action": str, "Actor": {"ID": str, "Attributes": Each(str)}, "scope": str,
    "time": int, "timeNano": int, "status?": str, "id?": str, "from?": str,
}  # fmt: skip
_LONGEST_LINE_BYTES = 1 << 20
_LONGEST_BYTES = 4 << 20
_BLOCK_BYTES = 1 << 16
_POLL_SECONDS = 0.05
_NEVER = 1 << 63  # in nanoseconds; Go's times end there


def emit(store: Store, kind: str, action: str, actor: str, **attributes: str) -> None:
    """Record an event. kind: "container", "image", "volume" or "network". actor: its id or name."""
    emit_all(store, [event(kind, action, actor, attributes)])


def emit_pruned(store: Store, kind: str, reclaimed_bytes: int) -> None:
    """Record a prune of a kind: `container prune`, `image prune`, …"""
    emit(store, kind, "prune", "", reclaimed=str(reclaimed_bytes))


def event(kind: str, action: str, actor: str, attributes: dict[str, str]) -> Event:
    """Create an event with the current time, for `emit_all`."""
    now = time.time_ns()
    ordered = {name: attributes[name] for name in sorted(attributes)}
    return {
        "Type": kind, "Action": action, "Actor": {"ID": actor, "Attributes": ordered},
        "scope": "local", "time": now // 1_000_000_000, "timeNano": now,
    }  # fmt: skip


def emit_all(store: Store, events: list[Event]) -> None:
    """Record events in order."""
    if not events:
        return
    text = "".join(jsontext.dumps(event) + "\n" for event in events)
    try:
        fd = open_lines(store.events)
        try:
            os.write(fd, text.encode())
            if os.fstat(fd).st_size > _LONGEST_BYTES:
                _set_aside(store, fd)
        finally:
            os.close(fd)
    except (OSError, DamagedFile):
        pass


def _set_aside(store: Store, fd: int) -> None:
    """Rotate the file; of several processes that find it full, one does so.

    The others do not wait for it, since it may be stopped: the next event tries again.
    """
    if try_lock(fd) and os.stat(store.events).st_ino == os.fstat(fd).st_ino:
        os.rename(store.events, f"{store.events}.1")


def read(
    store: Store, *, since: float | None, until: float | None, follow: bool
) -> Iterator[Event]:
    """Yield events in the order of recording; with `follow`, new ones as well.

    since, until: seconds since 1970; without `since`, only new events with `follow`, otherwise all.
    """
    begin = since if since is not None else (time.time() if follow else 0.0)
    for line in _lines(store, until=until, follow=follow):
        if is_cut_off(line):
            continue
        try:
            event: Event = parse(line, store.events, SHAPE)
            if not 0 <= event["timeNano"] < _NEVER:
                raise DamagedFile(store.events, f"timeNano: {event['timeNano']!r:.80} is invalid")
        except DamagedFile as error:
            report_skipped(error)
            continue
        moment = event["timeNano"] / 1e9
        if moment >= begin and (until is None or moment <= until):
            yield event


def _lines(store: Store, *, until: float | None, follow: bool) -> Iterator[bytes]:
    """Yield complete lines of the previous file, of this one, and of later ones."""
    yield from _whole(f"{store.events}.1")
    while True:
        try:
            fd = open_regular(store.events)
        except DamagedFile as error:
            report_skipped(error)
            return
        except FileNotFoundError:
            if not _goes_on(until, follow=follow):
                return
            time.sleep(_POLL_SECONDS)
            continue
        with open(fd, "rb", buffering=0) as file:
            rest = b""
            while True:
                is_last = not _is_current(store, fd)  # checked before the last read
                goes_on = _goes_on(until, follow=follow)
                while block := file.read(_BLOCK_BYTES):
                    *lines, rest = (rest + block).split(b"\n")
                    yield from lines
                    if len(rest) > _LONGEST_LINE_BYTES:
                        report_skipped(DamagedFile(store.events, "a line of it has no end"))
                        return
                if is_last:
                    break
                if not goes_on:
                    return
                time.sleep(_POLL_SECONDS)


def _whole(path: str) -> list[bytes]:
    try:
        return read_bytes(path).splitlines()
    except FileNotFoundError:
        return []
    except DamagedFile as error:
        report_skipped(error)
        return []


def _is_current(store: Store, fd: int) -> bool:
    try:
        return os.stat(store.events).st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def _goes_on(until: float | None, *, follow: bool) -> bool:
    return follow and (until is None or time.time() < until)
