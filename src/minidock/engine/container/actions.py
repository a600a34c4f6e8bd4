"""What is done to containers that exist: stop, kill, restart, remove, pause, rename, wait, top.

Each takes a reference (name, id, or the beginning of an id) and either does it or raises.
"""

from __future__ import annotations

import os
import select
import time
from errno import ENODEV, ENOENT

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.containers import Container, find_id, restarting_error
from minidock.engine.container.endpoints import has_names, names_on
from minidock.engine.container.events import emit_container
from minidock.engine.container.lookup import find, wait_until_settled
from minidock.engine.container.names import claim_name
from minidock.engine.container.removal import belongs_to, remove_damaged, remove_owned
from minidock.engine.container.repair import repair
from minidock.engine.container.restart import cancels, note_stopped_by_hand
from minidock.engine.container.validation import check_name
from minidock.engine.monitor import wire
from minidock.engine.monitor.reach import end_policy, keep, reach
from minidock.engine.network import networks
from minidock.engine.store.journal import recording_to
from minidock.engine.store.locks import Ownership, exclusive
from minidock.errors import Conflict, DamagedFile, KernelError, NotFound
from minidock.kernel import flock, process
from minidock.numerals import is_decimal
from minidock.runtime import state
from minidock.signals import SIGKILL, signal_number, stop_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.kernel.cgroup import Cgroup
    from minidock.paths import Store

_DEFAULT_STOP_SECONDS = 10
_KILL_SECONDS = 120.0  # all that the disk has to write is written as its layers are unmounted


def stop(
    store: Store, reference: str, *, timeout_seconds: int | None = None, signal: str | None = None
) -> None:
    """Ask a container to end, then make it: its stop signal, and SIGKILL after the time-out.

    timeout_seconds: None for the container's own, or 10; negative to wait for ever. signal: None
    for the container's own. Nothing happens to one that does not run.
    """
    container = wait_until_settled(store, reference)
    if not container.running:
        return
    note_stopped_by_hand(container)
    begin_stop(container, signal=signal)
    finish_stop(container, seconds_to_stop(container, timeout_seconds))
    emit_container(container, "stop")


def begin_stop(container: Container, *, signal: str | None = None) -> None:
    """Have a running container end, and not start again by its policy: send its stop signal."""
    number = signal_number(signal) if signal else stop_signal(container.config)
    end_policy(container)
    _let_run(container)
    _signal(container, number)


def seconds_to_stop(container: Container, asked: int | None = None) -> float | None:
    """How long a container may take to end; None for ever. asked: negative for that."""
    seconds = asked
    if seconds is None:
        seconds = container.config.get("StopTimeout")
    if seconds is None:
        seconds = _DEFAULT_STOP_SECONDS
    return None if seconds < 0 else float(seconds)


def finish_stop(container: Container, seconds: float | None) -> None:
    """Wait for the end of a container that was told to end; kill it when its time is over.

    Raises Conflict where even that does not help.
    """
    if await_end(container, seconds):
        return
    _signal(container, SIGKILL)
    if not await_end(container, _KILL_SECONDS):
        raise Conflict(
            f"container {container.name} did not end within {_KILL_SECONDS:.0f} s of SIGKILL",
            hint="a process in an uninterruptible wait (a dead NFS server?) cannot be killed",
        )


def restart(
    store: Store, reference: str, *, timeout_seconds: int | None = None, signal: str | None = None
) -> None:
    """Stop a container, and start it again; one of --rm is not removed in between."""
    from minidock.engine.monitor.start import start

    container = wait_until_settled(store, reference)
    if container.running:
        keep(container)
    stop(store, reference, timeout_seconds=timeout_seconds, signal=signal)
    start(store, reference, attach=None)
    emit_container(find(store, reference), "restart")


def kill(store: Store, reference: str, *, signal: str = "SIGKILL") -> None:
    """Send a signal to a container's PID 1; one that means its end also ends its restart policy.

    Raises Conflict where it does not run.
    """
    number = signal_number(signal)
    container = wait_until_settled(store, reference)
    if not container.running:
        raise Conflict(f"container {container.id} is not running")
    note_stopped_by_hand(container)
    _kill(container, number)


