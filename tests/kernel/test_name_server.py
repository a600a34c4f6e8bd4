"""The name server of a container: real questions, asked from the container's own network."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from minidock.engine.network import networks, user_defined
from minidock.engine.network.dns import message as dns
from minidock.engine.network.dns.records import DnsRecords
from minidock.engine.network.dns.server import NameServer
from minidock.engine.network.dns.sockets import open_sockets
from minidock.engine.network.network_json import read
from minidock.engine.network.resolv_conf import NAME_SERVER
from minidock.errors import NotFound
from minidock.paths import Store
from support.lab import NEIGHBOUR, Lab, Place, Relaying, machine_of_its_own, serving
from support.patience import patience

pytestmark = pytest.mark.root

Answer = Callable[[bytes], bytes | None]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with machine_of_its_own() as made:
        yield made


@pytest.fixture(params=[False, True], ids=["outward", "internal"])
def network(request: pytest.FixtureRequest, lab: Lab, store: Store) -> Iterator[str]:
    make_network(store, "net", internal=request.param)
    yield "net"
    networks.teardown(store)


@pytest.fixture
def outward(lab: Lab, store: Store) -> Iterator[str]:
    make_network(store, "net")
    yield "net"
    networks.teardown(store)


def make_network(store: Store, name: str, *, internal: bool = False) -> None:
    user_defined.create(store, name, driver="bridge", internal=internal, attachable=False, asked={},
                labels={}, options={})  # fmt: skip


@contextmanager
def on_network(store: Store, network: str, *names: str) -> Iterator[Place]:
    """A container's network namespace on a network, known by these names."""
    place = Place()
    networks.connect(store, place.id, netns_pid=place.pid, network=network, dns_names=list(names))
    try:
        yield place
    finally:
        place.die()
        networks.disconnect(store, place.id)


@contextmanager
def served(store: Store, place: Place, *upstream: tuple[str, bool]) -> Iterator[None]:
    """The place has a name server, which asks these others."""
    sockets = open_sockets(place.pid)
    server = Relaying(NameServer(sockets, DnsRecords(store, place.id), upstream))  # type: ignore[arg-type]
    try:
        yield
    finally:
        server.stop()
        sockets.close()


def question(name: str, kind: int = dns.A) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack("!HHHHHH", 4711, 0x0100, 1, 0, 0, 0)
    return header + labels + b"\0" + struct.pack("!HH", kind, dns.IN)


def ask(place: Place, name: str, kind: int = dns.A) -> tuple[int, int, bytes]:
    """Ask by UDP: (code, number of answers, the whole)."""
    with place.inside():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.settimeout(patience(8))
        client.connect((NAME_SERVER, 53))
        client.send(question(name, kind))
        return taken_apart(client.recv(65536))


def ask_by_tcp(place: Place, *names: str) -> list[tuple[int, int, bytes]]:
    """Ask by TCP, one after the other over one connection."""
    with place.inside():
        client = socket.socket()
    answers = []
    with client:
        client.settimeout(patience(8))
        client.connect((NAME_SERVER, 53))
        asked = [question(name) for name in names]
        client.sendall(b"".join(struct.pack("!H", len(each)) + each for each in asked))
        with client.makefile("rb") as stream:
            for _ in names:
                answers.append(taken_apart(stream.read(int.from_bytes(stream.read(2), "big"))))
    return answers


def taken_apart(message: bytes) -> tuple[int, int, bytes]:
    assert message[:2] == struct.pack("!H", 4711)
    return message[3] & 0xF, int.from_bytes(message[6:8], "big"), message


