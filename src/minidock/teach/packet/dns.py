"""Ask a name as a container's resolver would, and gather what was seen of the question.

The socket is made in the container's network, and none of the container's programs is executed.
The question is one A query by UDP, of the name as it stands (no search domain is added), to the
first server of the container's /etc/resolv.conf; where the answer is cut short, once more by TCP.
Where there is an answer, an AAAA query follows, as most programs ask both:

    127.0.0.11     our name server, on a user's network: DNAT inside leads to the monitor's socket
    any other      by the container's eth0, the bridge and the host, or inside, on its loopback
    IPv6           asked too, with its zone; what the firewalls do with it is not followed

Sources: resolv.conf(5), RFC 1035 section 4, RFC 7766 section 5 (TC).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from struct import Struct

from minidock.engine.container.containers import Container
from minidock.engine.network.dns import message as dns_message
from minidock.engine.network.endpoint import NetworkNamespace
from minidock.engine.network.hosts_file import is_address
from minidock.errors import KernelError, MinidockError, UsageError
from minidock.kernel import nftrace
from minidock.kernel.path import open_in_root
from minidock.numerals import is_decimal
from minidock.teach.packet.firewall_trace import Rules, Way, ways

SILENCE, ANSWER = "timeout", "answer"
_TABLE = "minidock-packet"
_PORT = 53
_LOOK_SECONDS, _SETTLING_SECONDS = 0.05, 0.02
_LONGEST_BYTES, _LONGEST_FILE_BYTES = 1 << 16, 1 << 20
_HEADER, _RECORD = Struct("!HHHHHH"), Struct("!HHIH")
_RECURSION_DESIRED, _TRUNCATED = 0x0100, 0x0200
_ADDRESSES = {dns_message.A: (socket.AF_INET, 4), dns_message.AAAA: (socket.AF_INET6, 16)}
_LENGTH = Struct("!H")  # before each message by TCP
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
NOT_FOUND = 3


@dataclass
class Asked:
    """All that was seen of one question.

    from_host: it was sent from the host's network, else from the container's. outcome: ANSWER,
    SILENCE, or the errno's name. code, addresses: of the answer. is_truncated: it is cut short, for
    who asks by TCP to have the whole. inner, outer: ways through the
    firewall of the container's network, and of the host's. saved: the rules inside.
    is_traced: whether the firewalls can tell their ways (not iptables-legacy). failed_at_once: the
    kernel itself refused to send, so that no packet left.
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
    inner: list[Way]
    outer: list[Way]
    saved: str
    is_traced: bool
    failed_at_once: bool

    @property
    def is_followed(self) -> bool:
        """Whether the firewalls were asked for its way: they are, of IPv4."""
        return self.is_traced and ":" not in self.server

    @property
    def answer(self) -> str:
        """How it went, in a word: NOERROR, NXDOMAIN, timeout, ECONNREFUSED, ..."""
        return CODES.get(self.code, str(self.code)) if self.outcome == ANSWER else self.outcome


def query(name: str, *, kind: int = dns_message.A) -> bytes:
    """A query of a name, with a number that cannot be guessed. Raises UsageError.

    kind: of the records that are asked for.
    """
    labels = name.removesuffix(".").split(".")
    fits = name.isascii() and name.isprintable() and " " not in name and len(name) <= 253
    if not fits or not all(0 < len(label) < 64 for label in labels):
        raise UsageError(f"invalid name: {name!r}", hint="such as db or example.org, in ASCII")
    number = int.from_bytes(os.urandom(2), "big")
    header = _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0)
    asked = b"".join(bytes([len(label)]) + label.encode() for label in labels)
    return header + asked + b"\0" + bytes((0, kind, 0, dns_message.IN))


