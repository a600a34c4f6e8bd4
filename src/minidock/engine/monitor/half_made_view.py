"""A view: what a command wants to have looked at once its container lacks but the program to run.

Views stand above the engine, which knows none of them. So a launch message names a module by its
full name, and the module has a function

    look_on(container, created, tell)      created: runtime/lifecycle.py; tell(line): to the command

which is called in the monitor, while init waits for its start. What it raises ends the launch.
"""

from __future__ import annotations

from minidock.engine.monitor import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minidock.engine.container.containers import Container
    from minidock.engine.monitor.client import Client
    from minidock.runtime import lifecycle


def load_view(
    request: dict[str, Any], container: Container, starter: Client
) -> Callable[[lifecycle.Container], None] | None:
    """The view that a launch message asks for; None where it asks for none."""
    if not request.get("view"):
        return None
    module = __import__(request["view"], fromlist=["look_on"])

    def tell(line: str) -> None:
        starter.send(protocol.RECORD + line.encode())

    def look_on(created: lifecycle.Container) -> None:
        module.look_on(container, created, tell)

    return look_on