def _kill(container: Container, number: int) -> None:
    """Send a signal; where it means the end, see to that."""
    ends = cancels(container.config, number)
    if ends:
        end_policy(container)
    if number == SIGKILL:
        _let_run(container)
    _signal(container, number)
    if number == SIGKILL or (ends and container.restarting):
        await_end(container, _KILL_SECONDS)


def remove(store: Store, reference: str, *, force: bool = False, volumes: bool = False) -> None:
    """Remove a container. volumes: with its anonymous volumes. force: kill it first.

    One whose documents are damaged goes too, if forced: with its processes, files and all.
    Raises Conflict for one that runs, unless forced.
    """
    try:
        _remove_whole(store, reference, force=force, volumes=volumes)
    except DamagedFile as error:
        container_id = find_id(store, reference)
        if not container_id or not belongs_to(store.container(container_id), error.path):
            raise
        if not force:
            error.hint = f"minidock rm -f {reference}     removes the container\n{error.hint}"
            raise
        remove_damaged(store, container_id)


def _remove_whole(store: Store, reference: str, *, force: bool, volumes: bool) -> None:
    container = wait_until_settled(store, reference)
    deadline = time.monotonic() + _KILL_SECONDS
    ownership = Ownership(container.paths.monitor_lock)
    try:
        while not _take_stopped(container, ownership, force=force):
            if time.monotonic() > deadline:
                raise Conflict(
                    f"container {container.name} is in use by process {container.monitor_pid}",
                    hint="it is being started, run or removed just now",
                )
            container = wait_until_settled(store, container.id)
        remove_owned(container, volumes=volumes)
    except (FileNotFoundError, NotFound):
        if force and container.host_config.get("AutoRemove"):
            return  # its monitor has removed it, once it was killed
        raise NotFound(f"No such container: {reference}") from None
    finally:
        ownership.release()


def _take_stopped(container: Container, ownership: Ownership, *, force: bool) -> bool:
    """Own a container that does not run, so that nobody starts it; returns whether it is ours.

    force: one that runs is killed first.
    """
    if container.running and not force:
        how = container.state["Status"]  # running, paused, restarting
        raise Conflict(
            f'cannot remove container "/{container.name}": container is {how}',
            hint="stop the container before removing or force remove",
        )
    if container.running:
        try:
            _kill(container, SIGKILL)
        except Conflict:
            pass  # it ended by itself meanwhile
    if not ownership.take():
        return False
    container.reload()
    return True


def pause(store: Store, reference: str) -> None:
    """Freeze all processes of a container."""
    container = _running(store, reference)
    with container.editing():
        container.reload()
        if container.state["Paused"]:
            raise Conflict(
                f"Container {container.id} is already paused",
                hint=f"minidock unpause {container.name}",
            )
        with _while_it_lives(container):
            cgroup_of(store, container.id).freeze()
        container.state.update(Paused=True, Status="paused")
        container.save()
    emit_container(container, "pause")


def unpause(store: Store, reference: str) -> None:
    """Let a frozen container run again."""
    container = _running(store, reference)
    if not container.state["Paused"]:
        raise Conflict(f"Container {container.id} is not paused")
    with container.editing():
        container.reload()
        with _while_it_lives(container):
            cgroup_of(store, container.id).thaw()
        container.state.update(Paused=False, Status="running")
        container.save()
    emit_container(container, "unpause")


class _while_it_lives(recording_to):
    """Act on a container's cgroup in the block. Raises Conflict where that has gone meanwhile."""

    def __init__(self, container: Container) -> None:
        super().__init__(container.paths)
        self._id = container.id

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if isinstance(error[1], KernelError) and error[1].errno in (ENOENT, ENODEV):
            raise Conflict(f"Container {self._id} is not running") from None


def _let_run(container: Container) -> None:
    """Unpause a container that is to end, unless another command is faster, or it has ended."""
    if container.state["Paused"]:
        try:
            unpause(container.store, container.id)
        except Conflict:
            pass


