"""Escape from a chroot. Yours to write."""


def escape(arguments):
    """Print a file outside, from inside a chroot; arguments: [its path]. Returns 0."""
    # TODO: escape from the root of this process, and read the file
    raise NotImplementedError("escape.escape is not written yet")


VERBS = {"escape": escape}
