"""`plan run …`: all that `run` would ask of the kernel, told without doing it."""

from __future__ import annotations

import sys

from minidock.cli.flags.run_flags import container_create_body, run_flags
from minidock.cli.frame.command import command
from minidock.cli.frame.complete import images
from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import switch, values
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.frame.lazy import Table
    from minidock.teach.plan.plan import Plan

_COMMANDS: Table = {
    "run": ("Commands", "plan:run", "Tell what `run` would do, and do nothing"),
}


def _plan(given: dict[str, Any]) -> None:
    """Show what a command would do, without doing it"""


plan = Group(_COMMANDS, _plan)


@command(
    "IMAGE [COMMAND] [ARG...]",
    at_least=1,
    flags_first=True,
    needs_root=False,
    complete=images,
)
@run_flags
@switch("-d", "--detach", help="Accepted as in run; does not change the plan")
@switch("--sig-proxy", default=True, help="Accepted as in run; does not change the plan")
@values("--without", help="Omit an isolation (pid, mount, net, ...), as in run")
@switch("--json", help="Print one JSON object per operation")
def run(
    arguments: tuple[str, ...],
    *,
    detach: bool,
    sig_proxy: bool,
    without: tuple[str, ...],
    json: bool,
    **flags: Any,
) -> int:
    """Tell what `run` would do, and do nothing

    Each kernel call of the engine, the monitor and init in its order, with its reason, and how a
    shell would do it. The image must be here. Root is not needed, but sees more. Where the run
    would fail (a port is taken, an option is wrong, the command is missing), the plan ends there,
    and the exit code is the one that the run would have; else it is 0.
    """
    from minidock.teach.plan.output import write_json, write_text

    write = write_json if json else write_text
    made = planned(arguments, flags, detach=detach, without=without)
    write(made, sys.stdout)
    return made.exit_code


def planned(
    arguments: tuple[str, ...],
    flags: dict[str, Any],
    *,
    detach: bool,
    without: tuple[str, ...] = (),
) -> Plan:
    """The plan of a `run` with these flags."""
    from minidock.teach.plan.plan import plan_run

    body = container_create_body(flags, arguments, detach=detach)
    if without:
        from minidock.teach.without.isolations import leave_out, parse_isolations

        leave_out(
            body, parse_isolations(without), is_allowed=lambda: True
        )  # a plan endangers nothing
    made = plan_run(Store(), body, name=flags["name"] or None)
    if flags["pull"] == "always":
        made.notes.insert(0, "--pull always: the image is looked at as it is here")
    return made
