"""--user-namespace: root in the box, an ordinary user outside."""

import os

import linux


def options(parser):
    parser.add_argument("--user-namespace", action="store_true", help="root inside, you outside")


def flags(box):
    """What to unshare: the frame adds it to the FLAGS of the other parts, all in one call.

    One call, because the kernel makes the user namespace first: the other namespaces are made by
    its root already, and belong to it. Asked for before it, they would need a real root.
    """
    return linux.CLONE_NEWUSER if box.user_namespace else 0


def beside(box):
    """On the host, while the child waits: say who the box's root is out here.

    Each line reads "first ID inside, first ID outside, how many". Without privilege one may name
    oneself and nobody else, so root is the only user that this box has.
    """
    if not box.user_namespace:
        return
    write(box.pid, "uid_map", f"0 {os.geteuid()} 1")
    # A group can also be what keeps somebody out (mode 0604): so the kernel first wants root of the
    # box to give up setgroups(2), by which it could leave a group that it was put into.
    write(box.pid, "setgroups", "deny")
    write(box.pid, "gid_map", f"0 {os.getegid()} 1")


def write(pid, file, text):
    """Write a file of /proc/PID. A map is taken whole, in one write(2), and once in its life."""
    with open(f"/proc/{pid}/{file}", "w") as opened:
        opened.write(text)