def ask(
    pid: int,
    server: str,
    message: bytes,
    *,
    from_host: bool = False,
    protocol: str = "udp",
    seconds: float = 5.0,
) -> Asked:
    """Send a query to a server, and follow it. pid: in the container's network.

    protocol: "udp" or "tcp". seconds: how long an answer may take; 5 is what resolvers wait
    (resolv.conf(5) "timeout").
    """
    with ExitStack() as stack:
        traces: list[tuple[nftrace.Trace, Rules]] = []
        if from_host or _is_host(pid):
            made, to = _socket(stack, server, protocol)
        else:
            with NetworkNamespace(pid):
                made, to = _socket(stack, server, protocol)
                traces.append(_trace(stack, server, made.getsockname()[1]))
        inside = len(traces)
        traces.append(_trace(stack, server, made.getsockname()[1]))
        events: list[list[nftrace.Event]] = [[] for _ in traces]

        def look() -> bool:
            for seen, (trace, _) in zip(events, traces, strict=True):
                seen += trace.events()
            return any(event.verdict == nftrace.DROP for seen in events for event in seen)

        started = time.monotonic_ns()
        converse = _converse if protocol == "udp" else _converse_by_tcp
        failure = _connect_datagram(made, to) if protocol == "udp" else ""
        outcome, answer = (failure, b"") if failure else converse(made, to, message, seconds, look)
        us = (time.monotonic_ns() - started) // 1000
        time.sleep(_SETTLING_SECONDS)
        look()
        found = [
            ways(seen, trace.name, rules)
            for seen, (trace, rules) in zip(events, traces, strict=True)
        ]
        return Asked(
            server=server,
            from_host=from_host,
            source=str(made.getsockname()[0]),
            port=int(made.getsockname()[1]),
            outcome=outcome,
            code=dns_message.code_of(answer) if answer else 0,
            addresses=addresses(answer),
            is_truncated=is_truncated(answer),
            us=us,
            inner=found[0] if inside else [],
            outer=found[-1],
            saved=traces[0][1].saved,
            is_traced=all(rules.is_nft or not rules.saved.strip() for _, rules in traces),
            failed_at_once=bool(failure),
        )


def addresses(message: bytes) -> list[str]:
    """The addresses in an answer, IPv4 or IPv6; of one that is cut short, those before the cut."""
    found: list[str] = []
    if len(message) < _HEADER.size:
        return found
    _, _, questions, answers, _, _ = _HEADER.unpack_from(message)
    place = _HEADER.size
    for number in range(questions + answers):
        place = _behind_name(message, place)
        if number < questions:
            place += 4  # type and class
            continue
        if place + _RECORD.size > len(message):
            break
        kind, _, _, length = _RECORD.unpack_from(message, place)
        place += _RECORD.size
        family, size = _ADDRESSES.get(kind, (0, 0))
        if family and length == size and place + size <= len(message):
            found.append(socket.inet_ntop(family, message[place : place + size]))
        place += length
    return found


def is_truncated(message: bytes) -> bool:
    """Whether an answer is cut short."""
    return len(message) >= _HEADER.size and bool(_HEADER.unpack_from(message)[1] & _TRUNCATED)


def servers(container: Container) -> list[str] | None:
    """The name servers in a container's /etc/resolv.conf; None where it cannot be read.

    A link-local one keeps its zone: "fe80::1%eth0".
    """
    text = read_inside(container, "/etc/resolv.conf")
    if text is None:
        return None
    lines = [line.split() for line in text.splitlines()]
    named = [line[1] for line in lines if line[:1] == ["nameserver"] and line[1:]]
    return [each for each in named if is_address(each.partition("%")[0])]


def is_in_hosts(container: Container, name: str) -> bool:
    """Whether the container's /etc/hosts has a name: then programs mostly do not ask a server."""
    text = read_inside(container, "/etc/hosts") or ""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return any(name.lower() in (each.lower() for each in line[1:]) for line in lines)


def read_inside(container: Container, path: str) -> str | None:
    """A regular file as the container sees it, whatever links it has made; None without one."""
    try:
        root = f"/proc/{container.state['Pid']}/root"
        fd = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (KernelError, OSError):
        return None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return file.read(_LONGEST_FILE_BYTES).decode(errors="replace")


def _is_host(pid: int) -> bool:
    """Whether a process is in this network namespace: one trace sees all then."""
    return os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net")


