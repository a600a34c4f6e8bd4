"""`container …`: the top-level commands for containers, under Docker's management command."""

from __future__ import annotations

from minidock.cli.frame.lazy import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.frame.lazy import Table


def _commands() -> Table:
    from minidock.cli.commands import COMMANDS

    names = (
        "attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "pause",
        "port", "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause",
        "update", "wait",
    )  # fmt: skip
    table: Table = {name: ("Commands", *COMMANDS[name][1:]) for name in names}
    table["ls"] = ("Commands", "ps:ps", "List containers")
    table["prune"] = ("Commands", "prune:containers", "Remove the stopped containers")
    table["inspect"] = (
        "Commands",
        "inspect:inspect_container",
        "Show all details of containers",
    )
    return dict(sorted(table.items()))


def _container(given: dict[str, object]) -> None:
    """Manage containers"""


container = Group(
    _commands(),
    _container,
    aliases={"list": "ls", "ps": "ls", "remove": "rm"},
)