@contextmanager
def upstream_at(
    place: Place, address: str, answer: Answer, *, tcp: bool = False
) -> Iterator[list[bytes]]:
    """Another name server; what it was asked."""
    heard: list[bytes] = []
    with place.inside():
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    server.bind((address, 53))
    if tcp:
        server.listen()

    def serve() -> None:
        data, client = server.recvfrom(65536)
        heard.append(data)
        if reply := answer(data):
            server.sendto(reply, client)

    def serve_tcp() -> None:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(patience(8))
            data = connection.recv(65536)[2:]
            heard.append(data)
            reply = answer(data) or b""
            connection.sendall(struct.pack("!H", len(reply)) + reply)

    def run() -> None:
        while told not in select.select([server, told], [], [])[0]:
            serve_tcp() if tcp else serve()

    # Closed only when its thread has ended: who gets the number of a socket that another thread
    # still reads, has his messages taken away by that.
    told, telling = socket.socketpair()
    with server, told, telling:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            telling.send(b"x")
            thread.join()


def with_address(data: bytes) -> bytes:
    return dns.response(dns.Query(data), dns.addresses(["192.0.2.7"]))


def failing(data: bytes) -> bytes:
    return dns.response(dns.Query(data), code=dns.SERVER_FAILURE)


def test_neighbour_is_found_by_each_of_its_names(store: Store, network: str) -> None:
    with (
        on_network(store, network, "me") as me,
        on_network(store, network, "web", "alias") as web,
        served(store, me),
    ):
        address = web.sh("ip -4 -o address show eth0").split()[3].partition("/")[0]
        for name in ("web", "ALIAS", f"web.{network}"):
            code, count, message = ask(me, name)
            assert (code, count) == (dns.NO_ERROR, 1)
            assert message.endswith(socket.inet_aton(address))
        assert ask(me, "web", dns.AAAA)[:2] == (dns.NO_ERROR, 0)
        backwards = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
        assert b"\3web\3net\0" in ask(me, backwards, dns.PTR)[2]
        assert [answer[:2] for answer in ask_by_tcp(me, "web", "alias")] == [(0, 1), (0, 1)]


def test_container_may_serve_names_itself(store: Store, outward: str) -> None:
    with (
        on_network(store, outward, "me") as me,
        served(store, me),
        upstream_at(me, "0.0.0.0", with_address),
        serving(me, 53),
    ):
        assert ask(me, "me")[:2] == (dns.NO_ERROR, 1)


def test_other_names_are_asked_of_other_servers(lab: Lab, store: Store, outward: str) -> None:
    with (
        on_network(store, outward, "me") as me,
        served(store, me, (NEIGHBOUR, False)),
        upstream_at(lab.neighbour, NEIGHBOUR, with_address) as heard,
    ):
        code, count, message = ask(me, "www.example.org")
        assert (code, count) == (dns.NO_ERROR, 1) and message.endswith(bytes([192, 0, 2, 7]))
        assert [dns.Query(data).name for data in heard] == ["www.example.org"]
        ask(me, "me")
        assert len(heard) == 1  # the names of containers stay here


def test_server_of_the_hosts_loopback_is_asked_from_the_host(
    lab: Lab, store: Store, outward: str
) -> None:
    with (
        on_network(store, outward, "me") as me,
        served(store, me, ("127.0.0.53", True)),
        upstream_at(lab.host, "127.0.0.53", with_address),
    ):
        assert ask(me, "www.example.org")[:2] == (dns.NO_ERROR, 1)


def test_next_server_is_asked_after_one_that_is_silent_fails_or_forges(
    lab: Lab, store: Store, outward: str
) -> None:
    def forged(data: bytes) -> bytes:
        number = int.from_bytes(data[:2], "big") ^ 1
        return dns.with_id(with_address(data), number)

    lab.neighbour.sh("for n in 3 4 5; do ip address add 10.77.0.$n/24 dev lan0; done")
    servers = [("10.77.0.9", False), ("10.77.0.3", False), ("10.77.0.4", False)]
    with (
        on_network(store, outward, "me") as me,
        served(store, me, *servers, ("10.77.0.5", False)),
        upstream_at(lab.neighbour, "10.77.0.3", failing) as failed,
        upstream_at(lab.neighbour, "10.77.0.4", forged) as lied,
        upstream_at(lab.neighbour, "10.77.0.5", with_address) as good,
    ):
        assert ask(me, "www.example.org")[:2] == (dns.NO_ERROR, 1)
        assert len(failed) == len(lied) == len(good) == 1


