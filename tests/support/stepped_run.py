"""`minidock run --step`, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pexpect

from support.command import command_line, environment
from support.patience import patience

if TYPE_CHECKING:
    Child = pexpect.spawn[str]

PROMPT = "(step) "


def begin_stepped_run(root: str, *arguments: str) -> Child:
    """Start one with the store of this root."""
    program, *before = command_line()
    child = pexpect.spawn(
        program,
        [*before, "run", "--step", *arguments],
        encoding="utf-8",
        timeout=patience(30),
        dimensions=(50, 120),
        env={**environment(root), "TERM": "dumb", "NO_COLOR": "1"},  # type: ignore[arg-type]
    )
    child.delaybeforesend = None
    return child
