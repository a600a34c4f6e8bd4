"""Connect to a container's monitor, also between two runs of a restart policy."""

from __future__ import annotations

import time

from minidock.engine.container.restart_policy import NO, policy_of
from minidock.engine.monitor import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from minidock.engine.container.containers import Container

_RETRY_SECONDS = 0.005


def connect_when_ready(container: Container) -> _socket.socket | None:
    """Connect to a container's monitor, and retry while it does not listen; None once it has ended.

    The monitor does not listen while it launches the next run.
    """
    while True:
        try:
            return protocol.connect(container.paths.run)
        except OSError:
            pass
        container.reload()
        if not container.running or not container.monitor_pid:
            return None
        time.sleep(_RETRY_SECONDS)


def cancel_restart(container: Container) -> None:
    """Cancel the restart policy of a running container; does nothing without one."""
    if policy_of(container.host_config).name != NO:
        _request(container, protocol.CANCEL_RESTART)


def cancel_auto_remove(container: Container) -> None:
    """Cancel --rm of a running container; does nothing without --rm."""
    if container.host_config.get("AutoRemove"):
        _request(container, protocol.CANCEL_AUTO_REMOVE)


def _request(container: Container, packet: bytes) -> None:
    """Send a message to the monitor, and wait for its answer; does nothing if it has ended."""
    while (socket := connect_when_ready(container)) is not None:
        socket.send(packet)
        if protocol.receive(socket)[:1] == protocol.STARTED:
            return
