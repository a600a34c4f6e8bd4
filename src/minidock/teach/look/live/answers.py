"""What a served page asks for: the containers, the story of one, and what is true of it now.

    listing   [{id, title, version, pause}]    the newest first; a version changes with the journal
                                               and the pause of a `run --step` (stepped_run.py)
    story     as in an exported page (document.py), and the texts of its operations
    now       of a container that is shown (now.py), and where that differs from its journal
    layers    its layers and what it has written; path: which layer answers for one (layers.py)
    order     a command for its `run --step`
    packets   sends packets, hop by hop (packet.py)

Nothing is kept but the last story of each container, until its version changes.
"""

from __future__ import annotations

import os
import time
from threading import Lock

from minidock.engine.container.lookup import find, list_containers
from minidock.errors import MinidockError, NotFound
from minidock.paths import is_sha256
from minidock.teach.look.document import ops_of, story_of
from minidock.teach.look.live.difference import differences, limit_files
from minidock.teach.look.live.layers import layers_of, path_in
from minidock.teach.look.live.now import now_of
from minidock.teach.look.live.packet import Packets
from minidock.teach.look.live.stepped_run import entry_waiting, pause_of, send
from minidock.teach.look.scene import Scene, Step
from minidock.teach.subject import run_of, title_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container
    from minidock.paths import Store
    from minidock.teach.language import Language
    from minidock.teach.look.document import Document
    from minidock.teach.look.live.stepped_run import Order, Pause

CONTAINERS_MOST = 100
_READ_SECONDS = 0.5  # a listing is not read again before


class _Story:
    """A container's journal as it was at one time. pause: of its `run --step`, if it has one."""

    def __init__(self, container: Container, pause: Pause | None, language: Language) -> None:
        self.version = _version(container, pause)
        subject = run_of(container)
        entry = entry_waiting(subject.ops, pause)
        waiting = None if entry is None else Step(entry)
        self.scene = Scene(each for each in subject.ops if each is not entry)
        story = story_of(subject, self.scene, language, waiting)
        self.document = {
            "story": story,
            "ops": ops_of(self.scene, language, waiting),
        }


class Answers:
    """Some containers of a store, or all. ids: of the containers; empty for all."""

    def __init__(self, store: Store, ids: list[str], language: Language) -> None:
        self._store = store
        self._ids = ids
        self.packets = Packets(store)
        self._language = language
        self._listing: list[Document] = []
        self._read_at = 0.0
        self._stories: dict[str, _Story] = {}
        self._pauses: dict[str, Pause | None] = {}  # as they were last
        self._lock = Lock()  # each connection has a thread of its own

    def listing(self) -> list[Document]:
        """The containers that have been started."""
        with self._lock:
            if time.monotonic() - self._read_at >= _READ_SECONDS:
                containers = [each for each in self._containers() if _was_started(each)]
                self._pauses = {each.id: self._pause(each) for each in containers}
                self._listing = [self._item(each) for each in containers]
                known = set(self._pauses)
                self._stories = {key: s for key, s in self._stories.items() if key in known}
                self._read_at = time.monotonic()
            return self._listing

    def story(self, container_id: str) -> Document:
        """The story of a container. Raises NotFound, DamagedFile."""
        with self._lock:
            return self._story(self._find(container_id)).document

    def now(self, container_id: str) -> Document:
        """What is true now of a container. Raises NotFound, DamagedFile."""
        with self._lock:
            container = self._find(container_id)
            story = self._story(container)
            now = now_of(container, limit_files(story.scene))
        facts = now["facts"]
        differing = differences(story.scene, facts) if facts is not None else []
        return {"id": container_id, **now, "differs": differing}

    def layers(self, container_id: str) -> Document:
        """Its layers, and what it has written. Raises NotFound, Conflict."""
        return layers_of(self._checked(container_id))

    def path(self, container_id: str, path: str) -> Document:
        """Which layer answers for a path. Raises NotFound, UsageError, Conflict."""
        return path_in(self._checked(container_id), path)

    def order(self, order: Order) -> None:
        """Send a command to a container's `run --step`. Raises NotFound, Conflict."""
        send(self._checked(order["container"]), order)
        self._read_at = 0.0  # the next listing has its effect

    def _checked(self, container_id: str) -> Container:
        with self._lock:
            return self._find(container_id)

    def _story(self, container: Container) -> _Story:
        known, pause = self._stories.get(container.id), self._pause(container)
        if known is None or known.version != _version(container, pause):
            known = self._stories[container.id] = _Story(container, pause, self._language)
        return known

    def _pause(self, container: Container) -> Pause | None:
        return pause_of(container, self._pauses.get(container.id))

    def _item(self, container: Container) -> Document:
        """A container of the listing."""
        pause = self._pauses[container.id]
        version = _version(container, pause)
        return {
            "id": container.id, "title": title_of(container), "version": version, "pause": pause,
        }  # fmt: skip

    def _find(self, container_id: str) -> Container:
        """A container by its whole id, if it is one of ours."""
        if not is_sha256(container_id) or (self._ids and container_id not in self._ids):
            raise NotFound(f"No such container: {container_id}")
        return find(self._store, container_id)

    def _containers(self) -> list[Container]:
        if not self._ids:
            return list_containers(self._store)[:CONTAINERS_MOST]
        found = []
        for container_id in self._ids:
            try:
                found.append(find(self._store, container_id))
            except MinidockError:
                continue  # removed, or damaged
        return found


def _was_started(container: Container) -> bool:
    return os.path.exists(container.paths.journal)


def _version(container: Container, pause: Pause | None) -> str:
    """Changes whenever the journal, its rotated part or the operation waited before does."""
    found: list[object] = [pause["before"] if pause else ""]
    for path in (container.paths.journal, f"{container.paths.journal}.1"):
        try:
            status = os.stat(path)
            found += [status.st_ino, status.st_size, status.st_mtime_ns]
        except FileNotFoundError:
            found.append(0)
    return ".".join(map(str, found))
