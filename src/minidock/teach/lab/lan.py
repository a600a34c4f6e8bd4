"""Real connections, for exams about networks: from the sandbox, from a box, from the LAN.

    the neighbour 10.77.0.2 ──lan0── lan0 10.77.0.1 the sandbox ──the student's bridge── boxes

A socket stays in the network namespace in which it was created. So the grader needs no program in a
box to connect or to answer: it enters the namespace only to create a socket. One thread of one
process is then both ends of the connection, and the student's program can fake neither.

The neighbour has no process: a descriptor keeps its network namespace alive. Its veth pair
disappears with the sandbox. It routes everything through the sandbox, to reach what is behind it.

Sources: network_namespaces(7), veth(4), setns(2).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from minidock.engine.network.device_settings import harden
from minidock.kernel import link, namespace, sysctl
from minidock.kernel.netlink import Netlink
from minidock.teach.lab.failure import Failure, scale_timeout

SANDBOX, NEIGHBOUR, DEVICE = "10.77.0.1", "10.77.0.2", "lan0"
# Not scaled on a slow machine: the kernel alone sets up a connection, and a fault may heal with
# time (ARP asks again when an entry is 15 seconds old). TCP sends a lost SYN again after one second
# and after three. On a busy machine the first SYN may be lost without a fault: a veth pair passes
# frames only a moment after both ends are up.
ANSWER_SECONDS = 3.5
SILENCE_SECONDS = 0.2  # a reachable listener answers within this time
_BRIDGED_FRAMES = "net/bridge/bridge-nf-call-iptables"
_RESET_ON_CLOSE = struct.pack("=ii", 1, 0)  # struct linger: no TIME_WAIT that holds an address


class Network:
    """One network namespace: create sockets in it, run `ip` in it.

    name: for messages, such as "the host". fd: of /proc/PID/ns/net.
    """

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self._fd = fd

    def __del__(self) -> None:
        """Release the namespace: an open descriptor keeps it and its veth devices alive."""
        os.close(self._fd)

    @classmethod
    def of_process(cls, pid: int, name: str) -> Network:
        """The network namespace of a process. Raises Failure if it has ended."""
        try:
            return cls(name, os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            raise Failure(f"{name} has ended") from None

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Move this thread into the network namespace, to create sockets."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            namespace.setns(self._fd, ["network"], place=self.name)
            try:
                yield
            finally:
                namespace.setns(own, ["network"], place="")
        finally:
            os.close(own)

    def nsenter(self, *argv: str) -> str:
        """Run a program of this machine in it, such as `ip -j route`; returns its output.

        Raises CalledProcessError if it fails.
        """
        with self.inside():
            done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    def write_sysctl(self, setting: str, value: str) -> None:
        """Write a sysctl of this network namespace, such as "net/ipv4/ip_forward"."""
        with self.inside():
            sysctl.write(setting, value)

    @contextmanager
    def listen(self, port: int, address: str = "0.0.0.0") -> Iterator[Listener]:
        """Listen in it. Raises Failure if the address or port cannot be bound."""
        with self.inside():
            listening = socket.socket()
        with listening:
            try:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.bind((address, port))
                listening.listen(16)
            except OSError as error:
                where = f"{address}:{port} of {self.name}"
                raise Failure(f"cannot listen on {where}: {error.strerror}") from None
            yield Listener(self.name, listening)

    def connect(self, address: str, port: int, listener: Listener) -> str:
        """Connect to address:port, and have the listener answer.

        Returns the caller's address as the listener sees it. Raises Failure where the connection
        fails, or another socket answers.
        """
        subject = f"{self.name} connected to {address}:{port}"
        with self._socket() as caller:
            outcome = _connect(caller, address, port, ANSWER_SECONDS)
            if outcome:
                raise Failure(f"{subject}: {outcome}")
            seen = listener.serve(caller, ANSWER_SECONDS)
            if seen is None:
                raise Failure(f"{subject}: the answer did not come from {listener.name}")
            return seen

    def reaches(self, address: str, port: int, listener: Listener, *, device: str = "") -> bool:
        """Whether a connection to address:port reaches this listener within a short time.

        device: send by this device, whatever the routes say (SO_BINDTODEVICE).
        """
        with self._socket() as caller:
            if device:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            outcome = _connect(caller, address, port, SILENCE_SECONDS)
            return not outcome and listener.serve(caller, SILENCE_SECONDS) is not None

    def _socket(self) -> socket.socket:
        with self.inside():
            created = socket.socket()
        created.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        return created


class Listener:
    """A listening socket in a network namespace."""

    def __init__(self, name: str, listening: socket.socket) -> None:
        self.name = name
        self._socket = listening
        self._socket.setblocking(False)

    def serve(self, caller: socket.socket, seconds: float) -> str | None:
        """Accept one connection, and pass data both ways.

        seconds: to wait for the connection. Returns the peer's address, or None if the connection
        is not the caller's.
        """
        word = os.urandom(8)
        if not select.select([self._socket], [], [], seconds)[0]:
            return None
        served, (peer, _) = self._socket.accept()
        with served:
            for one, other in ((caller, served), (served, caller)):
                one.settimeout(scale_timeout(ANSWER_SECONDS))
                other.settimeout(scale_timeout(ANSWER_SECONDS))
                try:
                    one.sendall(word)
                    if other.recv(64) != word:
                        return None
                except OSError:
                    return None
        return str(peer)


class Neighbour(Network):
    """Another machine on the sandbox's LAN: 10.77.0.2; its default gateway is the sandbox."""

    address = NEIGHBOUR

    @classmethod
    def of_sandbox(cls, sandbox: Network) -> Neighbour:
        """Create a network namespace, and connect it to the sandbox by a veth pair."""
        with sandbox.inside():
            here = Netlink()
            # If dockerd has loaded br_netfilter, frames between two ports of a bridge pass iptables
            # too, and NAT rewrites the direct answer of a box to another box.
            if sysctl.read(_BRIDGED_FRAMES) is not None:
                sysctl.write(_BRIDGED_FRAMES, "0")
            namespace.unshare(["network"])
            there = Netlink()
            away = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        neighbour = cls("the LAN's neighbour", away)
        with here, there:
            link.add_veth_pair(here, DEVICE, peer=DEVICE, network=away)
            for end in (sandbox, neighbour):  # a student's program must not configure them by RA
                with end.inside():
                    harden(DEVICE)
            link.set_up(here, DEVICE)
            link.add_address(here, DEVICE, SANDBOX, prefix=24)
            link.set_up(there, "lo")
            link.add_address(there, DEVICE, NEIGHBOUR, prefix=24)
            link.set_up(there, DEVICE)
            link.add_default_route(there, DEVICE, SANDBOX)
            link.set_up(here, "lo")
            link.add_default_route(here, DEVICE, NEIGHBOUR)
        return neighbour


def _connect(caller: socket.socket, address: str, port: int, seconds: float) -> str:
    """Connect; returns "" or an error message."""
    caller.setblocking(False)
    number = caller.connect_ex((address, port))
    if number == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(caller, select.POLLOUT)
        if not poll.poll(seconds * 1000):
            return "no answer"
        number = caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number == errno.ECONNREFUSED:
        return "connection refused"
    return os.strerror(number) if number else ""
