"""Commands that want a terminal to be interactive on."""

from __future__ import annotations

import os

from minidock.cli.frame.command import Misuse


def need_terminal(hint: str) -> None:
    """Raise Misuse where standard input is no terminal."""
    if not os.isatty(0):
        raise Misuse("the input device is not a TTY", hint=hint)
