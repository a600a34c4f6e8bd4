"""An object that minidock made and nothing uses any more, and the container it was made for."""

from __future__ import annotations

import os

from minidock import document
from minidock.engine.store import container_json
from minidock.engine.store.container_json import list_ids
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


class Leftover:
    """An object of the kernel or of the store that nothing uses.

    kind: "mount", "link", "rule", "cgroup", "process", "address", "directory", "file", "layer" or
    "damaged". name: as the kernel, or the tool that lists it, writes it. owner: the id of the
    container it was made for, or "". why: the reason that the user reads. remove: idempotent.
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


def owners_by_container(store: Store) -> dict[str, int]:
    """Map the id of each container that a process owns now to that process's pid.

    The owner starts, runs or removes the container; a script (`minidock script`) owns its own.
    """
    owners = {each: _owner(store.container(each)) for each in list_ids(store)}
    scripts = [each for each in list_scripts() if each.store in ("", store.root)]
    owners |= {each.id: each.pid for each in scripts if each.is_alive}
    return {container_id: pid for container_id, pid in owners.items() if pid}


class Script:
    """The owner record of a script that `minidock script` wrote (teach/script/frame.sh).

    record: its path. id: of the container that it creates. pid: of the script. box: its directory.
    store: the directory of the store that it was written for, "" if unknown (version 0.1).
    is_alive: whether the process with that pid and start time still runs.
    """

    def __init__(self, record: str, pid: int, start_time: int, box: str, store: str) -> None:
        self.record = record
        self.id = record.rpartition("-")[2]
        self.pid = pid
        self.box = box
        self.store = store
        self.is_alive = is_alive(pid, start_time)


def list_scripts() -> list[Script]:
    """List the scripts of all stores that run, or were killed before they cleaned up."""
    found = []
    for name in os.listdir("/run"):
        if not name.startswith(_SCRIPT) or not is_sha256(name.removeprefix(_SCRIPT)):
            continue
        try:
            text = document.read_bytes(f"/run/{name}").decode("utf-8", "replace")
        except (FileNotFoundError, DamagedFile):
            continue
        numbers, box, root, *_ = [*text.split("\n"), "", ""]
        words = numbers.split()
        if len(words) == 2 and all(is_decimal(word) for word in words):
            found.append(Script(f"/run/{name}", int(words[0]), int(words[1]), box, root))
    return found


def _owner(paths: ContainerPaths) -> int:
    """The pid of the process that owns a container, 0 for none, UNKNOWN if its lock is damaged."""
    if not os.path.lexists(paths.monitor_lock) and container_json.is_incomplete(paths):
        return 0
    try:
        return owner_of(paths.monitor_lock)
    except DamagedFile:
        return UNKNOWN


def describe_owner(store: Store, container_id: str) -> str:
    """Say for the user which container an object was made for, and why it does not run."""
    try:
        found = container_json.read(store, container_id)
    except DamagedFile:
        return f"of container {container_id[:12]}, whose document is damaged"
    if found is None and any(script.id == container_id for script in list_scripts()):
        return f"of container {container_id[:12]}, whose script was killed"
    if found is None:
        return f"of container {container_id[:12]}, which is gone"
    name = str(found["Name"]).lstrip("/")
    ended = "whose monitor was lost" if found["State"]["Running"] else "which does not run"
    return f"of container {name}, {ended}"
