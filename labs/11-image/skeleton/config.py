"""Apply the image config to the command's process: Env, WorkingDir and User.

The last part before the command, after all isolation: /etc/passwd is the box's here. Read it as a
file: the pwd module calls the C library, which would load the box's NSS libraries, as root.

Yours to write.
"""


def inside(box):
    """Set environment, working directory and user, in this order; drop the caller's environment."""
    if getattr(box, "config", None) is None:  # ROOTFS is a directory: there is no config
        return
    # TODO: Env, and PATH, HOME and HOSTNAME where it does not say them. os.environ
    # TODO: WorkingDir, which is made if it is missing
    # TODO: User: NAME or NUMBER, and perhaps :GROUP. Its other groups stand in /etc/group.
    #       In which order? And what of lab 03 must be said again after setuid?
    raise NotImplementedError("config.inside is not written yet")
