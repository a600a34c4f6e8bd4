"""What an image's config says of its command's process: Env, WorkingDir and User.

The last part before the command, behind all walls: /etc/passwd is the box's here. Read it as a
file. The pwd module would ask the C library, and that would load libraries of the box, as root.

Yours to write.
"""


def inside(box):
    """Take on the environment, the directory and the user, in this order; nothing else is kept."""
    if getattr(box, "config", None) is None:  # ROOTFS is a directory: nobody said anything
        return
    # TODO: Env, and PATH, HOME and HOSTNAME where it does not say them. os.environ
    # TODO: WorkingDir, which is made if it is missing
    # TODO: User: NAME or NUMBER, and perhaps :GROUP. Its other groups stand in /etc/group.
    #       In which order? And what of lab 03 must be said again after setuid?
    raise NotImplementedError("config.inside is not written yet")
