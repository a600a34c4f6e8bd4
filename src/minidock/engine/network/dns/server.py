"""The embedded DNS server of one container: resolves containers, and forwards other queries.

It runs in the container's monitor, as one descriptor of its poll loop: no daemon, no thread, no
process in the container.

    container ──► 127.0.0.11:53 ──► NameServer ──► DnsRecords: an answer at once
                                         └───────► upstream servers, one after the other

No query may end the monitor, and the container with it: every failure, a lack of descriptors
included, becomes the response SERVFAIL.

If a server refuses or does not respond within two seconds, the next one is queried; after the last
one, the response is SERVFAIL. Each forwarded query has its own socket and a random id, so that an
attacker off the path cannot forge a response. Queries are sent from the container's network
namespace, except to servers that only the host can reach.

TCP: tcp.py. Sources: RFC 1035, RFC 5452 (forged responses), resolv.conf(5).
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket
from select import EPOLLIN
from time import monotonic

from minidock.engine.network.dns import message as dns
from minidock.engine.network.dns.tcp import TcpListener
from minidock.engine.network.poll_set import PollSet
from minidock.engine.network.veth_pair import NetworkNamespace
from minidock.errors import MinidockError
from minidock.kernel.op import current_journal, use_journal
from minidock.kernel.timer import wake_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.engine.network.dns.records import DnsRecords
    from minidock.engine.network.dns.sockets import DnsSockets

DNS_PORT = 53
_MAX_MESSAGE_BYTES = 1 << 16
_MAX_PENDING = 200  # each has a descriptor, of which a process may have 1024
_RESPONSE_SECONDS = 2.0
_TICK_MS = 250
_MAX_QUERIES_PER_EVENT = 64


class NameServer:
    """Answers one container's queries. fd: readable when `on_ready` has something to do.

    upstream: (address, whether it is queried from the host) each, in order.
    """

    def __init__(
        self,
        sockets: DnsSockets,
        directory: DnsRecords,
        upstream: Sequence[tuple[str, bool]],
    ) -> None:
        self._sockets = sockets
        self._directory = directory
        self.upstream = list(upstream)
        self.watched = PollSet()
        self.fd = self.watched.fd
        self._pending: set[_ForwardedQuery] = set()
        self._tick: _Timer | None = None
        self._streams = TcpListener(self, sockets.tcp)
        self.watched.watch(sockets.udp, EPOLLIN, self._on_queries)

    def on_ready(self) -> None:
        """Handle ready sockets; call it when `fd` is readable."""
        self.watched.handle()

    def close(self) -> None:
        """Close all sockets except the listening ones, and drop pending queries."""
        for passed in list(self._pending):
            passed.forget()
        self._streams.close()
        if self._tick is not None:
            self._tick.close()
        self.watched.close()

    def find(self, query: dns.Query) -> tuple[int, list[bytes]] | None:
        """Answer a query from the records: a response code and answers; None: forward it.

        A query of another type for a known name gets an empty answer.
        """
        if query.network_class != dns.IN:
            return None
        try:
            return self._look_up(query)
        except (OSError, MinidockError):  # EMFILE, or a damaged network file
            return dns.SERVER_FAILURE, []

    def _look_up(self, query: dns.Query) -> tuple[int, list[bytes]] | None:
        if address := query.reverse_address():
            if name := self._directory.name_of(address):
                return dns.NO_ERROR, dns.pointer(name)
        elif (found := self._directory.addresses(query.name)) is not None:
            return dns.NO_ERROR, dns.addresses(_rotate(found)) if query.kind == dns.A else []
        return None if self._directory.may_forward else (dns.SERVER_FAILURE, [])

    def upstream_socket(self, number: int, kind: int) -> socket | None:
        """Open a socket for the upstream server of this number; None after the last one."""
        if number >= len(self.upstream):
            return None
        address, from_host = self.upstream[number]
        family = AF_INET6 if ":" in address else AF_INET
        flags = kind | SOCK_CLOEXEC | SOCK_NONBLOCK
        if from_host:
            return socket(family, flags, 0)
        # The journal records the container's setup, not each of its queries.
        journal = current_journal()
        use_journal(None)
        try:
            with NetworkNamespace(self._sockets.netns_pid):
                return socket(family, flags, 0)
        finally:
            use_journal(journal)

    def wake_later(self) -> None:
        """Start the timer that ends pending queries and idle connections."""
        if self._tick is not None:
            return
        try:
            self._tick = _Timer()
        except MinidockError:  # EMFILE: the next query tries again
            return
        self.watched.watch(self._tick, EPOLLIN, self._on_tick)

    def _on_queries(self) -> None:
        for _ in range(_MAX_QUERIES_PER_EVENT):
            try:
                data, client = self._sockets.udp.recvfrom(_MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier answer reached nobody
            try:
                query = dns.Query(data)
            except ValueError:
                continue
            found = self.find(query)
            if found is None:
                self._pass_on(query, data, client)
            else:
                code, answers = found
                self._send(dns.response(query, answers, code=code, room=query.room), client)

    def _pass_on(self, query: dns.Query, data: bytes, client: tuple[str, int]) -> None:
        if len(self._pending) >= _MAX_PENDING:
            return  # the client asks again
        passed = _ForwardedQuery(self, query, data, client)
        self._pending.add(passed)
        passed.ask()
        self.wake_later()

    def _on_tick(self) -> None:
        assert self._tick is not None
        self.watched.watch(self._tick, 0, self._on_tick)
        self._tick.close()
        self._tick = None
        now = monotonic()
        for passed in list(self._pending):
            if passed.deadline < now:
                passed.ask()
        self._streams.close_idle(now)
        if self._pending or self._streams.busy:
            self.wake_later()

    def _send(self, message: bytes, client: tuple[str, int]) -> None:
        try:
            self._sockets.udp.sendto(message, client)
        except OSError:
            return  # the client has gone, or its queue is full: UDP allows the loss

    def _done(self, passed: _ForwardedQuery, message: bytes) -> None:
        self._pending.discard(passed)
        self._send(message, passed.client)


class _ForwardedQuery:
    """A query that was forwarded by UDP, to one server after the other."""

    def __init__(
        self, server: NameServer, query: dns.Query, data: bytes, client: tuple[str, int]
    ) -> None:
        self.client = client
        self.deadline = 0.0
        self._server = server
        self._query = query
        self._data = data
        self._next = 0
        self._number = 0
        self._socket: socket | None = None

    def ask(self) -> None:
        """Query the next server; after the last one, respond with SERVFAIL."""
        self._close()
        while True:
            try:
                asking = self._server.upstream_socket(self._next, SOCK_DGRAM)
            except (OSError, MinidockError):
                asking = None  # EMFILE, or the container has ended
            if asking is None:
                failed = dns.response(self._query, code=dns.SERVER_FAILURE)
                self._server._done(self, failed)
                return
            address, _ = self._server.upstream[self._next]
            self._next += 1
            self._number = int.from_bytes(os.urandom(2), "big")
            try:
                asking.connect((address, DNS_PORT))
                asking.send(dns.with_id(self._data, self._number))
            except OSError:
                asking.close()  # no route
                continue
            self._socket = asking
            self.deadline = monotonic() + _RESPONSE_SECONDS
            self._server.watched.watch(asking, EPOLLIN, self._on_answer)
            return

    def forget(self) -> None:
        """Drop the query."""
        self._close()
        self._server._pending.discard(self)

    def _on_answer(self) -> None:
        assert self._socket is not None
        try:
            message = self._socket.recv(_MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.ask()  # ECONNREFUSED
            return
        if not dns.answers_to(message, self._query, self._number):
            return
        if dns.code_of(message) in (dns.SERVER_FAILURE, dns.REFUSED) and self._has_more():
            self.ask()
            return
        self._close()
        self._server._done(self, dns.with_id(message, self._query.id))

    def _has_more(self) -> bool:
        return self._next < len(self._server.upstream)

    def _close(self) -> None:
        if self._socket is not None:
            self._server.watched.watch(self._socket, 0, self._on_answer)
            self._socket.close()
            self._socket = None


class _Timer:
    """A timer with a descriptor for the poll set."""

    def __init__(self) -> None:
        journal = current_journal()
        use_journal(None)
        try:
            self._fd = wake_after(_TICK_MS)
        finally:
            use_journal(journal)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """Close the timer."""
        os.close(self._fd)


def _rotate(found: list[str]) -> list[str]:
    """Rotate addresses at random: round-robin among the containers of one alias."""
    start = int.from_bytes(os.urandom(2), "big") % len(found)
    return found[start:] + found[:start]
