"""--user-namespace: root in the box, an ordinary user outside. Yours to write."""


def options(parser):
    parser.add_argument("--user-namespace", action="store_true", help="root inside, you outside")


def flags(box):
    """Flags for unshare: the frame adds them to the FLAGS of the other parts, in one call."""
    # TODO: linux.CLONE_NEWUSER (import linux), only with --user-namespace
    if box.user_namespace:
        raise NotImplementedError("user.flags is not written yet")
    return 0


def beside(box):
    """On the host, while the child waits: map root of the box to a user of the host."""
    # TODO: /proc/PID/uid_map, /proc/PID/setgroups, /proc/PID/gid_map of box.pid
