"""Where a person speaks to the debugger: lines of stdin, and Ctrl-C."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import TextIO


class Interrupt:
    """Ctrl-C: at the prompt it is heard at once; while an act is done, before the next one.

    came: whether there was one that nobody has heard yet. A second one ends this process.
    """

    def __init__(self) -> None:
        self.came = False
        self._heard = False
        self._before = signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._heard or self.came:
            raise KeyboardInterrupt
        self.came = True

    def at_prompt(self) -> Interrupt:
        return self

    def __enter__(self) -> None:
        self._heard = True

    def __exit__(self, *error: object) -> None:
        self._heard = False

    def restore(self) -> None:
        signal.signal(signal.SIGINT, self._before)


class Lines:
    """The lines of stdin, one at a time; what follows one may be for the container.

    On a terminal they are edited by readline, which remembers what was said and completes what is
    typed: verbs where a line begins, nouns behind that.
    From a pipe they are read byte by byte, and repeated on `out`, since nobody has seen them typed.
    """

    def __init__(self, out: TextIO, verbs: list[str], nouns: list[str]) -> None:
        self._out = out
        self._edited = os.isatty(0) and os.isatty(1) and _edit(verbs, nouns)

    def __call__(self, prompt: str) -> str | None:
        """The next line, None at the end."""
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
    """Have input() use readline; False where this Python comes without it."""
    try:
        import readline
    except ImportError:
        return False

    def complete(begun: str, number: int) -> str | None:
        known = nouns if readline.get_begidx() else verbs
        matching = [name for name in known if name.startswith(begun)]
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
