"""Reserving a port of the host while a container publishes it.

A DNAT rule reserves nothing: a second server could bind the same port and would never receive a
packet. So each published port is also a real socket, as in Docker's userland proxy. Sources:
socket(7) SO_REUSEADDR, ip(7), ipv6(7) IPV6_V6ONLY, listen(2).
"""

from __future__ import annotations

from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_RECVPKTINFO,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

from minidock.errors import KernelError
from minidock.kernel.op import op

IP_PKTINFO = 8
_BACKLOG = 128
_QUESTIONS = 16  # the DNS server's backlog


class HeldPort:
    """A port of the host that is bound by a socket.

    host_ip, host_port, protocol ("tcp", "udp"): of the port. socket: non-blocking; a TCP socket
    listens.
    """

    def __init__(self, host_ip: str, host_port: int, protocol: str, held: socket) -> None:
        self.host_ip = host_ip
        self.host_port = host_port
        self.protocol = protocol
        self.socket = held

    def journal_text(self) -> str:
        """How the journal names it."""
        host = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip
        return f"{host}:{self.host_port}/{self.protocol}"

    def close(self) -> None:
        """Release the port. Idempotent."""
        self.socket.close()


def _hold_sh(host_ip: str, host_port: int, protocol: str) -> str:
    datagrams = "-u " if protocol == "udp" else ""
    return f"nc {datagrams}-lk -s {host_ip} -p {host_port} &"


def _listen_for_names_sh(address: str, protocol: str) -> str:
    datagrams = "-u " if protocol == "udp" else ""
    return f"nc {datagrams}-lk -s {address} -p 0 &"


@op("bind(2)", twin=_listen_for_names_sh)
def listen_for_names(address: str, protocol: str) -> HeldPort:
    """Bind the DNS server's socket in the container's network, for names of other containers.

    Without it: `ping db` fails with "bad address": no DNS server of the host knows names of
    containers, and none listens at the address in resolv.conf.

    address: in 127.0.0.0/8, in the network namespace that the caller has joined. protocol: "udp" or
    "tcp". The kernel chooses the port.
    Raises KernelError: EADDRNOTAVAIL if the loopback device is down.
    """
    kind = SOCK_STREAM if protocol == "tcp" else SOCK_DGRAM
    made = socket(AF_INET, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    try:
        made.bind((address, 0))
        if protocol == "tcp":
            made.listen(_QUESTIONS)
    except OSError as error:
        made.close()
        raise KernelError("bind(2)", f"{address} {protocol}", error.errno or 0) from None
    return HeldPort(address, made.getsockname()[1], protocol, made)


@op("bind(2)", twin=_hold_sh)
def hold(host_ip: str, host_port: int, protocol: str) -> HeldPort:
    """Bind a port of the host, so that a second server gets "Address already in use".

    Without it: two containers can publish one port, since firewall rules reserve nothing; and a
    server of the host that listens there silently becomes unreachable.

    host_ip: IPv4 or IPv6 address of this host, or the wildcard of either. host_port: 0 lets the
    kernel choose. protocol: "tcp" or "udp".
    Raises KernelError: EADDRINUSE, EADDRNOTAVAIL (not an address of this host), EAFNOSUPPORT.
    """
    family = AF_INET6 if ":" in host_ip else AF_INET
    kind = SOCK_STREAM if protocol == "tcp" else SOCK_DGRAM
    subject = f"{host_ip} port {host_port} {protocol}"
    try:
        held = socket(family, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
        try:
            if family == AF_INET6:
                held.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            if protocol == "tcp":
                # Connections closed within the last minute do not block the port; a listener does.
                held.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            elif family == AF_INET6:
                held.setsockopt(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
            else:
                held.setsockopt(IPPROTO_IP, IP_PKTINFO, 1)
            held.bind((host_ip, host_port))
            if protocol == "tcp":
                held.listen(_BACKLOG)
        except BaseException:
            held.close()
            raise
    except OSError as error:
        raise KernelError("bind(2)", subject, error.errno or 0) from None
    return HeldPort(host_ip, held.getsockname()[1], protocol, held)
