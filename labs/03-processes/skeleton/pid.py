"""PID 1: a PID namespace for the box. Yours to write."""

import linux

FLAGS = linux.CLONE_NEWPID


def inside(box):
    """Go on as PID 1 of the new namespace; the process that came here waits, and ends as it."""
    # TODO: The new namespace is there already: the frame has called unshare(FLAGS). But you are not
    # in it. Who will be? Let that one return from here, and go on to the command.
    # TODO: Whoever kills box with SIGKILL must not leave the command behind: PR_SET_PDEATHSIG.
    raise NotImplementedError("pid.inside is not written yet")
