"""--init: a PID 1 that reaps orphans and forwards signals, for commands that do neither."""

import os
import signal


def options(parser):
    parser.add_argument("--init", action="store_true", help="reap orphans, forward signals")


def inside(box):
    """With --init, stay here as PID 1, and let a child become the command."""
    if not box.init:
        return
    # Blocked signals stay pending until sigwait accepts them: none is lost, and no handler runs.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    command = os.fork()
    if command:
        # execve closes the command's open files, but this process never calls execve. An open
        # directory of the host would be an escape for the whole box, by /proc/1/fd.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os._exit(serve(command))  # the kernel kills all remaining processes with PID 1
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # execve keeps the mask


def serve(command):
    """Forward signals and reap, until the command ends; returns its exit code, or 128 + signal."""
    while True:
        number = signal.sigwait(signal.valid_signals())
        if number != signal.SIGCHLD:
            os.kill(command, number)
        elif (code := reap(command)) is not None:
            return code


def reap(command):
    """Reap all ended children; returns the command's exit code, if it is among them.

    One SIGCHLD may stand for several ended children: signals are not queued.
    """
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return None
        if pid == command:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
