"""Containers in the store: one object each, found by id, and their state changes.

A container is a directory with a container.json in Docker's inspect form (store/container_json.py).
This file is written last when a container is created, and one rename removes the directory from the
store. If the file is damaged, lists skip the container, and operations on it raise DamagedFile; `rm
-f` removes it (removal.py). The state in the file is valid only if the kernel agrees: see lookup.py
and repair.py.
"""

from __future__ import annotations

from minidock import document, jsontext
from minidock.engine.container.name_links import holder_of
from minidock.engine.store import container_json
from minidock.engine.store.container_json import list_ids
from minidock.engine.store.locks import exclusive, is_owned, owner_of
from minidock.engine.store.timestamps import NEVER, timestamp
from minidock.errors import Conflict, DamagedFile, NotFound
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import (
        ContainerConfig,
        ContainerDocument,
        ContainerState,
    )
    from minidock.document_types.host_config import HostConfig


class Container:
    """A container.

    document: its container.json, in the shape of `docker inspect`.
    """

    def __init__(self, store: Store, document: ContainerDocument) -> None:
        self.store = store
        self.document = document
        self.id = document["Id"]
        self.paths = store.container(self.id)

    @property
    def name(self) -> str:
        return str(self.document["Name"]).lstrip("/")

    @property
    def state(self) -> ContainerState:
        return self.document["State"]

    @property
    def running(self) -> bool:
        """Whether it is running; a paused container is running too."""
        return bool(self.state["Running"])

    @property
    def restarting(self) -> bool:
        """Whether it has exited, and its monitor waits to restart it; it is "running" then too."""
        return bool(self.state["Restarting"])

    @property
    def host_config(self) -> HostConfig:
        return self.document["HostConfig"]

    @property
    def config(self) -> ContainerConfig:
        return self.document["Config"]

    @property
    def is_temporary(self) -> bool:
        """Whether it is removed when it exits; it need not survive a power failure."""
        return bool(self.host_config.get("AutoRemove") or "Build" in self.document)

    @property
    def monitor_pid(self) -> int:
        """Return the pid of its monitor, if it is running or starting; 0 otherwise."""
        return owner_of(self.paths.monitor_lock)

    def save(self) -> None:
        """Write container.json atomically. Edit under `editing` if others may edit it too."""
        text = jsontext.dumps(self.document)
        document.write(
            self.paths.document, text, durable=not self.is_temporary, over_when_full=True
        )

    def editing(self) -> exclusive:
        """Return the lock for reading, changing and saving the document; call `reload` in it."""
        return exclusive(self.paths.lock)

    def reload(self) -> None:
        """Read the document again.

        The container's owner knows its true state: if the file was damaged meanwhile, the document
        in memory stays, and the next `save` writes it.
        Raises NotFound if the container was removed meanwhile, DamagedFile.
        """
        try:
            loaded = load(self.store, self.id)
        except DamagedFile as error:
            if not is_owned(self.paths.monitor_lock) or "State" not in self.document:
                raise
            document.report_skipped(error)
            return
        if loaded is None:
            raise NotFound(f"No such container: {self.id[:12]}")
        self.document = loaded.document

    def take_over_edits(self) -> None:
        """Reload what other processes may have written meanwhile: its name and its settings.

        For a caller that has kept the document for some time. Inside `editing`, before `save`.
        Raises the same errors as `reload`.
        """
        ours = self.document
        self.reload()
        theirs, self.document = self.document, ours
        size = ours["HostConfig"].get("ConsoleSize", [0, 0])  # set by this launch
        ours.update(
            {"Name": theirs["Name"], "HostConfig": {**theirs["HostConfig"], "ConsoleSize": size}}
        )
        endpoints = theirs["NetworkSettings"]["Networks"]
        for network, endpoint in ours["NetworkSettings"]["Networks"].items():
            if network in endpoints and (names := endpoints[network].get("DNSNames")):
                endpoint["DNSNames"] = names


def set_running(container: Container, pid: int) -> None:
    """Have the document say that it runs; `save_running` writes it down."""
    container.state.update({
        "Status": "running", "Running": True, "Paused": False, "Restarting": False, "Pid": pid,
        "ExitCode": 0, "Error": "", "OOMKilled": False,
        "StartedAt": timestamp(), "FinishedAt": container.state["FinishedAt"] or NEVER,
    })  # fmt: skip
    checks = (container.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if checks[0] != "NONE":
        log = container.state["Health"]["Log"] if "Health" in container.state else []
        container.state["Health"] = {"Log": log, "Status": "starting", "FailingStreak": 0}


def save_running(container: Container) -> None:
    """Write down that it runs."""
    with container.editing():
        container.take_over_edits()  # a rename or update while it was launched
        container.save()


def mark_ended(
    container: Container,
    exit_code: int,
    *,
    error: str = "",
    oom: bool = False,
    finished_at: str = "",
) -> None:
    """Record that a container has exited. finished_at: now by default."""
    container.state.update({
        "Status": "exited", "Running": False, "Paused": False, "Restarting": False, "Pid": 0,
        "ExitCode": exit_code, "Error": error, "OOMKilled": oom,
        "FinishedAt": finished_at or timestamp(),
    })  # fmt: skip
    _forget_network(container)
    container.save()


def mark_restarting(container: Container, exit_code: int, *, oom: bool) -> None:
    """Record that a container has exited and will be restarted.

    It counts as running, as in Docker: it cannot be removed, and `stop` works.
    """
    container.document["RestartCount"] += 1
    container.state.update({
        "Status": "restarting", "Running": True, "Paused": False, "Restarting": True, "Pid": 0,
        "ExitCode": exit_code, "Error": "", "OOMKilled": oom, "FinishedAt": timestamp(),
    })  # fmt: skip
    _forget_network(container)
    container.save()


def _forget_network(container: Container) -> None:
    """Clear its address and ports, which are released."""
    settings = container.document["NetworkSettings"]
    settings["Ports"] = {}
    for endpoint in settings["Networks"].values():
        endpoint.update(
            {"EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "MacAddress": ""}
        )
    settings.update(
        {"EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "MacAddress": ""}
    )


def restarting_error(container: Container) -> Conflict:
    """Return the error for operations on a container that is between two runs."""
    return Conflict(
        f"Container {container.id} is restarting, wait until the container is running",
        hint=f"minidock logs {container.name}     may show why it exits each time\n"
        f"minidock stop {container.name}     stops it",
    )


def find_id(store: Store, reference: str) -> str:
    """Find the id of a container by its name, its id or a prefix of the id; "" if none.

    By name first, as in Docker. Its document may be damaged.
    Raises Conflict if several ids have this prefix.
    """
    reference = reference.removeprefix("/")
    if not reference or "/" in reference or reference.startswith("."):
        return ""
    named = holder_of(store, reference)
    if named and not container_json.is_incomplete(store.container(named)):
        return named
    matches = [known for known in list_ids(store) if known.startswith(reference)]
    if len(matches) > 1 and reference not in matches:
        raise Conflict(
            f"several container ids begin with {reference!r}", hint="give more of the id"
        )
    return (reference if reference in matches else matches[0]) if matches else ""


def load(store: Store, container_id: str) -> Container | None:
    found = container_json.read(store, container_id)
    return None if found is None else Container(store, found)
