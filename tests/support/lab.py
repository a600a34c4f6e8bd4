"""A machine for network tests: a network namespace that plays the host, others around it.

The test's process moves into a fresh network namespace, which has its own links, firewall, settings
and connection tracking, just as a machine has. Sockets stay in the namespace in which they were
made, so one process can be server in a container, and client on the host or next door.

    neighbour (10.77.0.2) ──veth── "host" (10.77.0.1, 127.0.0.1) ──minidock's bridge── containers
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minidock.engine.network import networks, published_ports
from minidock.engine.network.proxy_tcp import UserlandProxy
from minidock.kernel import namespace
from minidock.paths import Store
from support.patience import patience

HOST, NEIGHBOUR = "10.77.0.1", "10.77.0.2"
PATIENCE_SECONDS = 0.4  # after which an unanswered packet counts as dropped
# The legacy iptables has one lock for the whole machine, and gives up at once where it is taken.
WAITING = 'iptables() { command iptables --wait "$@"; }'


class Place:
    """A network namespace, kept by a sleeping process."""

    def __init__(self) -> None:
        self.id = os.urandom(32).hex()
        self._process = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        self.pid = self._process.pid
        here = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.pid}/ns/net") == here:
            assert self._process.poll() is None

    def die(self) -> None:
        """End the process, as a container ends; its namespace goes after it."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This process in that namespace, for making sockets."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        away = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        namespace.setns(away, ["network"], place=f"/proc/{self.pid}/ns/net")
        try:
            yield
        finally:
            namespace.setns(home, ["network"], place="")
            os.close(home)
            os.close(away)

    def sh(self, command: str) -> str:
        """What a shell command prints in there."""
        with self.inside():
            return sh(command)


class Here(Place):
    """The host itself."""

    def __init__(self) -> None:
        self.id, self.pid = "", os.getpid()

    def die(self) -> None:
        raise AssertionError("the host stays")


class Container(Place):
    """A container without a file system: an address on the bridge, and ports published."""

    def __init__(self, store: Store, *publish: str) -> None:
        super().__init__()
        self.store = store
        self.published = published_ports.bind(requested(*publish), store=store)
        forwarded = published_ports.firewall_bindings(self.published)
        self.endpoint = networks.connect(store, self.id, netns_pid=self.pid, publish=forwarded)
        self.address: str = self.endpoint["IPAddress"]
        self.relay = Relaying(UserlandProxy(self.published, self.address))

    def stop(self) -> None:
        """All that a stop does to the network."""
        self.die()
        self.relay.stop()
        for port in self.published:
            port.close()
        networks.disconnect(self.store, self.id)


class Relaying:
    """A relay driven by a thread, as the monitor's poll loop drives it."""

    def __init__(self, relay: UserlandProxy) -> None:
        self._relay = relay
        self._wake, self._told = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        import select

        poll = select.poll()
        poll.register(self._relay.fd, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not any(descriptor == self._wake for descriptor, _ in poll.poll()):
            self._relay.on_ready()
        self._relay.close()

    def stop(self) -> None:
        """Close the relay from its own thread."""
        if self._thread.is_alive():
            os.write(self._told, b"x")
            self._thread.join()
            os.close(self._wake)
            os.close(self._told)


class Lab:
    """The machine: its containers, and which of them reach each other."""

    def __init__(self) -> None:
        self.host = Here()
        self.neighbour = Place()
        sh("ip link set lo up")
        sh(f"ip link add lan0 type veth peer name lan0 netns {self.neighbour.pid}")
        sh(f"ip address add {HOST}/24 dev lan0 && ip link set lan0 up")
        self.neighbour.sh(f"ip address add {NEIGHBOUR}/24 dev lan0 && ip link set lan0 up")
        self.neighbour.sh(f"ip link set lo up && ip route add default via {HOST}")
        sh(f"ip route add default via {NEIGHBOUR}")
        sh("sysctl -qw net.ipv4.ip_forward=0")
        self._containers: list[Container] = []

    def container(self, store: Store, *publish: str) -> Container:
        """A container, ports published as "8090:80", "127.0.0.1:8090:80" or "53:53/udp"."""
        made = Container(store, *publish)
        self._containers.append(made)
        return made

    def close(self) -> None:
        """End all processes; the namespaces go with them."""
        for container in self._containers:
            container.die()
            container.relay.stop()
        self.neighbour.die()


def requested(*publish: str) -> list[dict[str, object]]:
    """-p arguments as the engine gets them."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for text in publish:
        found = re.fullmatch(r"(?:(\[.*\]|[^:]*):)?([^:]*):(\d+)(/udp)?", text)
        assert found, text
        host, host_port, port, udp = found.groups()
        key = f"{port}/{'udp' if udp else 'tcp'}"
        host_ip = (host or "").strip("[]")
        bindings.setdefault(key, []).append({"HostIp": host_ip, "HostPort": host_port})
    return published_ports.parse_bindings(bindings)


@contextmanager
def serving(place: Place, port: int, address: str = "0.0.0.0") -> Iterator[socket.socket]:
    """A TCP server in a place."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with place.inside():
        server = socket.create_server((address, port), family=family)
    server.settimeout(patience(5))
    with server:
        yield server


def seen_from(client: Place, address: str, port: int, server: socket.socket) -> str:
    """Connect, send a word there and back; returns the client's address as the server sees it.

    Raises OSError (refused, or no answer) where there is no connection.
    """
    with client.inside():
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    with connection:
        connection.settimeout(patience(5))
        connection.connect((address, port))
        served, (peer, *_) = server.accept()
        with served:
            served.settimeout(patience(5))
            connection.sendall(b"there")
            assert served.recv(16) == b"there"
            served.sendall(b"back")
            assert connection.recv(16) == b"back"
    return str(peer)


def is_refused(client: Place, address: str, port: int) -> bool:
    """Whether nobody answers: refused, or silence."""
    with client.inside():
        connection = socket.socket()
    with connection:
        connection.settimeout(PATIENCE_SECONDS)
        try:
            connection.connect((address, port))
        except OSError:
            return True
    return False


def sh(command: str) -> str:
    """What a shell command prints; it must succeed."""
    script = f"{WAITING}\n{command}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@contextmanager
def machine_of_its_own() -> Iterator[Lab]:
    """A lab; the process is back in its own network afterwards."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    namespace.unshare(["network"])
    try:
        lab = Lab()
        try:
            yield lab
        finally:
            lab.close()
            _forget_machine()
    finally:
        namespace.setns(home, ["network"], place="")
        os.close(home)


def _forget_machine() -> None:
    """Strike this machine from the notes in /run that outlive it."""
    with open("/run/minidock.lock", "a+") as notes:
        fcntl.flock(notes, fcntl.LOCK_EX)
        notes.seek(0)
        known = json.loads(notes.read() or "{}")
        known.pop(os.readlink("/proc/self/ns/net"), None)
        notes.truncate(0)
        notes.write(json.dumps(known))


def firewall_kinds() -> list[str]:
    """Which kinds of iptables this machine has."""
    kinds = ("nft", "legacy")
    return [kind for kind in kinds if Path(f"/usr/sbin/iptables-{kind}-save").exists()]
