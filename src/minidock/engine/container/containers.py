"""Containers as the store has them: one object each, found by id, and what their state becomes.

A container is a directory with a container.json in Docker's inspect form (store/container_json.py).
The file appears last when a container is created, and the directory goes in one rename when it is
removed. Where the file is damaged, lists pass over the container, and what would act on it raises
DamagedFile; `rm -f` removes it (removal.py).
What the file says of the state counts only while the kernel agrees: see lookup.py and repair.py.
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
    from typing import Any


class Container:
    """One container.

    document: its container.json, in the shape of `docker inspect`.
    """

    def __init__(self, store: Store, document: dict[str, Any]) -> None:
        self.store = store
        self.document = document
        self.id: str = document["Id"]
        self.paths = store.container(self.id)

    @property
    def name(self) -> str:
        return str(self.document["Name"]).lstrip("/")

    @property
    def state(self) -> dict[str, Any]:
        return self.document["State"]  # type: ignore[no-any-return]

    @property
    def running(self) -> bool:
        """Whether it runs; a paused container runs too."""
        return bool(self.state["Running"])

    @property
    def restarting(self) -> bool:
        """Whether it has ended, and its monitor waits to start it again; it "runs" then too."""
        return bool(self.state["Restarting"])

    @property
    def host_config(self) -> dict[str, Any]:
        return self.document["HostConfig"]  # type: ignore[no-any-return]

    @property
    def config(self) -> dict[str, Any]:
        return self.document["Config"]  # type: ignore[no-any-return]

    @property
    def is_temporary(self) -> bool:
        """Whether it goes with its end: such a container need not outlive a power cut."""
        return bool(self.host_config.get("AutoRemove") or "Build" in self.document)

    @property
    def monitor_pid(self) -> int:
        """The process that runs it, or is about to; 0 where there is none."""
        return owner_of(self.paths.monitor_lock)

    def save(self) -> None:
        """Write container.json, whole or not at all. Edit under `editing` where others may too."""
        text = jsontext.dumps(self.document)
        document.write(
            self.paths.document, text, durable=not self.is_temporary, over_when_full=True
        )

    def editing(self) -> exclusive:
        """The lock for reading, changing and saving the document; call `reload` inside."""
        return exclusive(self.paths.lock)

    def reload(self) -> None:
        """Read the document again.

        Who owns the container knows what is true of it: where the file was damaged meanwhile, that
        stays, and is written with the next `save`.
        Raises NotFound where the container has been removed meanwhile, DamagedFile.
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
        """Take over what others may have written since we read it: its name, and its settings.

        For a caller that kept the document for some time. Inside `editing`, before `save`.
        Raises what `reload` raises.
        """
        ours = self.document
        self.reload()
        theirs, self.document = self.document, ours
        size = ours["HostConfig"].get("ConsoleSize", [0, 0])  # is the launch's own to say
        ours.update(Name=theirs["Name"], HostConfig={**theirs["HostConfig"], "ConsoleSize": size})
        endpoints = theirs["NetworkSettings"]["Networks"]
        for network, endpoint in ours["NetworkSettings"]["Networks"].items():
            if names := endpoints.get(network, {}).get("DNSNames"):
                endpoint["DNSNames"] = names


def set_running(container: Container, pid: int) -> None:
    """Have the document say that it runs; `save_running` writes it down."""
    container.state.update(
        Status="running", Running=True, Paused=False, Restarting=False, Pid=pid,
        ExitCode=0, Error="", OOMKilled=False,
        StartedAt=timestamp(), FinishedAt=container.state["FinishedAt"] or NEVER,
    )  # fmt: skip
    checks = (container.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if checks[0] != "NONE":
        known = container.state.get("Health") or {"Log": []}
        container.state["Health"] = {**known, "Status": "starting", "FailingStreak": 0}


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
    """Write down that a container has ended. finished_at: by default, now."""
    container.state.update(
        Status="exited", Running=False, Paused=False, Restarting=False, Pid=0,
        ExitCode=exit_code, Error=error, OOMKilled=oom, FinishedAt=finished_at or timestamp(),
    )  # fmt: skip
    _forget_network(container)
    container.save()


def mark_restarting(container: Container, exit_code: int, *, oom: bool) -> None:
    """Write down that a container has ended and is about to be started again.

    It counts as running, as in Docker: it cannot be removed, and `stop` has something to stop.
    """
    container.document["RestartCount"] += 1
    container.state.update(
        Status="restarting", Running=True, Paused=False, Restarting=True, Pid=0,
        ExitCode=exit_code, Error="", OOMKilled=oom, FinishedAt=timestamp(),
    )  # fmt: skip
    _forget_network(container)
    container.save()


def _forget_network(container: Container) -> None:
    """Its address and ports are others' to have."""
    container.document["NetworkSettings"]["Ports"] = {}
    for endpoint in container.document["NetworkSettings"]["Networks"].values():
        endpoint.update(EndpointID="", Gateway="", IPAddress="", IPPrefixLen=0, MacAddress="")
    for key, empty in (("IPAddress", ""), ("Gateway", ""), ("MacAddress", ""), ("EndpointID", "")):
        container.document["NetworkSettings"][key] = empty
    container.document["NetworkSettings"]["IPPrefixLen"] = 0


def restarting_error(container: Container) -> Conflict:
    """What to say to who wants something of a container that is between two runs."""
    return Conflict(
        f"Container {container.id} is restarting, wait until the container is running",
        hint=f"minidock logs {container.name}     may tell why it ends each time\n"
        f"minidock stop {container.name}     ends it",
    )


def find_id(store: Store, reference: str) -> str:
    """The id of the container that a name, an id or the beginning of one means, or "".

    By name first, as Docker does. Its document may be damaged.
    Raises Conflict where several ids begin so.
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
