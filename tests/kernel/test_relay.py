"""The relay of published ports, on loopback sockets; no root, no container."""

from __future__ import annotations

import errno
import functools
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from minidock.engine.network import proxy_udp, published_ports
from minidock.engine.network.poll_set import PollSet
from minidock.engine.network.proxy_tcp import UserlandProxy
from support.lab import Relaying
from support.patience import patience

HERE = "127.0.0.1"


class Published:
    """A server port on 127.0.0.1, published by a relay on 127.0.0.2 and ::1."""

    def __init__(self, kind: str, port: int) -> None:
        asked = [
            {"HostIp": address, "HostPort": "", "Proto": kind, "ContainerPort": port}
            for address in ("127.0.0.2", "::1")
        ]
        self.ports = published_ports.bind(asked)
        self.addresses = [(p.held[0].host_ip, p.held[0].host_port) for p in self.ports]
        self.relay = Relaying(UserlandProxy(self.ports, HERE))

    def close(self) -> None:
        self.relay.stop()
        for port in self.ports:
            port.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server((HERE, 0)) as listening:
        listening.settimeout(patience(5))
        yield listening


@pytest.fixture
def published(server: socket.socket) -> Iterator[Published]:
    made = Published("tcp", server.getsockname()[1])
    yield made
    made.close()


def _connected(
    published: Published, server: socket.socket, which: int = 0
) -> tuple[socket.socket, socket.socket]:
    client = socket.create_connection(published.addresses[which], timeout=patience(5))
    accepted, _ = server.accept()
    accepted.settimeout(patience(5))
    return client, accepted


@pytest.mark.parametrize("which", [0, 1])
def test_bytes_pass_both_ways_and_each_end_ends_on_its_own(
    published: Published, server: socket.socket, which: int
) -> None:
    client, served = _connected(published, server, which)
    with client, served:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert served.recv(64) == b"question"
        assert served.recv(64) == b""
        served.sendall(b"a late answer")  # half-closed: this way is still open
        assert client.recv(64) == b"a late answer"
        served.close()
        assert client.recv(64) == b""


def test_large_transfer_arrives_whole(published: Published, server: socket.socket) -> None:
    client, served = _connected(published, server)
    data = bytes(range(256)) * (1 << 16)  # 16 MiB
    with client, served:
        sending = threading.Thread(target=lambda: (served.sendall(data), served.close()))
        sending.start()
        received = bytearray()
        while chunk := client.recv(1 << 16):
            received += chunk
        sending.join()
    assert bytes(received) == data


def test_receiver_that_does_not_read_stops_the_sender(
    published: Published, server: socket.socket
) -> None:
    client, served = _connected(published, server)
    with client, served:
        served.settimeout(0.3)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 1 << 28:
                sent += served.send(bytes(1 << 16))
        assert sent < 1 << 28
        other, other_served = _connected(published, server)  # and nobody else is held up
        with other, other_served:
            other.sendall(b"x")
            assert other_served.recv(1) == b"x"


def test_container_that_does_not_listen_resets_the_client(
    published: Published, server: socket.socket
) -> None:
    server.close()
    with pytest.raises(ConnectionResetError):  # by the time of recv, or of connect already
        with socket.create_connection(published.addresses[0], timeout=patience(5)) as client:
            client.recv(1)


def test_broken_connection_breaks_the_other_side(
    published: Published, server: socket.socket
) -> None:
    client, served = _connected(published, server)
    with served:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with pytest.raises(ConnectionResetError):
            served.recv(1)


def test_client_that_waits_costs_no_time(published: Published, server: socket.socket) -> None:
    client, served = _connected(published, server)
    with client, served:
        client.shutdown(socket.SHUT_WR)
        before = time.process_time()
        time.sleep(0.3)  # in which a loop that does not wait would show
        assert time.process_time() - before < 0.1


def test_relay_that_closes_breaks_its_connections(
    published: Published, server: socket.socket
) -> None:
    client, served = _connected(published, server)
    with client, served:
        published.relay.stop()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_three_hundred_clients_are_served(published: Published, server: socket.socket) -> None:
    server.listen(512)
    clients = [
        socket.create_connection(published.addresses[0], timeout=patience(10)) for _ in range(300)
    ]
    for number, client in enumerate(clients):  # as some leave, those that waited get in
        client.sendall(b"%d" % number)
        served, _ = server.accept()
        with served, client:
            served.settimeout(patience(10))
            word = served.recv(16)
            served.sendall(word)
            assert client.recv(16) == b"%d" % number


def test_datagram_for_which_there_is_no_socket_is_lost_and_the_relay_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = threading.Event()

    def refuse(*_: object) -> socket.socket:
        refused.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HERE, 0))
        server.settimeout(patience(5))
        published = Published("udp", server.getsockname()[1])
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                with monkeypatch.context() as patched:
                    patched.setattr(proxy_udp, "socket", refuse)
                    client.sendto(b"lost", published.addresses[0])
                    assert refused.wait(patience(5))
                client.sendto(b"passed on", published.addresses[0])
                assert server.recv(64) == b"passed on"
        finally:
            published.close()


def test_socket_that_takes_over_a_number_is_not_called_for_what_had_it() -> None:
    """Both are ready at once; the first handler ends the other one, and opens a socket."""
    watched = PollSet()
    pairs = [socket.socketpair(), socket.socketpair()]
    quiet, far = socket.socketpair()
    called = []

    def replace_other(own: int) -> None:
        called.append("old")
        pairs[own][0].recv(1)
        other = pairs[1 - own][0]
        number = other.fileno()
        watched.watch(other, 0, lambda: None)
        os.dup2(quiet.fileno(), number)  # as if closed and reopened
        watched.watch(other, select.EPOLLIN, lambda: called.append("new"))

    for own, (near, end) in enumerate(pairs):
        watched.watch(near, select.EPOLLIN, functools.partial(replace_other, own))
        end.send(b"x")
    watched.handle()
    assert called == ["old"]
    far.send(b"x")
    watched.handle()
    assert called == ["old", "new"]
    watched.close()
    for each in (*pairs[0], *pairs[1], quiet, far):
        each.close()


@pytest.mark.parametrize("which", [0, 1])
def test_datagrams_are_answered_from_the_address_that_was_asked(which: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HERE, 0))
        server.settimeout(patience(5))
        published = Published("udp", server.getsockname()[1])
        try:
            address = published.addresses[which]
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            clients = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(3)]
            for number, client in enumerate(clients):
                client.settimeout(patience(5))
                client.connect(address)  # takes answers from this address only
                client.send(b"question %d" % number)
            for _ in clients:
                question, peer = server.recvfrom(64)
                server.sendto(question.replace(b"question", b"answer"), peer)
            for number, client in enumerate(clients):
                assert client.recv(64) == b"answer %d" % number
                client.close()
        finally:
            published.close()
