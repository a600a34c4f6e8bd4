"""A mount namespace for the box, from which no mount propagates to the host."""

import linux

FLAGS = linux.CLONE_NEWNS


def inside(box):
    """Make all mounts of the new namespace private: no mount propagates, in either direction.

    The copy of a shared mount is a peer of the original: a mount below one appears below the
    other. systemd makes / shared, so a new namespace alone isolates nothing.
    """
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
