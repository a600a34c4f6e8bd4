"""A name for the box: UTS and IPC namespaces, /etc/hostname, /etc/hosts. Yours to write."""

FLAGS = 0  # TODO: which two? linux.py has them


def options(parser):
    # TODO: What is no name? It will stand in /etc/hosts: think of a name with a line's end in it.
    # TODO: Who gives no --hostname gets a name that no other box has.
    parser.add_argument("--hostname", help="its name")


def inside(box):
    """Name this UTS namespace, and tell so to those who look into /etc."""
    # TODO: linux.sethostname
    # TODO: /etc/hostname and /etc/hosts. root.inside came before: / is the box's root file system.
    #       But other boxes may be using it at this moment: you cannot just write into it.
    raise NotImplementedError("uts.inside is not written yet")
