"""The debugger's prompt: lines from stdin, and Ctrl-C."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import TextIO


class Interrupt:
    """Ctrl-C: handled at once at the prompt, else before the next operation.

    came: whether one is pending. A second one ends this process.
    """

    def __init__(self) -> None:
        self.came = False
        self._at_prompt = False
        self._before = signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._at_prompt or self.came:
            raise KeyboardInterrupt
        self.came = True

    def at_prompt(self) -> Interrupt:
        return self

    def __enter__(self) -> None:
        self._at_prompt = True

    def __exit__(self, *error: object) -> None:
        self._at_prompt = False

    def restore(self) -> None:
        signal.signal(signal.SIGINT, self._before)


class Lines:
    """Reads stdin line by line, and no further: the rest may be for the container.

    On a terminal readline provides editing, history and completion: verbs at the start of a line,
    nouns after that. From a pipe it reads byte by byte, and echoes the line on `out`.
    """

    def __init__(self, out: TextIO, verbs: list[str], nouns: list[str]) -> None:
        self._out = out
        self._edited = os.isatty(0) and os.isatty(1) and _edit(verbs, nouns)

    def __call__(self, prompt: str) -> str | None:
        """The next line, None at end of file."""
        if self._edited:
            try:
                return input(prompt)
            except EOFError:
                return None
        self._out.write(prompt)
        self._out.flush()
        line = _read_line()
        if line is not None and not os.isatty(0):
            self._out.write(line + "\n")
        return line


def _edit(verbs: list[str], nouns: list[str]) -> bool:
    """Have input() use readline; False if this Python lacks it."""
    try:
        import readline
    except ImportError:
        return False

    def complete(prefix: str, number: int) -> str | None:
        known = nouns if readline.get_begidx() else verbs
        matching = [name for name in known if name.startswith(prefix)]
        return matching[number] + " " if number < len(matching) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    readline.parse_and_bind("tab: complete")
    return True


def _read_line() -> str | None:
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode(errors="replace") if byte or line else None
