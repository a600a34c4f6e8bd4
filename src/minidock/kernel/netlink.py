"""Netlink sockets: how a program lists and changes links, addresses and routes (rtnetlink).

A request is one datagram: a header, a fixed struct that depends on the type of message, then
attributes of the form (length, type, value), which can be nested. The kernel handles it inside
send(2), in the network namespace that the *socket* was created in, and answers with an errno (0:
done) or, to a dump, with a sequence of messages. `ip` encodes such messages; so does this module,
for those that a container's network needs (see kernel/link.py).

    +-------------------------------------+------------------+----------------------------+
    | length  type  flags  sequence  port | struct ifinfomsg | attr  attr( attr attr )  … |
    +-------------------------------------+------------------+----------------------------+

Where the kernel explains a refusal (extended ACK), its text becomes the error's hint.

Not here: generic netlink. Sources: netlink(7), rtnetlink(7),
Documentation/userspace-api/netlink/intro.rst, include/uapi/linux/{netlink,rtnetlink,if_link}.h.
"""

from __future__ import annotations

from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket
from struct import Struct

from minidock.errors import KernelError

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_DUMP = 0x300
NLM_F_DUMP_INTR = 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400

NLMSG_ERROR, NLMSG_DONE = 2, 3
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_NESTED_BITS = 0xC000  # NLA_F_NESTED and NLA_F_NET_BYTEORDER share the type's field
_DUMP_ATTEMPTS = 20  # for a list that keeps changing; the last attempt counts
_BUFFER_BYTES = 1 << 17  # the kernel limits the messages of a dump to the reader's buffer

_HEADER = Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_ATTRIBUTE = Struct("=HH")  # nlattr: length, type
_ERRNO = Struct("=i")


def attribute(kind: int, value: bytes) -> bytes:
    """Encode an attribute, padded to the four-byte alignment of the next one."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Decode the attributes in `data` from `start` on, by type; of equal types, the last one."""
    found = {}
    while start + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            break
        found[kind & ~_NESTED_BITS] = data[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


class Netlink:
    """A netlink socket of one network namespace: the one this process is in when it is opened.

    The socket stays in that namespace even if its owner joins another one, so a socket that was
    opened in a container's namespace reaches it from the host.

    place: the path of that namespace, for the journal and for the shell twin, which joins it by
    this path; "" for the process's own. protocol: 0 for NETLINK_ROUTE, 12 for NETLINK_NETFILTER.
    """

    def __init__(self, place: str = "", *, protocol: int = 0) -> None:
        self.place = place
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)  # do not echo our request
        self._sequence = 0

    def journal_text(self) -> str:
        """How the journal names it."""
        return self.place

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()

    def request(self, kind: int, flags: int, body: bytes, *, subject: str) -> None:
        """Request a change; returns once the kernel has made it.

        subject: what is changed, for the error message.
        Raises KernelError with the kernel's errno, and its own explanation as the hint.
        """
        self._send(kind, flags | NLM_F_ACK, body)
        for message in self._receive():
            self._check(message, subject)

    def dump(self, kind: int, body: bytes, *, subject: str) -> list[bytes]:
        """List all objects of a kind, each as its fixed struct and its attributes.

        A list comes in parts. If it changed between two of them, an object that existed all the
        time can be missing; the kernel reports that (NLM_F_DUMP_INTR), and the dump is repeated.
        Raises KernelError if the kernel refuses to list them.
        """
        for _ in range(_DUMP_ATTEMPTS):
            found, is_whole = self._dump_once(kind, body, subject)
            if is_whole:
                break
        return found

    def _dump_once(self, kind: int, body: bytes, subject: str) -> tuple[list[bytes], bool]:
        """List all objects of a kind, and return whether the list was consistent."""
        self._send(kind, NLM_F_DUMP, body)
        found: list[bytes] = []
        is_whole = True
        while True:
            for message in self._receive():
                is_whole = is_whole and not message[1] & NLM_F_DUMP_INTR
                if message[0] == NLMSG_DONE:
                    return found, is_whole
                self._check(message, subject)
                found.append(message[2])

    def get(self, kind: int, body: bytes, *, subject: str) -> bytes:
        """Get one object: its fixed struct and its attributes.

        Raises KernelError if it does not exist (ENODEV, ENOENT).
        """
        self._send(kind, 0, body)
        message = self._receive()[0]
        self._check(message, subject)
        return message[2]

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        length = _HEADER.size + len(body)
        header = _HEADER.pack(length, kind, flags | NLM_F_REQUEST, self._sequence, 0)
        self._socket.send(header + body)

    def _receive(self) -> list[tuple[int, int, bytes]]:
        """Receive the next datagram for us: its messages as (type, flags, payload)."""
        messages: list[tuple[int, int, bytes]] = []
        while not messages:
            data = self._socket.recv(_BUFFER_BYTES)
            start = 0
            while start + _HEADER.size <= len(data):
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data, start)
                if sequence == self._sequence:
                    messages.append((kind, flags, data[start + _HEADER.size : start + length]))
                start += (length + 3) & ~3
        return messages

    def _check(self, message: tuple[int, int, bytes], subject: str) -> None:
        """Raise the error of an error message; errno 0 means success."""
        kind, flags, payload = message
        if kind != NLMSG_ERROR:
            return
        number = -_ERRNO.unpack_from(payload)[0]
        if number == 0:
            return
        words = b""
        if flags & _NLM_F_ACK_TLVS:  # after the errno and the header of our own request
            words = attributes(payload, 4 + _HEADER.size).get(_NLMSGERR_ATTR_MSG, b"")
        said = words.rstrip(b"\0").decode()
        hint = f"the kernel says: {said}" if said else ""
        raise KernelError("netlink(7)", subject, number, hint=hint)
