"""Send a DNS query as a container's resolver does, and observe it.

The socket is created in the container's network namespace; no program of the container is executed.
It sends one A query by UDP, for the name as given (no search domain is added), to the first
nameserver of the container's /etc/resolv.conf. If the answer is truncated, it repeats the query by
TCP. After an answer an AAAA query follows, as most programs send both:

    127.0.0.11     minidock's DNS server, on user-defined networks: DNAT to the monitor's socket
    any other      through eth0, the bridge and the host; or on the container's loopback
    IPv6           queried with its zone, but not traced through the firewalls

Sources: resolv.conf(5), RFC 1035 section 4, RFC 7766 section 5 (TC).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from struct import Struct

from minidock.engine.network.dns import message as dns_message
from minidock.engine.network.veth_pair import NetworkNamespace
from minidock.errors import MinidockError, UsageError
from minidock.kernel import nftrace
from minidock.numerals import is_decimal
from minidock.teach.packet.firewall_trace import PacketTrace, Rules, packet_traces

TIMEOUT, ANSWER = "timeout", "answer"
_TABLE = "minidock-packet"
_PORT = 53
_POLL_SECONDS, _SETTLING_SECONDS = 0.05, 0.02
_MESSAGE_MAX_BYTES = 1 << 16
_HEADER, _RECORD = Struct("!HHHHHH"), Struct("!HHIH")
_RECURSION_DESIRED, _TRUNCATED = 0x0100, 0x0200
_ADDRESSES = {dns_message.A: (socket.AF_INET, 4), dns_message.AAAA: (socket.AF_INET6, 16)}
_LENGTH = Struct("!H")  # precedes each message in TCP
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
NXDOMAIN = 3


@dataclass
class QueryResult:
    """All observations of one DNS query.

    from_host: sent from the host's network namespace, not the container's. outcome: ANSWER, TIMEOUT
    or the errno's name. code: the RCODE. is_truncated: the TC bit is set, ask again by TCP. inner,
    outer: traces through the firewall of the container's network namespace and of the host's.
    saved: the rules inside. is_traced: whether both firewalls can trace (not iptables-legacy).
    failed_at_once: the kernel refused to send, so no packet left. is_inside: sent from a network
    namespace that is not the host's.
    """

    server: str
    from_host: bool
    source: str
    port: int
    outcome: str
    code: int
    addresses: list[str]
    is_truncated: bool
    us: int
    inner: list[PacketTrace]
    outer: list[PacketTrace]
    saved: str
    is_traced: bool
    failed_at_once: bool
    is_inside: bool

    @property
    def is_path_known(self) -> bool:
        """Whether the firewalls traced it; they trace IPv4 only."""
        return self.is_traced and ":" not in self.server

    @property
    def answer(self) -> str:
        """The outcome in one word: NOERROR, NXDOMAIN, timeout, ECONNREFUSED, ..."""
        return CODES.get(self.code, str(self.code)) if self.outcome == ANSWER else self.outcome


def build_query(name: str, *, kind: int = dns_message.A) -> bytes:
    """Build a query for a name, with a random id. Raises UsageError for an invalid name.

    kind: the record type (QTYPE).
    """
    labels = name.removesuffix(".").split(".")
    fits = name.isascii() and name.isprintable() and " " not in name and len(name) <= 253
    if not fits or not all(0 < len(label) < 64 for label in labels):
        raise UsageError(f"invalid name: {name!r}", hint="such as db or example.org, in ASCII")
    number = int.from_bytes(os.urandom(2), "big")
    header = _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0)
    query = b"".join(bytes([len(label)]) + label.encode() for label in labels)
    return header + query + b"\0" + bytes((0, kind, 0, dns_message.IN))


class _QueryTraces:
    """Traces of one query and its answer, through one firewall or two, innermost first."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._traces: list[tuple[nftrace.Trace, Rules, list[nftrace.Event]]] = []

    def add(self, server: str, port: int) -> None:
        """Trace through the firewall of the network namespace that this process is in."""
        self._traces.append((*_trace(self._stack, server, port), []))

    def poll(self) -> bool:
        """Read new events; returns whether a rule has dropped a packet."""
        for trace, _, events in self._traces:
            events += trace.events()
        return any(
            event.verdict == nftrace.DROP for _, _, events in self._traces for event in events
        )

    def found(self) -> tuple[list[PacketTrace], list[PacketTrace]]:
        """The packets through the firewall inside, and the host's, with those still in flight."""
        time.sleep(_SETTLING_SECONDS)
        self.poll()
        found = [packet_traces(events, trace.name, rules) for trace, rules, events in self._traces]
        return (found[0] if len(found) > 1 else []), found[-1]

    @property
    def saved(self) -> str:
        """The rules of the innermost firewall."""
        return self._traces[0][1].saved

    @property
    def are_complete(self) -> bool:
        """Whether each firewall can trace; the rules of iptables-legacy cannot."""
        return all(rules.is_nft or not rules.saved.strip() for _, rules, _ in self._traces)


