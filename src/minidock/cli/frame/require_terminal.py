"""Check that stdin is a terminal, for interactive commands."""

from __future__ import annotations

import os

from minidock.cli.frame.command import Misuse


def require_terminal(hint: str) -> None:
    """Raise Misuse if standard input is not a terminal."""
    if not os.isatty(0):
        raise Misuse("the input device is not a TTY", hint=hint)
