"""One thing that minidock made, and whom it belongs to."""

from __future__ import annotations

import os

from minidock import document
from minidock.engine.store import container_json
from minidock.engine.store.container_json import ids
from minidock.engine.store.locks import owner_of
from minidock.errors import DamagedFile
from minidock.numerals import is_decimal
from minidock.paths import is_sha256
from minidock.runtime.state import is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.paths import ContainerPaths, Store

UNKNOWN = -1
_SCRIPT = "minidock-script-"


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
    """The containers that a process owns just now: id -> its pid. It starts, runs or removes it;
    or it is a script, which is its container's monitor."""
    owners = {each: _owner(store.container(each)) for each in ids(store)}
    owners |= {each.id: each.pid for each in scripts() if each.lives}
    return {container_id: pid for container_id, pid in owners.items() if pid}


class Script:
    """The owner record of a script that `minidock script` wrote (teach/script/frame.sh).

    record: its path. id: of the container that it makes. pid: of the script. box: the directory of
    its files. lives: whether the process is there that began with that pid, then.
    """

    def __init__(self, record: str, pid: int, began: int, box: str) -> None:
        self.record = record
        self.id = record.rpartition("-")[2]
        self.pid = pid
        self.box = box
        self.lives = is_alive(pid, began)


def scripts() -> list[Script]:
    """The scripts of all stores that run, or were killed and have not been cleaned up after."""
    found = []
    for name in os.listdir("/run"):
        if not name.startswith(_SCRIPT) or not is_sha256(name.removeprefix(_SCRIPT)):
            continue
        try:
            text = document.read_bytes(f"/run/{name}").decode("utf-8", "replace")
        except (FileNotFoundError, DamagedFile):
            continue
        numbers, _, box = text.rstrip("\n").partition("\n")
        words = numbers.split()
        if len(words) == 2 and all(is_decimal(word) for word in words):
            found.append(Script(f"/run/{name}", int(words[0]), int(words[1]), box))
    return found


def _owner(paths: ContainerPaths) -> int:
    """The process that owns a container; UNKNOWN where its lock is damaged, and nobody can tell."""
    if not os.path.lexists(paths.monitor_lock) and container_json.is_half_made(paths):
        return 0
    try:
        return owner_of(paths.monitor_lock)
    except DamagedFile:
        return UNKNOWN


def whose(store: Store, container_id: str) -> str:
    """A container in words, for who reads of something that was made for it."""
    try:
        found = container_json.read(store, container_id)
    except DamagedFile:
        return f"of container {container_id[:12]}, whose document is damaged"
    if found is None and any(script.id == container_id for script in scripts()):
        return f"of container {container_id[:12]}, whose script was killed"
    if found is None:
        return f"of container {container_id[:12]}, which is gone"
    name = str(found["Name"]).lstrip("/")
    ended = "whose monitor was lost" if found["State"]["Running"] else "which does not run"
    return f"of container {name}, {ended}"
