"""Real connections, for exams about networks: from the place, from a box, from the LAN.

    the neighbour 10.77.0.2 ──lan0── lan0 10.77.0.1 the place ──the student's bridge── boxes

A socket stays in the network namespace in which it was made. So the grader needs no program in a
box to call or to answer there: it goes into the namespace for as long as it takes to make a socket,
and then one thread of one process is both ends of a conversation, and neither can be played.

The neighbour has no process and no name: a descriptor keeps its namespace, and the cable goes with
the place. It routes all through the place, as a machine does that means to reach what is behind it.

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
# Not multiplied on a slow machine: until a connection stands, no process has to run, and what fails
# fails by the clock (ARP believes what it has heard for 15 seconds, and would ask again by then).
# TCP sends a lost SYN again after one second, and after three. On a busy machine the first one may
# be lost where nothing is wrong: a cable lets frames through a moment after both its ends are up.
ANSWER_SECONDS = 3.5
SILENCE_SECONDS = 0.2  # after which nobody answers who was within reach
_BRIDGED_FRAMES = "net/bridge/bridge-nf-call-iptables"
_RESET_ON_CLOSE = struct.pack("=ii", 1, 0)  # struct linger: no TIME_WAIT that holds an address


class Network:
    """One network namespace, seen from outside: where sockets can be made, and `ip` be asked.

    name: how it is called where something is lost, such as "the host". fd: of /proc/PID/ns/net.
    """

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self._fd = fd

    def __del__(self) -> None:
        """Let go of the namespace: while anybody holds it, its cables stay."""
        os.close(self._fd)

    @classmethod
    def of_process(cls, pid: int, name: str) -> Network:
        """The network of a process. Raises Failure where it has ended."""
        try:
            return cls(name, os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            raise Failure(f"{name} has ended") from None

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread in that network namespace, for making sockets."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            namespace.setns(self._fd, ["network"], place=self.name)
            try:
                yield
            finally:
                namespace.setns(home, ["network"], place="")
        finally:
            os.close(home)

    def nsenter(self, *argv: str) -> str:
        """What a program of this machine says in there, such as `ip -j route`.

        Raises CalledProcessError where it fails.
        """
        with self.inside():
            done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    def write_sysctl(self, setting: str, value: str) -> None:
        """Change a setting of this network, such as "net/ipv4/ip_forward"."""
        with self.inside():
            sysctl.write(setting, value)

    @contextmanager
    def listen(self, port: int, address: str = "0.0.0.0") -> Iterator[Listener]:
        """Somebody who answers in there. Raises Failure where the address or port cannot be had."""
        with self.inside():
            made = socket.socket()
        with made:
            try:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((address, port))
                made.listen(16)
            except OSError as error:
                where = f"{address}:{port} of {self.name}"
                raise Failure(f"nobody can listen on {where}: {error.strerror}") from None
            yield Listener(self.name, made)

    def connect(self, address: str, port: int, listener: Listener) -> str:
        """Connect to address:port, and have the listener answer.

        Returns the caller's address as the listener sees it. Raises Failure where the connection
        fails, or another socket answers.
        """
        said = f"{self.name} called {address}:{port}"
        with self._socket() as caller:
            outcome = _connect(caller, address, port, ANSWER_SECONDS)
            if outcome:
                raise Failure(f"{said}: {outcome}")
            seen = listener.serve(caller, ANSWER_SECONDS)
            if seen is None:
                raise Failure(f"{said}: it was not {listener.name} who answered")
            return seen

    def reaches(self, address: str, port: int, listener: Listener, *, device: str = "") -> bool:
        """Whether a call of address:port arrives at this listener; silence is waited for, shortly.

        device: by which the call leaves, whatever the routes say (SO_BINDTODEVICE).
        """
        with self._socket() as caller:
            if device:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            outcome = _connect(caller, address, port, SILENCE_SECONDS)
            return not outcome and listener.serve(caller, SILENCE_SECONDS) is not None

    def _socket(self) -> socket.socket:
        with self.inside():
            made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        return made


class Listener:
    """A listening socket in some network namespace, and the one who answers there."""

    def __init__(self, name: str, listening: socket.socket) -> None:
        self.name = name
        self._socket = listening
        self._socket.setblocking(False)

    def serve(self, caller: socket.socket, seconds: float) -> str | None:
        """Take one connection, and pass a word both ways: None if it was not the caller's.

        seconds: within which the connection must be here.
        Returns the caller's address as it looks from here.
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
    """Another machine on the place's LAN: 10.77.0.2, whose way to everything is the place."""

    address = NEIGHBOUR

    @classmethod
    def of_sandbox(cls, sandbox: Network) -> Neighbour:
        """Lay a cable out of the place, to a machine that is made for it."""
        with sandbox.inside():
            here = Netlink()
            # Where a dockerd has loaded br_netfilter, frames between two ports of a bridge pass the
            # firewall too, and a box's direct answer to its neighbour is turned back by accident.
            if sysctl.read(_BRIDGED_FRAMES) is not None:
                sysctl.write(_BRIDGED_FRAMES, "0")
            namespace.unshare(["network"])
            there = Netlink()
            away = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        made = cls("the LAN's neighbour", away)
        with here, there:
            link.add_cable(here, DEVICE, peer=DEVICE, network=away)
            for end in (sandbox, made):  # what a student's program says there is no advice
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
        return made


def _connect(caller: socket.socket, address: str, port: int, seconds: float) -> str:
    """Connect; returns "" or why not, in words."""
    caller.setblocking(False)
    number = caller.connect_ex((address, port))
    if number == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(caller, select.POLLOUT)
        if not poll.poll(seconds * 1000):
            return "no answer"
        number = caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number == errno.ECONNREFUSED:
        return "refused: nobody listens there"
    return os.strerror(number) if number else ""
