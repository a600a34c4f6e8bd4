"""Timers as descriptors: the kernel wakes a poll loop at a moment, among all else that it awaits.

It does not sleep: who waits goes on answering others meanwhile.

Source: timerfd_create(2).
"""

from __future__ import annotations

import ctypes
import os

from minidock.kernel.libc import syscall
from minidock.kernel.op import op

_CLOCK_BOOTTIME = 7  # goes on while the machine is suspended
_TFD_CLOEXEC = os.O_CLOEXEC


def _wake_after_sh(milliseconds: int) -> str:
    return f"sleep {milliseconds / 1000:g}"


@op("timerfd_create(2)", twin=_wake_after_sh)
def wake_after(milliseconds: int) -> int:
    """Have the kernel make a descriptor readable after a while: wait, and stay able to answer.

    Without it: a process would sleep, and answer nobody meanwhile: no `stop` during the pause
    before a restart.

    milliseconds: at least 1. Returns the descriptor, which the caller closes.
    Raises KernelError: EMFILE, ENFILE.
    """
    fd = syscall("timerfd_create", _CLOCK_BOOTTIME, _TFD_CLOEXEC, subject="timer")
    seconds, rest = divmod(milliseconds, 1000)
    # struct itimerspec: the interval (0: once), then the first time; seconds and nanoseconds each
    when = (ctypes.c_int64 * 4)(0, 0, seconds, rest * 1_000_000)
    syscall("timerfd_settime", fd, 0, ctypes.byref(when), None, subject="timer")
    return fd
