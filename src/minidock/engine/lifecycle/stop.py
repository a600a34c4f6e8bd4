"""stop: send a container its stop signal, and SIGKILL after the timeout."""

from __future__ import annotations

from minidock.engine.container.containers import Container
from minidock.engine.container.events import emit_container
from minidock.engine.container.lookup import wait_until_settled
from minidock.engine.container.restart_policy import mark_manually_stopped
from minidock.engine.lifecycle.kill import send_signal, wait_after_kill
from minidock.engine.lifecycle.pause import ensure_unpaused
from minidock.engine.lifecycle.wait import wait_until_ended
from minidock.engine.monitor.connection import cancel_restart
from minidock.signals import SIGKILL, signal_number, stop_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store

_DEFAULT_STOP_SECONDS = 10


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
    send_signal(container, number)


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
    send_signal(container, SIGKILL)
    wait_after_kill(container)
