"""kill: send a signal to a container's PID 1, and after SIGKILL wait until the container has ended.

The signal goes to a pidfd, so it never reaches another process that got the same pid.
"""

from __future__ import annotations

import os
from errno import ENODEV, ENOENT

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.containers import Container
from minidock.engine.container.events import emit_container
from minidock.engine.container.lookup import wait_until_settled
from minidock.engine.container.restart_policy import cancels_restart, mark_manually_stopped
from minidock.engine.lifecycle.pause import ensure_unpaused
from minidock.engine.lifecycle.wait import wait_until_ended
from minidock.engine.monitor.connection import cancel_restart
from minidock.engine.store.journal import recording_to
from minidock.errors import Conflict, DamagedFile, KernelError, NotFound
from minidock.kernel import process
from minidock.runtime import state
from minidock.signals import SIGKILL, signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.kernel.cgroup import Cgroup
    from minidock.paths import Store

KILL_SECONDS = 120.0  # the unmount of its layers may flush many dirty pages
_REAP_SECONDS = 10.0  # how long zombies may keep a killed container from exiting


class DidNotEnd(Conflict):
    """A container still exists some time after SIGKILL."""


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
    send_signal(container, number)
    if number == SIGKILL or (ends and container.restarting):
        wait_after_kill(container)


def send_signal(container: Container, number: int) -> None:
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
            emit_container(container, "kill", signal=str(number))  # "die" comes after it
            with recording_to(container.paths):
                process.send_signal(pidfd, number, pid=known.pid)
                if number == SIGKILL:
                    _thaw(known.cgroup)
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


def wait_after_kill(container: Container) -> None:
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
