"""The sockets of a container's name server: where its questions arrive.

A resolver asks 127.0.0.11 at port 53, as in Docker. The sockets are in the container's own network,
but at ports of the kernel's choice, for port 53 is the container's: it may be a name server itself.
Two rules in its own firewall lead the questions there:

    nat OUTPUT, to 127.0.0.11 port 53: DNAT to 127.0.0.11 at our port (udp, tcp)

The monitor holds the sockets and answers from outside (server.py): no process of ours is in
the container.

Sources: resolv.conf(5), iptables-extensions(8) DNAT, network_namespaces(7).
"""

from __future__ import annotations

from minidock.engine.network.endpoint import Visit
from minidock.engine.network.hosts_file import NAME_SERVER
from minidock.kernel import iptables
from minidock.kernel.port import listen_for_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

_CHAIN = "MINIDOCK-NAMES"


class NameSockets:
    """The two sockets of a container's name server, and the process whose network they are in.

    rules: those that lead port 53 to them, as iptables-restore takes them.
    """

    def __init__(self, netns_pid: int, udp: socket, tcp: socket, rules: str) -> None:
        self.netns_pid = netns_pid
        self.rules = rules
        self.udp = udp
        self.tcp = tcp

    def close(self) -> None:
        """Answer no more; closing twice does nothing."""
        self.udp.close()
        self.tcp.close()


def open_in(netns_pid: int, *, lead: bool = True) -> NameSockets:
    """Open the sockets in a container's network, whose loopback is up, and lead port 53 to them.

    lead: otherwise `lead_to` is to do so.
    Raises KernelError, and MinidockError where iptables does.
    """
    udp = tcp = None
    with Visit(netns_pid) as place:
        try:
            udp = listen_for_names(NAME_SERVER, "udp")
            tcp = listen_for_names(NAME_SERVER, "tcp")
            rules = redirect_rules(udp.host_port, tcp.host_port)
            if lead:
                iptables.restore(rules, place)
        except BaseException:
            for opened in (udp, tcp):
                if opened is not None:
                    opened.close()
            raise
    return NameSockets(netns_pid, udp.socket, tcp.socket, rules)


def lead_to(sockets: NameSockets) -> None:
    """Lead port 53 to sockets that are open in a container's network.

    Raises MinidockError where iptables does.
    """
    with Visit(sockets.netns_pid) as place:
        iptables.restore(sockets.rules, place)


def redirect_rules(udp_port: int, tcp_port: int) -> str:
    """What leads port 53 of the name server to the ports that it really has."""
    lines = ["*nat", f":{_CHAIN} - [0:0]", f"-A OUTPUT -d {NAME_SERVER}/32 -j {_CHAIN}"]
    for protocol, port in (("udp", udp_port), ("tcp", tcp_port)):
        match = f"-p {protocol} -m {protocol} --dport 53"
        lines.append(f"-A {_CHAIN} {match} -j DNAT --to-destination {NAME_SERVER}:{port}")
    return "\n".join([*lines, "COMMIT", ""])
