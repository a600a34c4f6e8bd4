"""Layers: overlayfs shows several directories as one tree, and writes to one more directory.

    --upper DIR      what the box writes                       ^
    --layer DIR      the last one, over the others             |  a name is looked up
    --layer DIR      ...                                       |  from the top down
    ROOTFS           the lowest layer                          |

Yours to write. options, marks and VERBS are given.
"""

import argparse


def options(parser):
    text = "a layer over ROOTFS; several: lowest first"
    parser.add_argument("--layer", action="append", default=[], metavar="DIR", help=text)
    text = "what the box writes; by default discarded at the end"
    parser.add_argument("--upper", metavar="DIR", help=text)


def before(box):
    """Create the directories that overlayfs writes to: upper, and a work directory beside it."""
    if box.layer or box.upper:
        # TODO: both on one file system, the work directory empty. Does each layer exist?
        raise NotImplementedError("overlay.before is not written yet")


def inside(box):
    """Mount the overlay over box.rootfs, in this mount namespace only."""
    if box.layer or box.upper:
        # TODO: linux.mount, kind "overlay". lowerdir= has the topmost first; marks() tells whether
        # the option userxattr is needed
        raise NotImplementedError("overlay.inside is not written yet")


def after(box):
    """Remove the work directory, and a temporary upper directory."""
    # TODO (it is also called if `before` failed)


def marks():
    """The namespace of overlayfs's attributes: "trusted", or "user" in a user namespace.

    Only root of the host may use trusted.*. In a user namespace, the mount option userxattr
    selects user.*.
    """
    with open("/proc/self/uid_map") as file:
        everybody = file.read().split() == ["0", "0", "4294967295"]
    return "trusted" if everybody else "user"


def diff(arguments):
    """box diff UPPER: print the changes, one per line."""
    parser = argparse.ArgumentParser(prog="box diff")
    parser.add_argument("upper")
    given = parser.parse_args(arguments)
    # TODO: "D /path" for a whiteout, "O /path" for an opaque directory, "W /path" for all others
    raise NotImplementedError(f"overlay.diff is not written yet: {given.upper}")


def commit(arguments):
    """box commit UPPER TAR: write the changes as a layer, in OCI's format."""
    parser = argparse.ArgumentParser(prog="box commit")
    parser.add_argument("upper")
    parser.add_argument("tar")
    given = parser.parse_args(arguments)
    # TODO: tarfile. What does a whiteout become, and what an opaque directory?
    raise NotImplementedError(f"overlay.commit is not written yet: {given.upper}, {given.tar}")


VERBS = {"diff": diff, "commit": commit}
