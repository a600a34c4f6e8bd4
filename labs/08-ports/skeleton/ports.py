"""The box and the world: out under the host's address, in by published ports. Yours to write.

the LAN ── the host's address ── BRIDGE ── box        what comes from the box:  MASQUERADE
                   ▲    ▲                             what comes for HOSTPORT:  DNAT
        PREROUTING ┘    └ OUTPUT: the host's own
"""


def options(parser):
    # TODO: "HOSTPORT:PORT" is a text; what if it is not two numbers? (type= is a function)
    parser.add_argument("--publish", action="append", metavar="HOSTPORT:PORT", default=[])


def before(box):
    """Hold each port of the host: a rule reserves nothing, so two boxes would get the same one."""
    # TODO: what is it that has "address already in use" said to the second one?
    # TODO: who is ended by SIGTERM tidies up nothing. See to it that after() is reached.


def beside(box):
    """Let the host forward packets, and write the rules of this box into its firewall."""
    # TODO: only with --network: masquerading, and one DNAT for each --publish.
    #       box.ip.ip is the address of the box, box.ip.network the subnet of its bridge.
    #       Call network.run("iptables", ...); or, all at once, ("iptables-restore", ..., text=...).
    # TODO: every rule that you make, after() has to take away again. Keep a list.
    raise NotImplementedError("ports.beside is not written yet")


def after(box):
    """Take the same rules away again, and none of other boxes'."""
    # TODO
