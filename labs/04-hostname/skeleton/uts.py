"""A name for the box: UTS and IPC namespaces, /etc/hostname, /etc/hosts. Yours to write."""

import linux

FLAGS = 0  # TODO: which two?


def options(parser):
    # TODO: What is no name? It will stand in /etc/hosts: think of a name with a line's end in it.
    # TODO: Who gives no --hostname gets a name that no other box has.
    parser.add_argument("--hostname", help="its name")


def inside(box):
    """Name this UTS namespace, and tell so to those who look into /etc."""
    # TODO: linux.sethostname
    # TODO: /etc/hostname and /etc/hosts. This runs after root.inside: / is the box's root file system
    #       already. But other boxes may use it at this moment, so you cannot write into it.
    raise NotImplementedError("uts.inside is not written yet")
