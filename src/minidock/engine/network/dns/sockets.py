"""The listening sockets of a container's DNS server, in the container's network namespace.

The container's resolver queries 127.0.0.11 port 53, as in Docker. Port 53 itself stays free for
the container, which may run a DNS server of its own; the sockets listen on ephemeral ports, and two
iptables rules in the container's namespace redirect to them:

    nat OUTPUT, to 127.0.0.11 port 53: DNAT to 127.0.0.11 at our port (udp, tcp)

The monitor holds the sockets and answers from outside (server.py): no process of ours is in
the container.

Sources: resolv.conf(5), iptables-extensions(8) DNAT, network_namespaces(7).
"""

from __future__ import annotations

from minidock.engine.network.resolv_conf import NAME_SERVER
from minidock.engine.network.veth_pair import NetworkNamespace
from minidock.kernel import iptables
from minidock.kernel.port import listen_for_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

_CHAIN = "MINIDOCK-NAMES"


class DnsSockets:
    """The two sockets of a container's DNS server.

    netns_pid: a process in their network namespace. rules: the redirection of port 53, as input
    for iptables-restore.
    """

    def __init__(self, netns_pid: int, udp: socket, tcp: socket, rules: str) -> None:
        self.netns_pid = netns_pid
        self.rules = rules
        self.udp = udp
        self.tcp = tcp

    def close(self) -> None:
        """Close both sockets. Idempotent."""
        self.udp.close()
        self.tcp.close()


def open_sockets(netns_pid: int, *, redirect: bool = True) -> DnsSockets:
    """Open the sockets in a container's network namespace and redirect port 53 to them.

    The loopback device must be up. redirect: False leaves that to `redirect_port_53`.
    Raises KernelError; MinidockError if iptables-restore fails.
    """
    udp = tcp = None
    with NetworkNamespace(netns_pid) as netns:
        try:
            udp = listen_for_names(NAME_SERVER, "udp")
            tcp = listen_for_names(NAME_SERVER, "tcp")
            rules = redirect_rules(udp.host_port, tcp.host_port)
            if redirect:
                iptables.restore(rules, netns)
        except BaseException:
            for port in (udp, tcp):
                if port is not None:
                    port.close()
            raise
    return DnsSockets(netns_pid, udp.socket, tcp.socket, rules)


def redirect_port_53(sockets: DnsSockets) -> None:
    """Redirect port 53 to sockets that are open in a container's network namespace.

    Raises MinidockError if iptables-restore fails.
    """
    with NetworkNamespace(sockets.netns_pid) as netns:
        iptables.restore(sockets.rules, netns)


def redirect_rules(udp_port: int, tcp_port: int) -> str:
    """Return input for iptables-restore that redirects port 53 to these ports."""
    lines = ["*nat", f":{_CHAIN} - [0:0]", f"-A OUTPUT -d {NAME_SERVER}/32 -j {_CHAIN}"]
    for protocol, port in (("udp", udp_port), ("tcp", tcp_port)):
        match = f"-p {protocol} -m {protocol} --dport 53"
        lines.append(f"-A {_CHAIN} {match} -j DNAT --to-destination {NAME_SERVER}:{port}")
    return "\n".join([*lines, "COMMIT", ""])