def test_client_hears_that_nobody_knows(lab: Lab, store: Store, outward: str) -> None:
    with (
        on_network(store, outward, "me") as me,
        served(store, me, (NEIGHBOUR, False)),  # where nobody listens
    ):
        assert ask(me, "www.example.org")[:2] == (dns.SERVER_FAILURE, 0)
        assert ask_by_tcp(me, "www.example.org", "me")[1][:2] == (dns.NO_ERROR, 1)


def test_internal_network_asks_nobody(lab: Lab, store: Store) -> None:
    make_network(store, "closed", internal=True)
    with (
        on_network(store, "closed", "me") as me,
        served(store, me, ("127.0.0.53", True)),
        upstream_at(lab.host, "127.0.0.53", with_address) as heard,
    ):
        assert ask(me, "www.example.org")[:2] == (dns.SERVER_FAILURE, 0)
        assert heard == []
    networks.teardown(store)


def test_long_answer_comes_by_tcp(lab: Lab, store: Store, outward: str) -> None:
    def long(data: bytes) -> bytes:
        query = dns.Query(data)
        return dns.response(query, dns.addresses(["192.0.2.7"] * 100))

    def cut(data: bytes) -> bytes:
        query = dns.Query(data)
        return dns.response(query, dns.addresses(["192.0.2.7"] * 100), room=512)

    with (
        on_network(store, outward, "me") as me,
        served(store, me, (NEIGHBOUR, False)),
        upstream_at(lab.neighbour, NEIGHBOUR, cut),
        upstream_at(lab.neighbour, NEIGHBOUR, long, tcp=True),
    ):
        assert ask(me, "www.example.org")[2][2] & 0x02  # truncated
        assert ask_by_tcp(me, "www.example.org", "www.example.org")[1][:2] == (dns.NO_ERROR, 100)


def test_network_that_was_removed_and_made_again_meanwhile_stays(
    store: Store, outward: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two remove it at once, and then somebody makes another one of its name."""
    seen = user_defined.find(store, outward)
    user_defined.remove(store, outward)
    monkeypatch.setattr(user_defined, "find", lambda store, reference: seen)
    with pytest.raises(NotFound):
        user_defined.remove(store, outward)
    make_network(store, outward)
    with pytest.raises(NotFound):
        user_defined.remove(store, outward)
    assert read(store, outward) is not None


def test_damaged_file_is_a_failure_and_no_end(lab: Lab, store: Store, outward: str) -> None:
    with on_network(store, outward, "me") as me, served(store, me):
        path = store.network(outward)
        with open(path) as file:
            whole = file.read()
        with open(path, "w") as file:
            file.write("{")
        assert ask(me, "me")[:2] == (dns.SERVER_FAILURE, 0)
        with open(path, "w") as file:
            file.write(whole + "\n")
        assert ask(me, "me")[:2] == (dns.NO_ERROR, 1)


def test_many_questions_at_once_all_get_an_answer(lab: Lab, store: Store, outward: str) -> None:
    with (
        on_network(store, outward, "me") as me,
        served(store, me, (NEIGHBOUR, False)),
        upstream_at(lab.neighbour, NEIGHBOUR, with_address),
    ):
        with me.inside():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.settimeout(patience(8))
            client.connect((NAME_SERVER, 53))
            for number in range(100):
                client.send(b"\0\0")  # no question at all
                client.send(question(f"n{number}.example" if number % 2 else "me"))
            codes = [taken_apart(client.recv(65536))[:2] for _ in range(100)]
        assert codes == [(dns.NO_ERROR, 1)] * 100
