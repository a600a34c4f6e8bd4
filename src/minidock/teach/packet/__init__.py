"""packet: where one real packet goes, from a host's socket to a container's and back.

    target.py      which container publishes the port, on which network
    origin.py      from where the probe starts: this host, a container, or a machine next door
    probe.py       send it, and gather what was seen                          -> Seen
    watch.py       those who look: the firewall's trace, packet sockets
    firewall_trace.py        the firewall's own account of a packet, rule by rule
    (kernel/nftrace.py)
    counters.py    the same from the counters of iptables-legacy, which has no such account
    taps.py        what passed a bridge, a cable, a container's eth0
    listeners.py   who listens in the container, and on which addresses
    steps.py       which step of which journal made a rule or a device
    walk.py        Seen -> hops and a verdict: a pure function
    dns.py         ask a name as a container's resolver would, followed likewise -> Asked
    dns_walk.py    its hops and a verdict: who answered, or where and why it ended (dns_causes.py)
    output.py        hops for people, or as JSON

Nothing that it makes outlives it: the table that follows the packet belongs to a socket, and the
machine next door is a namespace without a name.
"""
