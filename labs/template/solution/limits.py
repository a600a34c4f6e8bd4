"""How many files the command may have open: --nofile N."""

import errno
import os
import resource


def options(parser):
    parser.add_argument("--nofile", type=int, metavar="N", help="open files, at most")


def inside(box):
    """Limit the command, if that was asked for."""
    if box.nofile is None:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (box.nofile, box.nofile))
    except ValueError:  # so Python calls both EPERM and EINVAL of setrlimit(2)
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), f"--nofile {box.nofile}") from None
