"""layers --watch: follow the changes of a container's upperdir.

    inotify(7): "a directory of upper changed"
        ->  read the directory again and compare it with its known state
        ->  explain each new or replaced entry as `where` does (path_history.py)

It uses inotify, since a fanotify mark on the file system would report all other writes on that disk
too. Two limits of inotify do no harm here, a new directory that is filled before it is watched, and
a queue overflow: events only say where to look, and the report comes from upper itself. A change
that is reverted meanwhile is not reported.

Overlayfs creates a copy or a whiteout in its workdir and then renames or links it into upper, so
each new entry is complete.
"""

from __future__ import annotations

import json
import os
import select
import stat
import time
from contextlib import suppress
from textwrap import wrap

from minidock.errors import Conflict, KernelError, NotFound
from minidock.kernel.inotify import IN_IGNORED, IN_Q_OVERFLOW, Inotify, is_gone
from minidock.teach.layers.find import is_unmounted, of_container
from minidock.teach.layers.layer import ORIGIN
from minidock.teach.layers.path_history import history_of
from minidock.teach.page import WIDTH, Paint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from minidock.engine.container.containers import Container
    from minidock.engine.image.upper_walk import Entry
    from minidock.teach.layers.layer import Layer

    Mark = tuple[int, int, bool, bytes]  # inode, kind of file, opaque, origin
    Known = dict[bytes, Mark]  # name -> its state at the last comparison

_POLL_SECONDS = 1.0  # to check whether the container still exists
_GATHER_SECONDS = 0.02  # to join related events, such as a directory and its first file
_ATTEMPTS = 5
_NO_MARK = (0, 0, False, b"")
_WORDS = {
    "copied up": "copy-up",
    "merged": "copy-up",
    "changed": "copy-up?",
    "renamed": "renamed",
    "replaced": "replaced",
    "added": "new",
    "deleted": "whiteout",
    "opaque": "opaque",
    "gone": "gone",
}


class Event:
    """One change.

    event: as in class PathHistory; or "gone": an entry of upper was removed without a whiteout.
    path: absolute.
    """

    def __init__(self, event: str, path: str, sentences: list[str]) -> None:
        self.event = event
        self.path = path
        self.sentences = sentences
        self.time = time.time()

    def plain(self) -> dict[str, object]:
        """The event as a JSON object. "time" is in seconds since 1970."""
        return {**vars(self), "word": _WORDS[self.event]}


