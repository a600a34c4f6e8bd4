"""A view: a module that inspects a created container before its command starts.

The engine must not import views, which belong to higher layers. So LAUNCH names a module, whose
function

    inspect(container, created, tell)      created: runtime/lifecycle.py; tell(line): to the command

is called in the monitor, while init waits for its start. An error ends the launch.
"""

from __future__ import annotations

from minidock.engine.monitor import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.document_types.message import LaunchRequest
    from minidock.engine.container.containers import Container
    from minidock.engine.monitor.client import Client
    from minidock.runtime import lifecycle


def load_view(
    request: LaunchRequest, container: Container, starter: Client
) -> Callable[[lifecycle.Container], None] | None:
    """Load the view that LAUNCH names; None without one."""
    if not request.get("view"):
        return None
    module = __import__(request["view"], fromlist=["inspect"])

    def tell(line: str) -> None:
        starter.send(protocol.RECORD + line.encode())

    def inspect(created: lifecycle.Container) -> None:
        module.inspect(container, created, tell)

    return inspect