def rename(store: Store, reference: str, new_name: str) -> None:
    """Give a container another name.

    Raises Conflict where it is taken.
    """
    check_name(new_name)
    container = find(store, reference)
    if container.name == new_name:
        raise Conflict(
            "Renaming a container with the same name as its current name",
            hint="choose another name",
        )
    with exclusive(f"{store.containers}/.lock"), container.editing():
        container.reload()
        old_name = container.name
        claim_name(store, new_name, container.id)
        container.document["Name"] = "/" + new_name
        for network, endpoint in container.document["NetworkSettings"]["Networks"].items():
            if endpoint.get("DNSNames"):
                endpoint["DNSNames"] = names_on(container.document, network)
        container.save()
        if has_names(container.document):
            networks.know_as(
                store, container.id, lambda network: names_on(container.document, network) or []
            )
        os.unlink(store.name(old_name))
    emit_container(container, "rename", oldName=f"/{old_name}")


def wait(store: Store, reference: str) -> int:
    """Wait until a container has ended; returns its exit code, at once where it does not run."""
    container = find(store, reference)
    if not container.running and not container.monitor_pid:
        return int(container.state["ExitCode"])
    try:
        socket = reach(container)
    except NotFound:  # it was run with --rm
        socket = None
    if socket is None:
        return int(find(store, container.id).state["ExitCode"])
    socket.send(b"W")
    while True:
        packet = wire.receive(socket)
        if packet[:1] == b"x":
            return int(wire.content_of(packet)["code"])
        if not packet:
            return int(find(store, container.id).state["ExitCode"])


def top(store: Store, reference: str, ps_arguments: list[str]) -> tuple[list[str], list[list[str]]]:
    """The host's ps of a container's processes: column titles, and a row each.

    Raises Conflict where it does not run, or ps refuses its arguments.
    """
    import subprocess  # off the hot path: top is ps's own output anyway

    container = _running(store, reference)
    pids = set(cgroup_of(store, container.id).pids())
    arguments = ps_arguments or ["-ef"]
    done = subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Conflict(f"ps: {done.stderr.strip() or done.stdout.strip()}")
    titles, *lines = done.stdout.splitlines()
    emit_container(container, "top")
    columns = titles.split()
    if "PID" not in columns:
        raise Conflict(
            "Couldn't find PID field in ps output", hint="ask ps for the pid: -o pid,cmd"
        )
    at = columns.index("PID")
    rows = []
    for line in lines:
        fields = line.split(None, len(columns) - 1)
        if len(fields) > at and is_decimal(fields[at]) and int(fields[at]) in pids:
            rows.append(fields)
    return columns, rows


def await_end(container: Container, seconds: float | None) -> bool:
    """Wait until the container's monitor has cleaned up after it; returns whether it has."""
    monitor = container.monitor_pid
    if not monitor:
        repair(container)
        return True
    try:
        pidfd = os.pidfd_open(monitor)
    except ProcessLookupError:
        repair(container)
        return True
    try:
        ready, _, _ = select.select([pidfd], [], [], seconds)
    finally:
        os.close(pidfd)
    if ready:
        try:
            with flock.limits(stopped=1, busy=20):  # the monitor has waited for it already
                repair(container)
        except NotFound:
            pass
    return bool(ready)


def _running(store: Store, reference: str) -> Container:
    container = find(store, reference)
    if not container.running:
        raise Conflict(
            f"Container {container.id} is not running", hint=f"minidock start {container.name}"
        )
    if container.restarting:
        raise restarting_error(container)
    return container


def _signal(container: Container, number: int) -> None:
    """Signal PID 1, if it still is the process that the document means."""
    try:
        known = state.load(container.store.run, container.id)
        pidfd = os.pidfd_open(known.pid)
    except (NotFound, ProcessLookupError):
        return
    except DamagedFile as error:
        if number != SIGKILL:
            error.hint += f"\nminidock kill {container.name}     ends the container"
            raise
        with recording_to(container.paths):
            cgroup_of(container.store, container.id).kill_all()
        return
    try:
        # Asked once the pidfd is open: it is this process that lives, not another with its number.
        if state.is_alive(known.pid, known.content["startTime"]):
            with recording_to(container.paths):
                process.send_signal(pidfd, number, pid=known.pid)
                if number == SIGKILL:
                    _thaw(known.cgroup)
            emit_container(container, "kill", signal=str(number))
    finally:
        os.close(pidfd)


def _thaw(group: Cgroup) -> None:
    """Let those die who were killed: in cgroup v1 the frozen do not, whoever froze them."""
    try:
        if group.frozen():
            group.thaw()
    except KernelError as error:
        if error.errno not in (ENOENT, ENODEV):  # they have ended, and their cgroup is gone
            raise