def send_query(
    pid: int,
    server: str,
    message: bytes,
    *,
    from_host: bool = False,
    protocol: str = "udp",
    seconds: float = 5.0,
) -> QueryResult:
    """Send a query to a server and observe it. pid: of a process in the container's network.

    protocol: "udp" or "tcp". seconds: the timeout; 5 is the default of resolvers (resolv.conf(5)).
    """
    is_inside = not (from_host or _is_host(pid))
    with ExitStack() as stack:
        traces = _QueryTraces(stack)
        with NetworkNamespace(pid) if is_inside else nullcontext():
            sock, destination = _socket(stack, server, protocol)
            if is_inside:
                traces.add(server, sock.getsockname()[1])
        traces.add(server, sock.getsockname()[1])
        started = time.monotonic_ns()
        outcome, answer, failed_at_once = _converse(
            sock, destination, message, protocol, seconds, traces.poll
        )
        us = (time.monotonic_ns() - started) // 1000
        inner, outer = traces.found()
        return QueryResult(
            server=server,
            from_host=from_host,
            source=str(sock.getsockname()[0]),
            port=int(sock.getsockname()[1]),
            outcome=outcome,
            code=dns_message.code_of(answer) if answer else 0,
            addresses=addresses(answer),
            is_truncated=is_truncated(answer),
            us=us,
            inner=inner,
            outer=outer,
            saved=traces.saved,
            is_traced=traces.are_complete,
            failed_at_once=failed_at_once,
            is_inside=is_inside,
        )


def _converse(
    sock: socket.socket,
    destination: tuple[str | int, ...],
    message: bytes,
    protocol: str,
    seconds: float,
    poll_traces: Callable[[], bool],
) -> tuple[str, bytes, bool]:
    """Send a message and await the answer: the outcome, the answer, whether no packet left."""
    if protocol == "tcp":
        return (*_exchange_tcp(sock, destination, message, seconds, poll_traces), False)
    if failure := _connect_datagram(sock, destination):
        return failure, b"", True
    return (*_exchange_udp(sock, destination, message, seconds, poll_traces), False)


def addresses(message: bytes) -> list[str]:
    """The IPv4 or IPv6 addresses in an answer; of a truncated one, those that it contains."""
    found: list[str] = []
    if len(message) < _HEADER.size:
        return found
    _, _, questions, answers, _, _ = _HEADER.unpack_from(message)
    offset = _HEADER.size
    for number in range(questions + answers):
        offset = _skip_name(message, offset)
        if number < questions:
            offset += 4  # type and class
            continue
        if offset + _RECORD.size > len(message):
            break
        kind, _, _, length = _RECORD.unpack_from(message, offset)
        offset += _RECORD.size
        family, size = _ADDRESSES.get(kind, (0, 0))
        if family and length == size and offset + size <= len(message):
            found.append(socket.inet_ntop(family, message[offset : offset + size]))
        offset += length
    return found


def is_truncated(message: bytes) -> bool:
    """Whether an answer is truncated (TC)."""
    return len(message) >= _HEADER.size and bool(_HEADER.unpack_from(message)[1] & _TRUNCATED)


def _is_host(pid: int) -> bool:
    """Whether a process is in this network namespace, so that one trace sees everything."""
    return os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net")


