"""Containers as the store knows them: found by name or id, listed, and told the truth about.

A container is a directory with a container.json in Docker's inspect form (container_json.py). The
file appears last when a container is made, and the directory goes in one rename when it is removed:
one that never had the file is rubbish. Where the file is damaged, lists pass over the container,
and what would act on it raises DamagedFile; `rm -f` removes it (removal.py).
What the file says of the state counts only while the kernel agrees: a container runs as long as
its monitor lives, and a monitor that died (kill -9, a crash, a reboot) took its container with it.
Every reader here repairs that first.
"""

from __future__ import annotations

import os
import time

from minidock import document, jsontext
from minidock.engine.container.events import emit_ended
from minidock.engine.container.names import drop_names, every_name, holder_of
from minidock.engine.container.teardown import SetAside, take_down
from minidock.engine.store import container_json
from minidock.engine.store.clock import timestamp
from minidock.engine.store.container_json import ids
from minidock.engine.store.journal import recording_to
from minidock.engine.store.locks import Ownership, exclusive, is_marked, is_owned, owner_of
from minidock.errors import Conflict, DamagedFile, NotFound
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SETTLING_SECONDS = 10.0


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
            loaded = _load(self.store, self.id)
        except DamagedFile as error:
            if not is_owned(self.paths.monitor_lock) or "State" not in self.document:
                raise
            document.passed_over(error)
            return
        if loaded is None:
            raise NotFound(f"No such container: {self.id[:12]}")
        self.document = loaded.document

    def take_over_edits(self) -> None:
        """Take over what others may have written since we read it: its name, and its settings.

        For who has changed the document over some time. Inside `editing`, before `save`.
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


def find(store: Store, reference: str) -> Container:
    """A container by its name, its id, or the beginning of its id that only it has.

    Raises NotFound, DamagedFile, and Conflict where several ids begin so.
    """
    container_id = find_id(store, reference)
    container = _load(store, container_id) if container_id else None
    if container is None:
        raise NotFound(f"No such container: {reference}", hint="`minidock ps -a` lists them all")
    repair(container)
    again = _load(store, container.id)
    if again is None:
        raise NotFound(f"No such container: {reference}")
    return again


def settled(store: Store, reference: str) -> Container:
    """A container that is neither being started nor being cleared away: running, or stopped.

    Where that takes long, it is returned as it is.
    Raises NotFound, also for one that is being removed.
    """
    deadline = time.monotonic() + _SETTLING_SECONDS
    while True:
        container = find(store, reference)
        if container.running or not container.monitor_pid or time.monotonic() > deadline:
            return container
        time.sleep(0.005)
        reference = container.id  # its name may become another's


def every(store: Store) -> list[Container]:
    """All containers, newest first. What a killed command left half made or half removed goes.

    Those whose documents are damaged are passed over.
    """
    sweep(store)
    found = []
    for container in _whole(store):
        try:
            if not _lost_its_build(container) and repair(container):
                found.append(container)
        except DamagedFile as error:
            document.passed_over(error)
    _sweep_names(store, found)
    found.sort(key=lambda container: str(container.document["Created"]), reverse=True)
    return found


def documents(store: Store, *, strictly: bool = False) -> list[dict[str, Any]]:
    """Every container's document as it stands on disk, unrepaired: for who refers to what.

    Damaged ones are passed over. strictly: raises DamagedFile instead, for who removes what nobody
    refers to.
    """
    return [container.document for container in _whole(store, strictly=strictly)]


def _whole(store: Store, *, strictly: bool = False) -> list[Container]:
    found = []
    for container_id in ids(store):
        try:
            container = _load(store, container_id)
        except DamagedFile as error:
            if strictly:
                raise
            document.passed_over(error)
            continue
        if container is not None:
            found.append(container)
    return found


def repair(container: Container) -> bool:
    """Bring a container whose monitor died in line with the truth: stopped, with 137.

    Returns whether it is still there: one that was run with --rm goes now.
    """
    if not _is_lost(container):
        return True
    ownership = Ownership(container.paths.monitor_lock)
    try:
        if not ownership.take():
            return True  # somebody starts it, or repairs it, just now
    except FileNotFoundError:
        return False
    try:
        container.reload()
        if not _is_lost(container):
            return True
        with recording_to(container.paths):
            take_down(container.store, container.id)
        if container.running:
            code = container.state["ExitCode"] if container.restarting else 137
            emit_ended(container, code, seconds=0, oom=False)
            mark_ended(container, code, error="monitor lost")
        ownership.clear_mark()
        if container.host_config.get("AutoRemove"):
            from minidock.engine.container.removal import remove_owned  # which imports this module

            remove_owned(container, volumes=True)
            return False
        return True
    except NotFound:
        return False
    finally:
        ownership.release()


def _lost_its_build(container: Container) -> bool:
    """Remove a RUN step that never ran, and whose build was killed; returns whether it was one.

    The caller has swept staging/: a build that lives has an entry there.
    """
    build = container.document.get("Build")
    if not build or container.running or container.monitor_pid or os.path.isdir(build["Home"]):
        return False
    ownership = Ownership(container.paths.monitor_lock)
    try:
        if not ownership.take():
            return False
    except FileNotFoundError:
        return True
    from minidock.engine.container.removal import remove_owned  # which imports this module

    try:
        remove_owned(container, volumes=True)
    finally:
        ownership.release()
    return True


def _is_lost(container: Container) -> bool:
    """Whether something of a run is left while nobody runs it."""
    if not (container.running or is_marked(container.paths.monitor_lock)):
        return False
    return container.monitor_pid == 0


def mark_ended(container: Container, exit_code: int, *, error: str = "", oom: bool = False) -> None:
    """Write down that a container has ended."""
    container.state.update(
        Status="exited", Running=False, Paused=False, Restarting=False, Pid=0,
        ExitCode=exit_code, Error=error, OOMKilled=oom, FinishedAt=timestamp(),
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


def discard(container: Container) -> None:
    """Remove a stopped container that is ours: in one rename, so that a crash leaves no half."""
    with exclusive(f"{container.store.containers}/.lock"):
        rest = SetAside(container.store, container.id)
        drop_names(container.store, container.id, {container.name})
    rest.remove()


def throw_away(store: Store, container_id: str) -> None:
    """Remove a directory that has no document yet, or no more, with the volumes made for it.

    The caller holds the lock of the containers' directory.
    """
    paths = store.container(container_id)
    with recording_to(paths):
        take_down(store, container_id)
    if os.path.exists(paths.made_volumes):
        from minidock.engine.container.volumes import take_back  # which imports this module

        text = document.read_bytes(paths.made_volumes).decode("utf-8", "replace")
        for name in text.splitlines():
            take_back(store, name, container_id)
    drop_names(store, container_id, set(every_name(store)))
    SetAside(store, container_id).remove()


def sweep(store: Store) -> None:
    """Remove what was cut short: containers and volumes that are half made or half removed."""
    for container_id in ids(store):
        if not container_json.is_rubbish(store, container_id):
            continue
        try:
            with exclusive(f"{store.containers}/.lock"):
                if container_json.is_rubbish(store, container_id):
                    throw_away(store, container_id)
        except DamagedFile as error:
            document.passed_over(error)
    if os.path.isdir(store.volumes):
        from minidock.engine.container.volumes import remove_rubbish  # which imports this module

        remove_rubbish(store)
    if os.path.isdir(store.staging) and os.listdir(store.staging):
        from minidock.engine.store.store import StoreLock  # which images need more often

        with StoreLock(store):
            pass  # it sweeps


def _sweep_names(store: Store, found: list[Container]) -> None:
    """Drop names that no container goes by: a renaming or a removal was cut short."""
    stale = set(every_name(store)) - {container.name for container in found}
    if not stale:
        return
    with exclusive(f"{store.containers}/.lock"):
        for name in stale:
            target = holder_of(store, name)
            try:
                holder = _load(store, target) if target else None
            except DamagedFile:
                continue  # by which it can still be removed
            if holder is None or holder.name != name:
                drop_names(store, target, {name})


def find_id(store: Store, reference: str) -> str:
    """The id of the container that a name, an id or the beginning of one means, or "".

    By name first, as Docker does. Its document may be damaged.
    Raises Conflict where several ids begin so.
    """
    reference = reference.removeprefix("/")
    if not reference or "/" in reference or reference.startswith("."):
        return ""
    named = holder_of(store, reference)
    if named and not container_json.is_half_made(store.container(named)):
        return named
    matches = [known for known in ids(store) if known.startswith(reference)]
    if len(matches) > 1 and reference not in matches:
        raise Conflict(
            f"several container ids begin with {reference!r}", hint="give more of the id"
        )
    return (reference if reference in matches else matches[0]) if matches else ""


def _load(store: Store, container_id: str) -> Container | None:
    found = container_json.read(store, container_id)
    return None if found is None else Container(store, found)
