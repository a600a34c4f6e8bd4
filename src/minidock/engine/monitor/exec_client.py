"""exec, on the command's side: the container's monitor starts the process, this side relays.

The monitor already runs in the sealed interpreter, so it only has to fork.
"""

from __future__ import annotations

import os

from minidock.engine.container.containers import restarting_error
from minidock.engine.container.lookup import find
from minidock.engine.monitor import protocol
from minidock.engine.monitor.attach import Attachment, MonitorConnection, connect
from minidock.errors import Conflict, UsageError
from minidock.kernel.terminal import get_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ExecConfig
    from minidock.document_types.message import ExecRequest
    from minidock.paths import Store

_REQUEST_BYTES = 400 * 1024


def execute(
    store: Store, reference: str, process: ExecConfig, attachment: Attachment | None
) -> int | None:
    """Run a process in a running container.

    process: Docker's ExecConfig. attachment: None to detach.
    Returns its exit code; None if detached.
    Raises NotFound, Conflict if the container does not run or is paused, CommandNotFound,
    CommandNotRunnable, UsageError.
    """
    container = find(store, reference)
    if not container.running:
        raise Conflict(f"container {container.id} is not running",
                       hint=f"minidock start {container.name}")  # fmt: skip
    if container.restarting:
        raise restarting_error(container)
    if container.state["Paused"]:
        raise Conflict(
            f"Container {container.name} is paused, unpause the container before exec",
            hint=f"minidock unpause {container.name}",
        )
    size = list(get_size(1)) if process.get("Tty") and os.isatty(1) else None
    request: ExecRequest = {
        "request": process,
        "attach": attachment.streams() if attachment else None,
        "size": size,
    }
    packet = protocol.message(protocol.EXEC, request)
    if len(packet) > _REQUEST_BYTES:
        raise UsageError("the command and its environment are too long: 400 KiB at most")
    socket = connect(container)
    socket.send(packet)
    connection = MonitorConnection(socket, attachment, terminal=bool(process.get("Tty")))
    if attachment is None:
        connection.wait_until_started()
        return None
    return connection.relay_or_detach()