def _socket(
    stack: ExitStack, server: str, protocol: str
) -> tuple[socket.socket, tuple[str | int, ...]]:
    """Open a socket in this network namespace; resolve the zone of the server's address here."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    address, _, zone = server.partition("%")
    if ":" not in address:
        sock, destination = socket.socket(socket.AF_INET, kind), (address, _PORT)
    else:
        try:
            sock = socket.socket(socket.AF_INET6, kind)
        except OSError as error:
            raise MinidockError(f"nameserver {server}: no IPv6 here: {error.strerror}") from None
        destination = (address, _PORT, 0, _index(zone))  # type: ignore[assignment]
    stack.enter_context(sock)
    sock.bind(("", 0))  # chooses the port now
    return sock, destination


def _index(zone: str) -> int:
    """The index of a zone's interface; 0, which the kernel refuses, if it does not exist."""
    try:
        return int(zone) if is_decimal(zone) else socket.if_nametoindex(zone)
    except OSError:
        return 0


def _trace(stack: ExitStack, server: str, port: int) -> tuple[nftrace.Trace, Rules]:
    """Trace the query and its answer through the firewall of this network namespace."""
    rules = Rules()
    trace = stack.enter_context(nftrace.Trace(f"{_TABLE}-{os.getpid()}"))
    followed = []
    if ":" not in server:
        destination = socket.inet_aton(server)
        for hook in ("output", "prerouting"):
            followed += [
                nftrace.Followed(
                    hook, destination=destination, source_port=port, destination_port=_PORT
                ),
                nftrace.Followed(hook, source=destination, destination_port=port),
            ]
    nftrace.follow(trace, followed)
    return trace, rules


def _connect_datagram(sock: socket.socket, destination: tuple[str | int, ...]) -> str:
    """Have the kernel look up the route; returns the errno's name, "" for success."""
    try:
        sock.connect(destination)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "an error")
    return ""


def _exchange_udp(
    sock: socket.socket,
    destination: tuple[str | int, ...],
    message: bytes,
    seconds: float,
    poll_traces: Callable[[], bool],
) -> tuple[str, bytes]:
    """Send and receive by UDP: outcome and answer. It stops waiting once a rule drops a packet."""
    query = dns_message.Query(message)
    deadline = time.monotonic() + seconds
    sock.settimeout(_POLL_SECONDS)
    try:
        sock.send(message)
        while time.monotonic() < deadline:
            try:
                answer = sock.recv(_MESSAGE_MAX_BYTES)
            except TimeoutError:
                if poll_traces():
                    break
                continue
            if dns_message.answers_to(answer, query, query.id):
                return ANSWER, answer
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "an error"), b""
    return TIMEOUT, b""


def _exchange_tcp(
    sock: socket.socket,
    destination: tuple[str | int, ...],
    message: bytes,
    seconds: float,
    poll_traces: Callable[[], bool],
) -> tuple[str, bytes]:
    """As _exchange_udp, by TCP; a connection that ends without an answer counts as a timeout."""
    query = dns_message.Query(message)
    deadline = time.monotonic() + seconds
    sock.setblocking(False)
    received = b""
    try:
        number = sock.connect_ex(destination)
        while number in (errno.EINPROGRESS, errno.EALREADY):
            if not _is_ready(sock, deadline, poll_traces, writing=True):
                return TIMEOUT, b""
            number = sock.connect_ex(destination)
        if number not in (0, errno.EISCONN):
            return errno.errorcode.get(number, "an error"), b""
        sock.send(_LENGTH.pack(len(message)) + message)
        while _is_ready(sock, deadline, poll_traces) and (part := sock.recv(_MESSAGE_MAX_BYTES)):
            received += part
            answer = received[_LENGTH.size :]
            is_whole = len(answer) >= int.from_bytes(received[: _LENGTH.size], "big")
            if len(received) > _LENGTH.size and is_whole:
                fits = dns_message.answers_to(answer, query, query.id)
                return (ANSWER, answer) if fits else (TIMEOUT, b"")
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "an error"), b""
    return TIMEOUT, b""


def _is_ready(
    sock: socket.socket, deadline: float, poll_traces: Callable[[], bool], *, writing: bool = False
) -> bool:
    """Wait until a socket is ready; False at the deadline, or once a rule drops a packet."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT if writing else select.POLLIN)
    while time.monotonic() < deadline:
        if poll.poll(_POLL_SECONDS * 1000):
            return True
        if poll_traces():
            break
    return False


def _skip_name(message: bytes, offset: int) -> int:
    """The offset after a name, which ends with a label of length 0 or a pointer."""
    while offset < len(message) and message[offset]:
        if message[offset] >= 0xC0:
            return offset + 2
        offset += 1 + message[offset]
    return offset + 1
