"""One thing that minidock made, and whom it belongs to."""

from __future__ import annotations

import os

from minidock import jsontext
from minidock.engine.locks import owner_of
from minidock.paths import is_component

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.paths import Store


class Thing:
    """Something on this machine.

    kind: "mount", "link", "rule", "cgroup", "process", "address", "directory" or "file".
    name: as the kernel, or a program that asks it, calls it. owner: the id of the container that it
    was made for, "" where it was made for none. why: whose it was, for a person. remove: takes it
    away, and does nothing where it is gone.
    """

    def __init__(
        self, kind: str, name: str, *, owner: str, why: str, remove: Callable[[], object]
    ) -> None:
        self.kind = kind
        self.name = name
        self.owner = owner
        self.why = why
        self.remove = remove

    @property
    def identity(self) -> tuple[str, str]:
        return self.kind, self.name


def living(store: Store) -> dict[str, int]:
    """The containers that a process owns just now: id -> its pid. It starts, runs or removes it."""
    try:
        ids = [name for name in os.listdir(store.containers) if is_component(name)]
    except FileNotFoundError:
        return {}
    owners = {each: owner_of(store.container(each).monitor_lock) for each in ids}
    return {container_id: pid for container_id, pid in owners.items() if pid}


def whose(store: Store, container_id: str) -> str:
    """A container in words, for who reads of something that was made for it."""
    try:
        with open(store.container(container_id).document, encoding="utf-8") as file:
            document = jsontext.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return f"of container {container_id[:12]}, which is gone"
    name = str(document["Name"]).lstrip("/")
    ended = "whose monitor was lost" if document["State"]["Running"] else "which does not run"
    return f"of container {name}, {ended}"
