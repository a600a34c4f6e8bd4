"""Who listens in a container's network, asked of /proc: addresses, and the process behind each.

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
_NAME_SERVER = "127.0.0.11"  # minidock's own, on networks with names


class Listener(NamedTuple):
    """A listening TCP socket, or one of UDP. address: as the program asked for it: "0.0.0.0".

    process: "httpd, pid 7", with the pid as the host counts; "" where it was not found.
    """

    address: str
    port: int
    process: str

    @property
    def pid(self) -> int:
        """The process, 0 where it was not found."""
        return int(self.process.rpartition(" ")[2] or 0)

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.address).is_loopback

    @property
    def is_any(self) -> bool:
        return ip_address(self.address).is_unspecified

    def hears(self, address: str) -> bool:
        """Whether packets to this IPv4 address of the container are for it.

        "::" hears IPv4 too, unless its program has asked for IPv6 only, which /proc does not show.
        """
        return self.is_any or self.address in (address, f"::ffff:{address}")

    @property
    def place(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self[0]}:{self.port}"


def listeners(pid: int, protocol: str = "tcp") -> list[Listener]:
    """All that listen in the network namespace of a process, by port; minidock's own left out."""
    waiting = _LISTEN if protocol == "tcp" else _UNCONNECTED
    owners = _owners(pid)
    found = [
        Listener(address, port, owners.get(inode, ""))
        for address, port, state, inode in _sockets(pid, protocol)
        if state == waiting and address != _NAME_SERVER
    ]
    return sorted(set(found), key=lambda each: (each.port, each.address))


def holder(local: tuple[str, int], remote: tuple[str, int]) -> int:
    """The process on this host that has accepted a connection, or will; 0 where none is found.

    local, remote: addresses and ports as that process sees them.
    """
    wanted = {f"socket:[{inode}]" for inode in _accepted(local, remote)}
    for pid in _pids():
        if wanted.intersection(_open_files(pid)):
            return pid
    return 0


def name_server_ports(pid: int) -> dict[int, str]:
    """Where minidock's name server listens by UDP in a network: its ports, by socket's inode."""
    found = _sockets(pid, "udp")
    return {port: inode for address, port, _, inode in found if address == _NAME_SERVER}


def holds(pid: int, inode: str) -> bool:
    """Whether a process has this socket open."""
    return f"socket:[{inode}]" in _open_files(pid)


def name_of(pid: int) -> str:
    """A process's name, "" where it has ended."""
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
    for (here, _), (inode, state) in peers.items():  # not accepted yet: the listening socket has it
        if state == _LISTEN and here[1] == local[1]:
            yield inode


def _sockets(pid: int, protocol: str) -> Iterator[tuple[str, int, str, str]]:
    for name in (protocol, f"{protocol}6"):
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue  # no IPv6 here, or the process has ended
        for line in lines:
            fields = line.split()
            yield *_address(fields[1]), fields[3], fields[9]


def _address(text: str) -> tuple[str, int]:
    """ "0100007F:1F90" as ("127.0.0.1", 8080): words of 32 bits in this machine's order."""
    address, _, port = text.partition(":")
    data = bytes.fromhex(address)
    words = [data[n : n + 4][::-1] for n in range(0, len(data), 4)]
    found = ip_address(b"".join(words))
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found), int(port, 16)


def _owners(pid: int) -> dict[str, str]:
    """inode of a socket -> its process, of all processes in that network namespace."""
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
        return []  # it has ended
    found = []
    for name in names:
        with suppress(OSError):  # it has closed this one meanwhile: a relay does so all the time
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found
