"""How many files the command may have open: --nofile N. Yours to write."""


def options(parser):
    parser.add_argument("--nofile", type=int, metavar="N", help="open files, at most")


def inside(box):
    """Limit the command, if that was asked for."""
    # TODO: setrlimit(2), which Python has in `resource`. A limit has two halves.
    # TODO: setrlimit says EPERM to a limit that is too high. What does Python make of that?
    if box.nofile is not None:
        raise NotImplementedError("limits.inside is not written yet")
