"""--user-namespace: root in the box, an ordinary user outside."""

import os

import linux


def options(parser):
    parser.add_argument("--user-namespace", action="store_true", help="root inside, you outside")


def flags(box):
    """Flags for unshare: the frame adds them to the FLAGS of the other parts, in one call.

    In one call the kernel creates the user namespace first, so the other namespaces belong to it.
    Created before it, they would need root of the host.
    """
    return linux.CLONE_NEWUSER if box.user_namespace else 0


def beside(box):
    """On the host, while the child waits: map root of the box to a user of the host.

    Each line is "first ID inside, first ID outside, length". An unprivileged user may map only the
    own ID, so root is the only user of this box.
    """
    if not box.user_namespace:
        return
    write(box.pid, "uid_map", f"0 {os.geteuid()} 1")
    # A group may also deny access (mode 0604). So the kernel requires that setgroups(2), by which
    # root of the box could leave such a group, is disabled first.
    write(box.pid, "setgroups", "deny")
    write(box.pid, "gid_map", f"0 {os.getegid()} 1")


def write(pid, file, text):
    """Write a file of /proc/PID. A map must be written as a whole, in one write(2), only once."""
    with open(f"/proc/{pid}/{file}", "w") as opened:
        opened.write(text)
