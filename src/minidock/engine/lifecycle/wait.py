"""wait: wait until a container has stopped, and return its exit code.

`wait` asks the monitor for the exit code. `stop` and `kill` wait for the monitor's own exit, by a
pidfd.
"""

from __future__ import annotations

import os
import select

from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import find
from minidock.engine.container.repair import repair
from minidock.engine.monitor import protocol
from minidock.engine.monitor.connection import connect_when_ready
from minidock.errors import NotFound
from minidock.kernel import flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store


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
