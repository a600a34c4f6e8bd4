"""--init: a PID 1 that does its two duties, for commands that were never meant to be PID 1."""

import os
import signal


def options(parser):
    parser.add_argument("--init", action="store_true", help="reap orphans, pass signals on")


def inside(box):
    """Stay here as PID 1, if that was asked for, and go on to the command in a child."""
    if not box.init:
        return
    # Blocked signals wait until sigwait takes them: none is lost, none runs a handler.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    command = os.fork()
    if command:
        # The command's open files close at its execve; these never would, and one that is open on
        # a directory of the host is an escape for every process in the box: /proc/1/fd.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os._exit(serve(command))  # and with PID 1, the kernel ends all that is left in the box
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # a mask outlives execve


def serve(command):
    """Pass signals on and reap, until the command ends; returns its exit code, or 128 + signal."""
    while True:
        number = signal.sigwait(signal.valid_signals())
        if number != signal.SIGCHLD:
            os.kill(command, number)
        elif (code := reap(command)) is not None:
            return code


def reap(command):
    """Collect every child that has ended; returns the command's exit code, if it is among them.

    Many ends can stand behind one SIGCHLD: signals are not counted.
    """
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return None
        if pid == command:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
