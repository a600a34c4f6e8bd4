"""`plan run …`: the kernel calls that `run` would make."""

from __future__ import annotations

import shlex
import sys

from minidock.cli.flags.run_flags import container_create_body, run_flags
from minidock.cli.frame.command import command
from minidock.cli.frame.complete import images
from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import switch, values
from minidock.errors import UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from minidock.cli.flags.flag_values import RunFlags
    from minidock.cli.frame.lazy import Table
    from minidock.teach.plan.plan import Plan

_COMMANDS: Table = {
    "run": ("Commands", "plan:run", "Show what `run` would do, without doing it"),
}


def _plan(given: dict[str, object]) -> None:
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
    **flags: Unpack[RunFlags],
) -> int:
    """Show what `run` would do, without doing it

    Lists the kernel calls of the engine, the monitor and init in order, with their reasons and the
    equivalent shell commands. The image must exist locally. Root is not required, but shows more.
    If the run would fail (a port in use, an invalid option, a missing command), the plan ends there
    with the exit code of that run; else it is 0.
    """
    from minidock.teach.plan.output import write_json, write_text

    write = write_json if json else write_text
    made = planned(arguments, flags, detach=detach, without=without)
    write(made, sys.stdout)
    return made.exit_code


def planned_from(text: str) -> Plan:
    """Make the plan of a command line, such as "run --privileged busybox". Raises UsageError."""
    from typing import cast

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--plan {text}: {error}") from None
    if words[:1] != ["run"]:
        raise UsageError(f'--plan {text}: it must begin with "run"', hint="--plan 'run busybox'")
    arguments, given = run.read("minidock plan run", words[1:])
    if given.pop("json"):
        raise UsageError("--plan: --json prints a plan, a picture cannot")
    given.pop("sig_proxy")
    detach, without = bool(given.pop("detach")), cast("tuple[str, ...]", given.pop("without"))
    return planned(arguments, cast("RunFlags", given), detach=detach, without=without)


def planned(
    arguments: tuple[str, ...],
    flags: RunFlags,
    *,
    detach: bool,
    without: tuple[str, ...] = (),
) -> Plan:
    """Make the plan of a `run` with these flags."""
    from minidock.teach.plan.plan import plan_run

    body = container_create_body(flags, arguments, detach=detach)
    if without:
        from minidock.teach.without.isolations import leave_out, parse_isolations

        leave_out(
            body, parse_isolations(without), is_allowed=lambda: True
        )  # a plan changes nothing
    made = plan_run(Store(), body, name=flags["name"] or None)
    if flags["pull"] == "always":
        made.notes.insert(0, "--pull always: the plan uses the local image")
    return made
