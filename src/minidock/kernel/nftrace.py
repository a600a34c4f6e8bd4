"""nf_tables tracing: follow packets through the firewall, rule by rule.

nf_tables reports what each rule did with a packet whose trace bit is set. A temporary table, with a
chain at each hook, sets the bit for selected packets, and shows at each hook what the packet looks
like there:

    prerouting, output            before all other chains: sets the bit
    forward, input, postrouting   after NAT: only shows the packet

The table belongs to the socket that created it (NFT_TABLE_F_OWNER): the kernel removes it when that
is closed, however its process ends, and no other process can change it. So no cleanup is needed.
The chains accept everything, which never overrides the verdict of later chains.

Both kinds of iptables honour the bit; only the nft kind reports here. Needs Linux 5.12.

Sources: nft(8) "meta nftrace", "flags owner"; include/uapi/linux/netfilter/nf_tables.h;
net/netfilter/nf_tables_trace.c.
"""

from __future__ import annotations

from _socket import AF_NETLINK, MSG_DONTWAIT, SO_RCVBUF, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket
from struct import Struct

from minidock.errors import KernelError
from minidock.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    Netlink,
    attribute,
    attributes,
)
from minidock.kernel.op import op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NETLINK_NETFILTER, NFNLGRP_NFTRACE = 12, 9
NFPROTO_INET, NFPROTO_IPV4 = 1, 2
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEWTABLE, _NEWCHAIN, _NEWRULE, _GETRULE, _TRACE = (_SUBSYSTEM << 8 | n for n in (0, 3, 6, 7, 17))
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_NESTED = 0x8000
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 4 << 20  # events that are not read in time are dropped

NFT_TABLE_F_OWNER = 2
RULE, POLICY = 3, 1  # NFT_TRACETYPE_*; 2 is a return to the calling chain
DROP, ACCEPT, JUMP, GOTO = 0, 1, -3, -4
# Priorities: before connection tracking and all tables of iptables, and after them.
_FIRST, _LAST = -350, 350
HOOKS = {  # chain: the number of its hook, and its priority
    "prerouting": (0, _FIRST),
    "input": (1, _LAST),
    "forward": (2, _FIRST),
    "output": (3, _FIRST),
    "postrouting": (4, _LAST),
}

_HEADER = Struct("=IHHII")
_NFGENMSG = Struct(">BBH")
_U32 = Struct(">I")
_I32 = Struct(">i")
_U64 = Struct(">Q")
_HOST_U32 = Struct("=I")


class Followed:
    """Which packets are followed, from one hook on; None matches any value.

    hook: "output" or "prerouting". mark: the socket's (SO_MARK). source, destination: an IPv4
    address as its 4 bytes. source_port, destination_port: of TCP or UDP.
    """

    def __init__(
        self,
        hook: str,
        *,
        mark: int | None = None,
        source: bytes | None = None,
        destination: bytes | None = None,
        source_port: int | None = None,
        destination_port: int | None = None,
    ) -> None:
        self.hook = hook
        self.mark = mark
        self.fields = [  # nft's name, base (1 network, 2 transport), offset, value
            (words, base, offset, value)
            for words, base, offset, value in (
                ("ip saddr", 1, 12, source),
                ("ip daddr", 1, 16, destination),
                ("th sport", 2, 0, _port(source_port)),
                ("th dport", 2, 2, _port(destination_port)),
            )
            if value is not None
        ]

    def __str__(self) -> str:
        """Format the rule for nft(8), without its chain's name."""
        words = [f"{name} {_said(value)}" for name, _, _, value in self.fields]
        if self.mark is not None:
            words.insert(0, f"meta mark {self.mark:#x}")
        return " ".join([*words, "meta nftrace set 1"])

    def expressions(self) -> bytes:
        """Encode the rule for the kernel: load values, compare them, then set the bit."""
        found = []
        if self.mark is not None:
            found += [_meta(3), _equals(_HOST_U32.pack(self.mark))]
        if self.fields:
            found += [_meta(15), _equals(bytes([NFPROTO_IPV4]))]
        for _, base, offset, value in self.fields:
            found += [_payload(base, offset, len(value)), _equals(value)]
        found += [_immediate(b"\1"), _expression("meta", _number(2, 12) + _number(3, 1))]
        return b"".join(found)


