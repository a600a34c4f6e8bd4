"""Stop containers, and wait for their exit: stop, kill, wait.

Each takes a reference: a name, an id, or a prefix of an id.
"""

from __future__ import annotations

import os
import select
from errno import ENODEV, ENOENT

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.containers import Container
from minidock.engine.container.events import emit_container
from minidock.engine.container.lookup import find, wait_until_settled
from minidock.engine.container.repair import repair
from minidock.engine.container.restart_policy import cancels_restart, mark_manually_stopped
from minidock.engine.lifecycle.pause import ensure_unpaused
from minidock.engine.monitor import protocol
from minidock.engine.monitor.connection import cancel_restart, connect_when_ready
from minidock.engine.store.journal import recording_to
from minidock.errors import Conflict, DamagedFile, KernelError, NotFound
from minidock.kernel import flock, process
from minidock.runtime import state
from minidock.signals import SIGKILL, signal_number, stop_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.kernel.cgroup import Cgroup
    from minidock.paths import Store

_DEFAULT_STOP_SECONDS = 10
KILL_SECONDS = 120.0  # the unmount of its layers may flush many dirty pages
_REAP_SECONDS = 10.0  # how long zombies may keep a killed container from exiting


class DidNotEnd(Conflict):
    """A container still exists some time after SIGKILL."""


def stop(
    store: Store, reference: str, *, timeout_seconds: int | None = None, signal: str | None = None
) -> None:
    """Send a container its stop signal, and SIGKILL after the timeout.

    timeout_seconds: None for the container's own, or 10; negative to wait forever. signal: None
    for the container's own. Does nothing to a stopped container.
    """
    container = wait_until_settled(store, reference)
    if not container.running:
        return
    mark_manually_stopped(container)
    begin_stop(container, signal=signal)
    finish_stop(container, seconds_to_stop(container, timeout_seconds))
    emit_container(container, "stop")


def begin_stop(container: Container, *, signal: str | None = None) -> None:
    """Cancel a running container's restart policy, and send its stop signal."""
    number = signal_number(signal) if signal else stop_signal(container.config)
    cancel_restart(container)
    ensure_unpaused(container)
    _signal(container, number)


def seconds_to_stop(container: Container, asked: int | None = None) -> float | None:
    """The timeout of a stop; None for no limit. asked: negative for no limit."""
    seconds = asked
    if seconds is None:
        seconds = container.config.get("StopTimeout")
    if seconds is None:
        seconds = _DEFAULT_STOP_SECONDS
    return None if seconds < 0 else float(seconds)


def finish_stop(container: Container, seconds: float | None) -> None:
    """Wait for a container that got its stop signal; kill it after `seconds`.

    Raises DidNotEnd.
    """
    if wait_until_ended(container, seconds):
        return
    _signal(container, SIGKILL)
    _wait_after_kill(container)


def _wait_after_kill(container: Container) -> None:
    """Wait until a container that got SIGKILL has ended.

    Raises DidNotEnd: after KILL_SECONDS, or earlier where zombies that nobody reaps are the cause.
    """
    if wait_until_ended(container, _REAP_SECONDS):
        return
    if not (cause := _unreaped(container)):
        if wait_until_ended(container, KILL_SECONDS - _REAP_SECONDS):
            return
        cause = _unreaped(container)
    raise DidNotEnd(
        f"container {container.name} did not end after SIGKILL",
        hint=cause
        or "a process in an uninterruptible wait (a dead NFS server?) cannot be killed,\n"
        "nor one that a stopped debugger keeps from ending: grep TracerPid /proc/*/status",
    )


def _unreaped(container: Container) -> str:
    from minidock.engine.lifecycle.zombies import explain_unreaped

    try:
        return explain_unreaped(state.load(container.store.run, container.id).pid)
    except (NotFound, DamagedFile):
        return ""


def kill(store: Store, reference: str, *, signal: str = "SIGKILL") -> None:
    """Send a signal to a container's PID 1; its stop signal and SIGKILL cancel the restart policy.

    Raises Conflict if it does not run.
    """
    number = signal_number(signal)
    container = wait_until_settled(store, reference)
    if not container.running:
        raise Conflict(f"container {container.id} is not running")
    mark_manually_stopped(container)
    kill_container(container, number)


def kill_container(container: Container, number: int) -> None:
    """Send a signal; after SIGKILL, wait until the container has ended. Raises DidNotEnd."""
    ends = cancels_restart(container.config, number)
    if ends:
        cancel_restart(container)
    if number == SIGKILL:
        ensure_unpaused(container)
    _signal(container, number)
    if number == SIGKILL or (ends and container.restarting):
        _wait_after_kill(container)


def wait(store: Store, reference: str) -> int:
    """Wait until a container has stopped; returns its exit code, at once if it does not run."""
    container = find(store, reference)
    if not container.running and not container.monitor_pid:
        return int(container.state["ExitCode"])
    try:
        socket = connect_when_ready(container)
    except NotFound:  # it was run with --rm
        socket = None
    if socket is None:
        return int(find(store, container.id).state["ExitCode"])
    socket.send(protocol.WAIT)
    while True:
        packet = protocol.receive(socket)
        if packet[:1] == protocol.EXITED:
            return int(protocol.content_of(packet)["code"])
        if not packet:
            return int(find(store, container.id).state["ExitCode"])


def wait_until_ended(container: Container, seconds: float | None) -> bool:
    """Wait until the container's monitor has exited; returns whether it has."""
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
            with flock.limits(stopped=1, busy=20):  # the monitor has waited for locks already
                repair(container)
        except NotFound:
            pass
    return bool(ready)


def _signal(container: Container, number: int) -> None:
    """Signal PID 1, unless its pid was reused."""
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
        # Checked after the pidfd is open: the pid was not reused before.
        if state.is_alive(known.pid, known.content["startTime"]):
            with recording_to(container.paths):
                process.send_signal(pidfd, number, pid=known.pid)
                if number == SIGKILL:
                    _thaw(known.cgroup)
            emit_container(container, "kill", signal=str(number))
    finally:
        os.close(pidfd)


def _thaw(group: Cgroup) -> None:
    """Thaw the cgroup after SIGKILL: frozen processes of cgroup v1 do not die."""
    try:
        if group.frozen():
            group.thaw()
    except KernelError as error:
        if error.errno not in (ENOENT, ENODEV):  # the cgroup has gone with its processes
            raise