def _socket(
    stack: ExitStack, server: str, protocol: str
) -> tuple[socket.socket, tuple[str | int, ...]]:
    """A socket of this network, and the server's address in it: a zone is an interface here."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    address, _, zone = server.partition("%")
    if ":" not in address:
        made, to = socket.socket(socket.AF_INET, kind), (address, _PORT)
    else:
        try:
            made = socket.socket(socket.AF_INET6, kind)
        except OSError as error:
            raise MinidockError(f"name server {server}: no IPv6 here: {error.strerror}") from None
        to = (address, _PORT, 0, _index(zone))  # type: ignore[assignment]
    stack.enter_context(made)
    made.bind(("", 0))  # the port is known from here on
    return made, to


def _index(zone: str) -> int:
    """The number of a zone's interface; 0, which the kernel refuses, where there is none."""
    try:
        return int(zone) if is_decimal(zone) else socket.if_nametoindex(zone)
    except OSError:
        return 0


def _trace(stack: ExitStack, server: str, port: int) -> tuple[nftrace.Trace, Rules]:
    """Have the firewall of this network tell the question's way, and the answer's."""
    rules = Rules()
    trace = stack.enter_context(nftrace.Trace(f"{_TABLE}-{os.getpid()}"))
    followed = []
    if ":" not in server:
        to = socket.inet_aton(server)
        for hook in ("output", "prerouting"):
            followed += [
                nftrace.Followed(hook, destination=to, source_port=port, destination_port=_PORT),
                nftrace.Followed(hook, source=to, destination_port=port),
            ]
    nftrace.follow(trace, followed)
    return trace, rules


def _connect_datagram(made: socket.socket, to: tuple[str | int, ...]) -> str:
    """Have the kernel look up the route; returns its refusal, "" where there is none."""
    try:
        made.connect(to)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "an error")
    return ""


def _converse(
    made: socket.socket,
    to: tuple[str | int, ...],
    message: bytes,
    seconds: float,
    look: Callable[[], bool],
) -> tuple[str, bytes]:
    """The outcome, and the answer where there is one. Once it is dropped, nothing is waited for."""
    asked = dns_message.Query(message)
    deadline = time.monotonic() + seconds
    made.settimeout(_LOOK_SECONDS)
    try:
        made.send(message)
        while time.monotonic() < deadline:
            try:
                answer = made.recv(_LONGEST_BYTES)
            except TimeoutError:
                if look():
                    break
                continue
            if dns_message.answers_to(answer, asked, asked.id):
                return ANSWER, answer
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "an error"), b""
    return SILENCE, b""


def _converse_by_tcp(
    made: socket.socket,
    to: tuple[str | int, ...],
    message: bytes,
    seconds: float,
    look: Callable[[], bool],
) -> tuple[str, bytes]:
    """As _converse; a server that ends the connection without an answer is silent too."""
    asked = dns_message.Query(message)
    deadline = time.monotonic() + seconds
    made.setblocking(False)
    heard = b""
    try:
        number = made.connect_ex(to)
        while number in (errno.EINPROGRESS, errno.EALREADY):
            if not _is_ready(made, deadline, look, writing=True):
                return SILENCE, b""
            number = made.connect_ex(to)
        if number not in (0, errno.EISCONN):
            return errno.errorcode.get(number, "an error"), b""
        made.send(_LENGTH.pack(len(message)) + message)
        while _is_ready(made, deadline, look) and (part := made.recv(_LONGEST_BYTES)):
            heard += part
            answer = heard[_LENGTH.size :]
            is_whole = len(answer) >= int.from_bytes(heard[: _LENGTH.size], "big")
            if len(heard) > _LENGTH.size and is_whole:
                fits = dns_message.answers_to(answer, asked, asked.id)
                return (ANSWER, answer) if fits else (SILENCE, b"")
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "an error"), b""
    return SILENCE, b""


def _is_ready(
    made: socket.socket, deadline: float, look: Callable[[], bool], *, writing: bool = False
) -> bool:
    """Wait until a socket can be read, or written; not once the time is over, or a rule drops."""
    poll = select.poll()
    poll.register(made, select.POLLOUT if writing else select.POLLIN)
    while time.monotonic() < deadline:
        if poll.poll(_LOOK_SECONDS * 1000):
            return True
        if look():
            break
    return False


def _behind_name(message: bytes, place: int) -> int:
    """Where the name that begins here ends: at a label of length 0, or behind a pointer."""
    while place < len(message) and message[place]:
        if message[place] >= 0xC0:
            return place + 2
        place += 1 + message[place]
    return place + 1
