"""A mount table of its own for the box, from which nothing reaches the host's."""

import linux

FLAGS = linux.CLONE_NEWNS


def inside(box):
    """Cut the new mount table off from the host's: no mount goes over, in either direction.

    The copy of a shared mount is a peer of the original: what is mounted below the one appears
    below the other. systemd makes / shared, so a namespace alone hides nothing.
    """
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
