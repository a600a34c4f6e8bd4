"""PID 1: a PID namespace for the box. Yours to write."""

import linux

FLAGS = linux.CLONE_NEWPID


def inside(box):
    """Continue as PID 1 of the new namespace; the caller waits, and exits with its exit code."""
    # TODO: The frame has called unshare(FLAGS), so the new namespace exists. But this process is
    # not in it. Which process will be? Let that one return from here, and continue to the command.
    # TODO: After SIGKILL to box, the command must not be left running: PR_SET_PDEATHSIG.
    raise NotImplementedError("pid.inside is not written yet")
