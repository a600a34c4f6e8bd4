"""Listening sockets in a container's network namespace, from /proc, and their processes.

Sources: proc_pid_net(5) "tcp", Documentation/networking/proc_net_tcp.rst.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

_LISTEN, _UNCONNECTED = "0A", "07"
_NAME_SERVER = "127.0.0.11"  # minidock's DNS server, on user-defined networks


class Listener(NamedTuple):
    """A listening TCP socket or a bound UDP socket. address: as bound, such as "0.0.0.0".

    process: "httpd, pid 7", with its pid on the host; "" if unknown.
    """

    address: str
    port: int
    process: str

    @property
    def pid(self) -> int:
        """The process, 0 if unknown."""
        return int(self.process.rpartition(" ")[2] or 0)

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.address).is_loopback

    @property
    def is_any(self) -> bool:
        return ip_address(self.address).is_unspecified

    def accepts(self, address: str) -> bool:
        """Whether packets to this IPv4 address of the container reach the socket.

        "::" receives IPv4 too, except with IPV6_V6ONLY, which /proc does not show.
        """
        return self.is_any or self.address in (address, f"::ffff:{address}")

    @property
    def place(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self[0]}:{self.port}"


def listeners(pid: int, protocol: str = "tcp") -> list[Listener]:
    """List the listening sockets of a process's network namespace, without minidock's own."""
    wanted_state = _LISTEN if protocol == "tcp" else _UNCONNECTED
    owners = _owners(pid)
    found = [
        Listener(address, port, owners.get(inode, ""))
        for address, port, state, inode in _sockets(pid, protocol)
        if state == wanted_state and address != _NAME_SERVER
    ]
    return sorted(set(found), key=lambda each: (each.port, each.address))


def connection_owner(local: tuple[str, int], remote: tuple[str, int]) -> int:
    """The process on this host that owns a connection or its listening socket; 0 if unknown.

    local, remote: addresses and ports from that process's side.
    """
    wanted = {f"socket:[{inode}]" for inode in _accepted(local, remote)}
    for pid in _pids():
        if wanted.intersection(_open_files(pid)):
            return pid
    return 0


def name_server_ports(pid: int) -> dict[int, str]:
    """The UDP ports of minidock's DNS server in a network namespace: port -> socket inode."""
    found = _sockets(pid, "udp")
    return {port: inode for address, port, _, inode in found if address == _NAME_SERVER}


def has_socket(pid: int, inode: str) -> bool:
    """Whether a process has this socket open."""
    return f"socket:[{inode}]" in _open_files(pid)


def name_of(pid: int) -> str:
    """A process's name, "" if it has exited."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except OSError:
        return ""


def _accepted(local: tuple[str, int], remote: tuple[str, int]) -> Iterator[str]:
    own = os.getpid()
    peers = {}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{own}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            peers[_address(fields[1]), _address(fields[2])] = fields[9], fields[3]
    for (here, there), (inode, _) in peers.items():
        if here == local and there == remote:
            yield inode
    for (here, _), (inode, state) in peers.items():  # not accepted yet: it belongs to the listener
        if state == _LISTEN and here[1] == local[1]:
            yield inode


def _sockets(pid: int, protocol: str) -> Iterator[tuple[str, int, str, str]]:
    for name in (protocol, f"{protocol}6"):
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue  # no IPv6 here, or the process has exited
        for line in lines:
            fields = line.split()
            yield *_address(fields[1]), fields[3], fields[9]


def _address(text: str) -> tuple[str, int]:
    """ "0100007F:1F90" as ("127.0.0.1", 8080): 32-bit words in host byte order."""
    address, _, port = text.partition(":")
    data = bytes.fromhex(address)
    words = [data[n : n + 4][::-1] for n in range(0, len(data), 4)]
    found = ip_address(b"".join(words))
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found), int(port, 16)


def _owners(pid: int) -> dict[str, str]:
    """Socket inode -> process, for all processes in that network namespace."""
    network = _network(pid)
    found: dict[str, str] = {}
    for each in _pids():
        if _network(each) == network:
            for target in _open_files(each):
                if target.startswith("socket:["):
                    found.setdefault(target[8:-1], f"{name_of(each)}, pid {each}")
    return found


def _pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def _network(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _open_files(pid: int) -> list[str]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []  # it has exited
    found = []
    for name in names:
        with suppress(OSError):  # closed meanwhile: a proxy does so all the time
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found
