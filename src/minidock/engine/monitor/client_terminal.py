"""The command's terminal in raw mode, and its signals as readable bytes.

Sources: termios(3) cfmakeraw; signal(7); signal.set_wakeup_fd in Python's documentation.
"""

from __future__ import annotations

import os
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object] | int | None
else:
    import _signal as signal  # without the enums, whose import costs 5 ms

_NOT_FORWARDED = {
    signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGTSTP, signal.SIGTTIN,
    signal.SIGTTOU, signal.SIGCONT, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS,
    signal.SIGFPE, signal.SIGILL, signal.SIGABRT,
}  # fmt: skip
ENDING = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
SIGWINCH = signal.SIGWINCH


class RawTerminal:
    """Our terminal in raw mode until `restore`: no echo, line editing or signal keys."""

    def __init__(self) -> None:
        self._before = termios.tcgetattr(0)
        mode = termios.tcgetattr(0)
        mode[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(0, termios.TCSADRAIN, mode)

    def restore(self) -> None:
        termios.tcsetattr(0, termios.TCSADRAIN, self._before)


class Signals:
    """In the block, signals have no effect but their numbers, which `descriptor` delivers.

    forward_all: catch all signals meant for a program; otherwise only those that end this command.
    SIGWINCH is caught in both cases.
    """

    def __init__(self, *, forward_all: bool) -> None:
        self._caught = signal.valid_signals() - _NOT_FORWARDED if forward_all else ENDING
        self._before: dict[int, Handler] = {}
        self.descriptor = -1

    def __enter__(self) -> Signals:
        self.descriptor, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._previous = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in self._caught:
            if 32 <= number <= 33:  # used by glibc's threads
                continue
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup(1)
            self._before[number] = signal.signal(number, _note)
        self._before[SIGWINCH] = signal.signal(SIGWINCH, _note)
        return self

    def read(self) -> bytes:
        """The numbers of the received signals; call it when the descriptor is readable."""
        return os.read(self.descriptor, 64)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._previous)
        os.close(self.descriptor)
        os.close(self._writing)


def _note(number: int, frame: object) -> None:
    """Python has already written the number to the pipe."""
