"""`script run …`: write a run as a POSIX shell script."""

from __future__ import annotations

import shlex
import sys

from minidock.cli.flags.run_flags import run_flags
from minidock.cli.frame.command import command
from minidock.cli.frame.complete import images
from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from minidock.cli.flags.flag_values import RunFlags
    from minidock.cli.frame.lazy import Table

_COMMANDS: Table = {
    "run": ("Commands", "script:run", "Write a shell script equivalent to `run`"),
}


def _script(given: dict[str, object]) -> None:
    """Write a shell script equivalent to a command"""


script = Group(_COMMANDS, _script)


@command(
    "IMAGE [COMMAND] [ARG...]",
    at_least=1,
    flags_first=True,
    needs_root=False,
    complete=images,
)
@run_flags
@switch("-d", "--detach", help="Accepted as in run; the script stays in the foreground")
@switch("--sig-proxy", default=True, help="Accepted as in run; does not change the script")
def run(
    arguments: tuple[str, ...], *, detach: bool, sig_proxy: bool, **flags: Unpack[RunFlags]
) -> None:
    """Write a shell script equivalent to `run`

    minidock script run busybox echo hello > box.sh; sudo sh box.sh. It needs neither minidock nor
    Python: docs/script.md lists its requirements, and what a shell cannot do.
    """
    from minidock.cli.verbs.plan import planned
    from minidock.teach.script.script import script as compile_script

    line = shlex.join(["minidock", "script", *sys.argv[sys.argv.index("run") :]])
    made = planned(arguments, flags, detach=detach)
    text = compile_script(made, line.replace("\n", " "))
    if sys.stdout.isatty():
        sys.stdout.write(text)  # to read
    else:
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))  # to execute: exact bytes
