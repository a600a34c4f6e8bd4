"""A name for the box: UTS and IPC namespaces, /etc/hostname, /etc/hosts. Yours to write."""

FLAGS = 0  # TODO: which two? linux.py has them


def options(parser):
    # TODO: Which names are invalid? They are written to /etc/hosts: think of a newline in one.
    # TODO: Without --hostname, the name is one that no other box has.
    parser.add_argument("--hostname", help="its name")


def inside(box):
    """Set the host name, and write it to the files in /etc."""
    # TODO: linux.sethostname
    # TODO: /etc/hostname and /etc/hosts. root.inside ran before: / is the box's root file system.
    #       But other boxes may use it at the same time: do not write to it.
    raise NotImplementedError("uts.inside is not written yet")
