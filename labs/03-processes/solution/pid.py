"""PID 1: a PID namespace for the box."""

import os
import signal

import linux
import process

FLAGS = linux.CLONE_NEWPID


def inside(box):
    """Continue as PID 1 of the new namespace; the caller waits, and exits with its exit code."""
    end_with_parent()
    pid = os.fork()  # unshare(CLONE_NEWPID) does not move the caller, only its new children
    if pid:
        os._exit(process.wait(pid))
    end_with_parent()


def end_with_parent():
    """Let the kernel kill this process when its parent exits, for any reason.

    setuid clears this setting: call this again after it.
    """
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
