"""packet: trace one real packet from a socket of the host to a container's socket and back.

    target.py          the container that publishes the port, and its network
    origin.py          where the probe starts: this host, a container, or a simulated machine
    probe.py           sends the probe and collects the observations     -> ProbeResult
    observers.py       the observers: nf_tables traces and packet sockets
    firewall_trace.py  the path of a packet through nf_tables, rule by rule (kernel/nftrace.py)
    counters.py        the same from rule counters, for iptables-legacy, which cannot trace
    taps.py            packet sockets on the bridge, the veth and the container's eth0
    listeners.py       listening sockets in the container, and their processes
    steps.py           the journal step that created a rule or a device
    walk.py            ProbeResult -> hops and a verdict: a pure function
    dns.py             sends a DNS query as a container's resolver does  -> QueryResult
    dns_walk.py        the hops of the query and a verdict (checks: dns_causes.py)
    output.py          prints hops as text or JSON

It leaves nothing behind: the tracing table belongs to a netlink socket, and the simulated machine
is an anonymous network namespace.
"""
