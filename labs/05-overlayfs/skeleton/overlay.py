"""Layers: overlayfs shows several directories as one tree, and keeps what is written in one more.

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
    text = "what the box writes; without it, that is thrown away"
    parser.add_argument("--upper", metavar="DIR", help=text)


def before(box):
    """Make the two directories that overlayfs writes to: upper, and a work directory beside it."""
    if box.layer or box.upper:
        # TODO: both on one file system, the work directory empty. Is each layer there?
        raise NotImplementedError("overlay.before is not written yet")


def inside(box):
    """Mount the sum of the layers over box.rootfs: only this mount namespace sees it there."""
    if box.layer or box.upper:
        # TODO: linux.mount, kind "overlay". lowerdir= wants the topmost first; marks() says whether
        # the option userxattr is needed
        raise NotImplementedError("overlay.inside is not written yet")


def after(box):
    """Throw the work directory away, and with it an upper that nobody asked for."""
    # TODO (it is called after a `before` that failed, too)


def marks():
    """Which attributes overlayfs keeps its marks in: "trusted", or "user" in a user namespace.

    trusted.* is for root of the whole machine. Who is root in a user namespace only asks for
    user.* by the option userxattr.
    """
    with open("/proc/self/uid_map") as file:
        everybody = file.read().split() == ["0", "0", "4294967295"]
    return "trusted" if everybody else "user"


def diff(arguments):
    """box diff UPPER: print what it says, a line an entry."""
    parser = argparse.ArgumentParser(prog="box diff")
    parser.add_argument("upper")
    given = parser.parse_args(arguments)
    # TODO: "D /path" for a whiteout, "O /path" for an opaque directory, "W /path" for all else
    raise NotImplementedError(f"overlay.diff is not written yet: {given.upper}")


def commit(arguments):
    """box commit UPPER TAR: write it as an image's layer, in the format of OCI."""
    parser = argparse.ArgumentParser(prog="box commit")
    parser.add_argument("upper")
    parser.add_argument("tar")
    given = parser.parse_args(arguments)
    # TODO: tarfile. What does a whiteout become, and what an opaque directory?
    raise NotImplementedError(f"overlay.commit is not written yet: {given.upper}, {given.tar}")


VERBS = {"diff": diff, "commit": commit}
