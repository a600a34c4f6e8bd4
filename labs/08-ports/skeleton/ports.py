"""The box and other hosts: out by NAT, in by published ports. Yours to write.

the LAN ── the host's address ── BRIDGE ── box        from the box:   MASQUERADE
                   ▲    ▲                             to HOSTPORT:    DNAT
        PREROUTING ┘    └ OUTPUT: the host's own
"""


def options(parser):
    # TODO: "HOSTPORT:PORT" is a text; what if it is not two numbers? (type= is a function)
    parser.add_argument("--publish", action="append", metavar="HOSTPORT:PORT", default=[])


def before(box):
    """Bind each host port: a rule does not reserve it, so two boxes could publish the same one."""
    # TODO: how does the second one get "address already in use"?
    # TODO: SIGTERM would end box without cleanup. Make sure that after() is called.


def beside(box):
    """Enable forwarding on the host, and add the rules of this box to its firewall."""
    # TODO: only with --network: masquerading, and one DNAT for each --publish.
    #       box.ip.ip is the address of the box, box.ip.network the subnet of its bridge.
    #       Call network.run("iptables", ...); or, all at once, ("iptables-restore", ..., text=...).
    # TODO: after() has to delete each rule that you add. Keep a list.
    raise NotImplementedError("ports.beside is not written yet")


def after(box):
    """Delete the same rules, and none of other boxes."""
    # TODO