class Event:
    """One trace event of a followed packet.

    packet: its trace id, valid while it is processed. family, table, chain: where it happened.
    kind: RULE or POLICY. handle: the rule's. verdict: DROP, ACCEPT, JUMP, ... to: the target chain
    of a jump. header: the IP header and the beginning of its payload, b"" if the kernel has already
    reported it for this chain.
    came_by, leaves_by: ifindexes of the input and output device, 0 for none. mark: 0 for none.
    """

    def __init__(self, message: bytes) -> None:
        self.family = message[0]
        found = attributes(message, _NFGENMSG.size)
        self.packet = _u32(found, 6)
        self.table = _text(found, 1)
        self.chain = _text(found, 2)
        self.kind = _u32(found, 4)
        self.handle = _U64.unpack(found.get(3, bytes(8)))[0]
        verdict = attributes(found.get(5, b""))
        self.verdict = _I32.unpack(verdict.get(1, bytes(4)))[0] if verdict else -1
        self.to = _text(verdict, 2)
        if self.kind == POLICY:
            self.verdict = _u32(found, 16)
        self.header = found.get(8, b"") + found.get(9, b"")
        self.came_by, self.leaves_by = _u32(found, 10), _u32(found, 12)
        self.mark = _u32(found, 14)


class Trace:
    """A temporary table that sets the trace bit, and the events of its packets.

    name: the table's. The kernel removes it when this is closed or the process ends.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._ear = _socket()
        try:
            self._ear.setsockopt(SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except PermissionError:
            self._ear.setsockopt(SOL_SOCKET, SO_RCVBUF, _BUFFER_BYTES)
        self._ear.bind((0, 0))  # needed to receive multicast messages
        self._ear.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, NFNLGRP_NFTRACE)
        self._owner = _socket()

    def journal_text(self) -> str:
        """How the journal names it."""
        return self.name

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *exception: object) -> None:
        self._owner.close()
        self._ear.close()

    def events(self) -> list[Event]:
        """Return the events since the last call, in order; does not wait.

        Raises KernelError ENOBUFS if the kernel has dropped events.
        """
        found: list[Event] = []
        while True:
            try:
                data = self._ear.recv(1 << 17, MSG_DONTWAIT)
            except BlockingIOError:
                return found
            except OSError as error:
                raise KernelError("netlink(7)", "nf_tables trace", error.errno or 0) from None
            start = 0
            while start + _HEADER.size <= len(data):
                length, kind, *_ = _HEADER.unpack_from(data, start)
                if kind == _TRACE:
                    found.append(Event(data[start + _HEADER.size : start + length]))
                start += (length + 3) & ~3

    def commit(self, messages: Sequence[tuple[int, int, bytes]]) -> None:
        """Send changes as one transaction: (kind, family, body)."""
        batch = _message(_BATCH_BEGIN, NLM_F_REQUEST, 0, 0, b"", resource=_SUBSYSTEM)
        for number, (kind, family, body) in enumerate(messages, 1):
            flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK
            batch += _message(kind, flags, number, family, body)
        self._owner.send(
            batch + _message(_BATCH_END, NLM_F_REQUEST, 0, 0, b"", resource=_SUBSYSTEM)
        )
        for _ in messages:
            answer = self._owner.recv(1 << 16)
            _, kind, *_ = _HEADER.unpack_from(answer)
            number = -Struct("=i").unpack_from(answer, _HEADER.size)[0]
            if kind == NLMSG_ERROR and number:
                raise KernelError(
                    "nft(8)",
                    f"table inet {self.name}",
                    number,
                    hint="following a packet needs nf_tables with table owners: Linux 5.12",
                )


def _rules_of(packets: Sequence[Followed]) -> list[list[str]]:
    """Format the packets for the journal: the hook and the rule of each."""
    return [[each.hook, str(each)] for each in packets]


def _follow_sh(trace: str, packets: list[list[str]]) -> str:
    table = f"inet {trace}"
    lines = [f"add table {table} {{ flags owner; }}"]
    for chain, (_, place) in HOOKS.items():
        at = f"type filter hook {chain} priority {place}; policy accept;"
        lines.append(f"add chain {table} {chain} {{ {at} }}")
    lines += [f"add rule {table} {hook} {rule}" for hook, rule in packets]
    return "nft -i <<'RULES' & nft monitor trace\n" + "\n".join(lines) + "\nRULES"


@op("nft(8)", twin=_follow_sh, shown={"packets": _rules_of})
def follow(trace: Trace, packets: Sequence[Followed]) -> None:
    """Make the kernel report what each firewall rule does with these packets.

    Without it: one sees whether a packet passes the firewall, but not which rule decided.

    Raises KernelError: EOPNOTSUPP or EINVAL from a kernel without nf_tables or table owners, EPERM.
    """
    table = _string(1, trace.name)
    messages = [(_NEWTABLE, NFPROTO_INET, table + _number(2, NFT_TABLE_F_OWNER))]
    for chain, (hook, place) in HOOKS.items():
        at = attribute(4 | _NESTED, _number(1, hook) + attribute(2, _I32.pack(place)))
        body = table + _string(3, chain) + at + _number(5, ACCEPT) + _string(7, "filter")
        messages.append((_NEWCHAIN, NFPROTO_INET, body))
    for each in packets:
        rule = table + _string(2, each.hook) + attribute(4 | _NESTED, each.expressions())
        messages.append((_NEWRULE, NFPROTO_INET, rule))
    trace.commit(messages)


def handles(family: int = NFPROTO_IPV4) -> dict[tuple[str, str], list[int]]:
    """List the handles of all nf_tables rules, in order: (table, chain) -> handles."""
    found: dict[tuple[str, str], list[int]] = {}
    with Netlink(protocol=NETLINK_NETFILTER) as kernel:
        for message in kernel.dump(_GETRULE, _NFGENMSG.pack(family, 0, 0), subject="rules"):
            rule = attributes(message, _NFGENMSG.size)
            chain = found.setdefault((_text(rule, 1), _text(rule, 2)), [])
            chain.append(_U64.unpack(rule[3])[0])
    return found


def _socket() -> socket:
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)


def _message(
    kind: int, flags: int, number: int, family: int, body: bytes, *, resource: int = 0
) -> bytes:
    length = _HEADER.size + _NFGENMSG.size + len(body)
    head = _HEADER.pack(length, kind, flags, number, 0) + _NFGENMSG.pack(family, 0, resource)
    return head + body + b"\0" * (-length % 4)


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value))


def _string(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _expression(name: str, data: bytes) -> bytes:
    return attribute(1 | _NESTED, _string(1, name) + attribute(2 | _NESTED, data))


def _meta(key: int) -> bytes:
    """Load metadata of the packet: 3 its mark, 15 its family."""
    return _expression("meta", _number(1, 1) + _number(2, key))


def _payload(base: int, offset: int, length: int) -> bytes:
    place = _number(2, base) + _number(3, offset) + _number(4, length)
    return _expression("payload", _number(1, 1) + place)


def _equals(value: bytes) -> bytes:
    data = attribute(3 | _NESTED, attribute(1, value))
    return _expression("cmp", _number(1, 1) + _number(2, 0) + data)


def _immediate(value: bytes) -> bytes:
    data = attribute(2 | _NESTED, attribute(1, value))
    return _expression("immediate", _number(1, 1) + data)


def _port(number: int | None) -> bytes | None:
    return None if number is None else number.to_bytes(2, "big")


def _said(value: bytes) -> str:
    return ".".join(map(str, value)) if len(value) == 4 else str(int.from_bytes(value, "big"))


def _u32(found: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), "big")


def _text(found: dict[int, bytes], kind: int) -> str:
    return found.get(kind, b"").rstrip(b"\0").decode()
