"""A `run --step`, as the page drives it: where it waits, and commands for it.

The journal names an operation before it is done. While a run waits before one, that is not yet in
the picture: the page shows it as the next one.
"""

from __future__ import annotations

from minidock.errors import Conflict, UsageError
from minidock.teach.step.command_socket import COMMANDS, ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from minidock.engine.container.containers import Container
    from minidock.teach.journal_reader import JournalEntry

    class Pause(TypedDict):
        """before: the id of the operation that is waited before, or was last. is_open: whether a
        command would be taken now."""

        before: str
        is_open: bool

    class Order(TypedDict):
        """What the page sends. before: the id of the operation that it showed as the next one."""

        container: str
        before: str
        command: str


ORDER_BYTES = 512


def pause_of(container: Container, last: Pause | None) -> Pause | None:
    """Where a container's `run --step` waits; None if it has none.

    last: the answer before; its operation is kept while there is none, such as after Ctrl-Z.
    """
    try:
        state = ask(container.paths)
    except TimeoutError:
        return {"before": last["before"] if last else "", "is_open": False}
    return None if state is None else {"before": state["before"], "is_open": state["open"]}


def entry_waiting(ops: list[JournalEntry], pause: Pause | None) -> JournalEntry | None:
    """The operation that the journal announces, and that is not done yet."""
    if pause is None:
        return None
    wanted = [each for each in ops if each.record["id"] == pause["before"] and each.us is None]
    return wanted[0] if wanted else None


def order_of(form: dict[str, str]) -> Order:
    """What a page asks for. Raises UsageError."""
    command = form.get("command", "")
    if command not in COMMANDS:
        raise UsageError(f"the commands are: {', '.join(COMMANDS)}")
    return {
        "container": form.get("container", ""), "before": form.get("before", ""),
        "command": command,
    }  # fmt: skip


def send(container: Container, order: Order) -> None:
    """Send a command to a container's `run --step`. Raises Conflict if it is not taken."""
    try:
        state = ask(container.paths, order["before"], order["command"])
    except TimeoutError:
        raise Conflict("the command `run --step` does not answer: is it stopped?") from None
    if state is None:
        raise Conflict(f"no `run --step` of {container.name} waits for a command")
    if not state["taken"]:
        raise Conflict("another command came first, or its terminal is in use")
