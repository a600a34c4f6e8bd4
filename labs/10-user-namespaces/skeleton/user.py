"""--user-namespace: root in the box, an ordinary user outside. Yours to write."""


def options(parser):
    parser.add_argument("--user-namespace", action="store_true", help="root inside, you outside")


def flags(box):
    """What to unshare: the frame adds it to the FLAGS of the other parts, all in one call."""
    # TODO: linux.CLONE_NEWUSER (import linux), and only where it was asked for
    if box.user_namespace:
        raise NotImplementedError("user.flags is not written yet")
    return 0


def beside(box):
    """On the host, while the child waits: say who the box's root is out here."""
    # TODO: /proc/PID/uid_map, /proc/PID/setgroups, /proc/PID/gid_map of box.pid
