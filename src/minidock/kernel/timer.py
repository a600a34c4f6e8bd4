"""Timers as descriptors: a poll loop waits for a timer and other events at the same time.

Unlike a sleep, the process can still answer other requests.
Source: timerfd_create(2).
"""

from __future__ import annotations

import ctypes
import os

from minidock.kernel.libc import syscall
from minidock.kernel.op import op

_CLOCK_BOOTTIME = 7  # also counts while the machine is suspended
_TFD_CLOEXEC = os.O_CLOEXEC


def _wake_after_sh(milliseconds: int) -> str:
    return f"sleep {milliseconds / 1000:g}"


@op("timerfd_create(2)", twin=_wake_after_sh)
def wake_after(milliseconds: int) -> int:
    """Create a timer: a descriptor that becomes readable after this time.

    Without it: a process would sleep, and could not answer requests meanwhile: no `stop` during the
    pause before a restart.

    milliseconds: at least 1. Returns the descriptor, which the caller closes.
    Raises KernelError: EMFILE, ENFILE.
    """
    fd = syscall("timerfd_create", _CLOCK_BOOTTIME, _TFD_CLOEXEC, subject="timer")
    seconds, rest = divmod(milliseconds, 1000)
    # struct itimerspec: the interval (0: once), then the first time; seconds and nanoseconds each
    when = (ctypes.c_int64 * 4)(0, 0, seconds, rest * 1_000_000)
    syscall("timerfd_settime", fd, 0, ctypes.byref(when), None, subject="timer")
    return fd
