"""PID 1: a PID namespace for the box."""

import os
import signal

import linux
import process

FLAGS = linux.CLONE_NEWPID


def inside(box):
    """Go on as PID 1 of the new namespace; the process that came here waits, and ends as it."""
    end_with_parent()
    pid = os.fork()  # unshare moved nobody: only who is born from now on is in the new namespace
    if pid:
        os._exit(process.wait(pid))
    end_with_parent()


def end_with_parent():
    """Have the kernel kill this process when its parent ends, for whatever reason.

    A change of the user ID takes this back: whoever calls setuid calls this again afterwards.
    """
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
