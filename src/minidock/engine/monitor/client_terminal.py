"""The caller's terminal, raw for a while, and the caller's signals, as numbers to be read.

Sources: termios(3) cfmakeraw; signal(7); signalfd(2), whose work Python's set_wakeup_fd does here.
"""

from __future__ import annotations

import os
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any
else:
    import _signal as signal  # without the enums, whose import costs 5 ms

_NOT_PASSED_ON = {
    signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGTSTP, signal.SIGTTIN,
    signal.SIGTTOU, signal.SIGCONT, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS,
    signal.SIGFPE, signal.SIGILL, signal.SIGABRT,
}  # fmt: skip
ENDING = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
SIGWINCH = signal.SIGWINCH


class RawTerminal:
    """Our own terminal, raw until restored: no echo, no lines, no signals by key."""

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
    """While the block runs, signals are not acted upon: their numbers are read from `descriptor`.

    passed_on: all that a program could be meant by; otherwise those that end this command. In both
    cases also the one that tells of another window size.
    """

    def __init__(self, *, passed_on: bool) -> None:
        self._wanted = signal.valid_signals() - _NOT_PASSED_ON if passed_on else ENDING
        self._before: dict[int, Any] = {}
        self.descriptor = -1

    def __enter__(self) -> Signals:
        self.descriptor, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._previous = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in self._wanted:
            if 32 <= number <= 33:  # a thread library's own
                continue
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # a nohup's hang-up stays ignored
            self._before[number] = signal.signal(number, _note)
        self._before[SIGWINCH] = signal.signal(SIGWINCH, _note)
        return self

    def read(self) -> bytes:
        """The numbers of the signals that have come; call when the descriptor is readable."""
        return os.read(self.descriptor, 64)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._previous)
        os.close(self.descriptor)
        os.close(self._writing)


def _note(number: int, frame: object) -> None:
    """Python has written the number to the pipe already."""
