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


def read_line_of_stdin(echo: TextIO) -> str | None:
    """The next line of stdin, byte by byte: what follows it may be for the container.

    echo: where it is repeated when nobody has seen it typed. Returns None at the end.
    """
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    if not byte and not line:
        return None
    text = line.decode(errors="replace")
    if not os.isatty(0):
        echo.write(text + "\n")
    return text
