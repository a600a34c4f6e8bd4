"""Reaching the monitor of a container, also while that is between two runs or being restarted."""

from __future__ import annotations

import time

from minidock.engine.container.restart import NO, policy_of
from minidock.engine.monitor import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from minidock.engine.container.containers import Container

_RETRY_SECONDS = 0.005


def connect_when_ready(container: Container) -> _socket.socket | None:
    """A connection to the monitor of a container, whenever it is ready; None once it has ended.

    While the container is being restarted its monitor does not listen: that is waited for.
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
    """Have a running container not started again when it ends; nothing to do without a policy."""
    if policy_of(container.host_config).name != NO:
        _send_order(container, protocol.CANCEL_RESTART)


def cancel_auto_remove(container: Container) -> None:
    """Have a running container of --rm stay when it ends; nothing to do for others."""
    if container.host_config.get("AutoRemove"):
        _send_order(container, protocol.CANCEL_AUTO_REMOVE)


def _send_order(container: Container, order: bytes) -> None:
    """Give a monitor an order, and wait until it has it; one that has ended needs none."""
    while (socket := connect_when_ready(container)) is not None:
        socket.send(order)
        if protocol.receive(socket)[:1] == protocol.STARTED:
            return