class Watcher:
    """The known state of an upperdir, and the inotify queue for it.

    upper: open. layers: all layers, topmost first; each event opens them.
    """

    def __init__(self, upper: Layer, layers: Sequence[Layer], changes: Inotify) -> None:
        self._upper = upper
        self._layers = layers
        self._changes = changes
        self._directories: dict[int, bytes] = {}  # watch -> its directory's path
        self._known: dict[bytes, Known] = {}
        self._stale: set[bytes] = set()

    def begin(self) -> None:
        """Read the initial state."""
        self._enter(b"")

    def wait(self, seconds: float) -> Iterator[Event]:
        """The next changes; waits at most so many seconds."""
        timeout = _GATHER_SECONDS if self._stale else seconds
        if select.select([self._changes.fd], [], [], timeout)[0]:
            time.sleep(_GATHER_SECONDS)
        dirty, self._stale = self._stale, set()
        for number, mask in self._changes.read():
            if mask & IN_Q_OVERFLOW:
                dirty |= set(self._known)
            elif number in self._directories:
                dirty.add(self._directories[number])
            if mask & IN_IGNORED and number in self._directories:
                dirty |= self._forget_watch(self._directories.pop(number))
        for directory in sorted(dirty):
            if directory in self._known:
                yield from self._compare(directory)

    def _forget_watch(self, directory: bytes) -> set[bytes]:
        """Forget a removed directory; its successor may have the same inode number."""
        parent, _, name = directory.rpartition(b"/")
        if directory and name in self._known.get(parent, {}):
            self._known[parent][name] = _NO_MARK
        return {parent}

    def _enter(self, directory: bytes) -> list[bytes]:
        """Watch a directory recursively; returns the paths in it."""
        try:
            fd = self._upper.open_directory(directory)
        except Conflict:  # gone already: an event of its parent reports that
            return []
        try:
            self._directories[self._changes.watch(fd)] = directory
        except KernelError as error:
            if is_gone(error):
                return []
            raise
        finally:
            os.close(fd)
        entries = self._entries(directory) or []
        self._known[directory] = {_name(entry): mark for entry, mark in entries}
        found = []
        for entry, _ in entries:
            found.append(entry.path)
            if entry.is_directory:
                found += self._enter(entry.path)
        return found

    def _compare(self, directory: bytes) -> Iterator[Event]:
        """Compare a directory with its known state."""
        before = self._known[directory]
        entries = self._entries(directory)
        if entries is None:
            return
        self._known[directory] = {_name(entry): mark for entry, mark in entries}
        for entry, new in entries:
            old = before.pop(_name(entry), None)
            if old == new:
                continue
            if old is not None:
                self._forget(entry.path)
            yield from self._events_of(entry.path)
            if entry.is_directory:
                for path in self._enter(entry.path):
                    yield from self._events_of(path)
        for name in before:
            path = directory + b"/" + name if directory else name
            self._forget(path)
            shown = "/" + os.fsdecode(path)
            yield Event("gone", shown, ["The container removed what it had created here."])

    def _entries(self, directory: bytes) -> list[tuple[Entry, Mark]] | None:
        """The entries of a directory; None if it, or one in it, is replaced each time.

        It is then compared again later. If it is gone, an event of its parent reports that.
        """
        for _ in range(_ATTEMPTS):
            with suppress(Conflict):
                paths = [
                    directory + b"/" + name if directory else name
                    for name in self._upper.names(directory)
                ]
                entries = [self._upper.entry(path) for path in paths]
                return [(entry, self._mark(entry)) for entry in entries if entry is not None]
        self._stale.add(directory)
        return None

    def _mark(self, entry: Entry) -> Mark:
        """The identity of an entry; an inode number alone may be reused."""
        status = entry.status
        origin = b"" if entry.is_directory else self._upper.attribute(entry.path, ORIGIN) or b""
        return status.st_ino, stat.S_IFMT(status.st_mode), entry.opaque, origin

    def _events_of(self, path: bytes) -> Iterator[Event]:
        shown = "/" + os.fsdecode(path)
        try:
            history = history_of("", self._layers, shown)
        except (NotFound, Conflict):  # gone again: the next comparison reports that
            self._stale.add(path.rpartition(b"/")[0])
            return
        if history.event in _WORDS:
            yield Event(history.event, shown, history.sentences)

    def _forget(self, path: bytes) -> None:
        for known in [k for k in self._known if k == path or k.startswith(path + b"/")]:
            del self._known[known]
        self._directories = {n: d for n, d in self._directories.items() if d in self._known}


def _name(entry: Entry) -> bytes:
    return entry.path.rpartition(b"/")[2]


def watch(container: Container, out: TextIO, *, as_json: bool) -> None:
    """Print the changes of a container's upperdir, until it is removed or Ctrl-C.

    Raises NotFound if its image was removed, KernelError at the limit of watches, Conflict if its
    upperdir is not mounted.
    """
    if is_unmounted(container):
        raise Conflict(
            f"container {container.name} does not run: its upperdir is not mounted",
            hint=f"minidock start {container.name}",
        )
    paint = Paint(out)
    with Inotify() as changes, of_container(container)[0] as upper:
        watcher = Watcher(upper, of_container(container), changes)
        watcher.begin()
        if not as_json:
            out.write(paint.bold(f"watching {upper.path}") + "\n")
        else:
            out.write(json.dumps({"watching": upper.path}) + "\n")
        out.flush()
        while os.path.exists(container.paths.document):
            for event in watcher.wait(_POLL_SECONDS):
                if not os.path.exists(container.paths.document):
                    return  # the container is being removed
                _write(event, out, paint, as_json=as_json)
            out.flush()


def _write(event: Event, out: TextIO, paint: Paint, *, as_json: bool) -> None:
    if as_json:
        out.write(json.dumps(event.plain(), ensure_ascii=False) + "\n")
        return
    clock = time.strftime("%H:%M:%S", time.localtime(event.time))
    word = paint.bold(f"{_WORDS[event.event]:<9}")
    out.write(f"{paint.dim(clock)}  {word} {event.path}\n")
    indent = " " * 20
    for sentence in event.sentences:
        for line in wrap(sentence, WIDTH, initial_indent=indent, subsequent_indent=indent):
            out.write(paint.dim(line) + "\n")
