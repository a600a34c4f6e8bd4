"""rtnetlink: how a program asks the kernel for links, addresses and routes.

A request is one datagram: a header, a fixed struct that depends on the kind of message, then
attributes of the form (length, type, value), which nest. The kernel works it off inside send(2), in
the network namespace that the *socket* was made in, and answers with an errno (0: done) or, to a
dump, with a row of messages. `ip` packs such messages; so does this module,
in the four shapes that a container's network needs (kernel/link.py says which).

    +-------------------------------------+------------------+----------------------------+
    | length  type  flags  sequence  port | struct ifinfomsg | attr  attr( attr attr )  … |
    +-------------------------------------+------------------+----------------------------+

The kernel explains a refusal in words where it can (extended ACK); they become the error's hint.

Not here: any decision, and generic netlink. Sources: netlink(7), rtnetlink(7),
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
_DUMP_ATTEMPTS = 20  # at a list that changes all the time; the last one counts
_BUFFER_BYTES = 1 << 17  # the kernel cuts the messages of a dump to what the reader can take

_HEADER = Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_ATTRIBUTE = Struct("=HH")  # nlattr: length, type
_ERRNO = Struct("=i")


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to the four bytes at which the next one starts."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes that stand in `data` from `start` on, by their type; of equals, the last."""
    found = {}
    while start + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            break
        found[kind & ~_NESTED_BITS] = data[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


class Netlink:
    """A conversation with one network namespace: the one this process is in when it is opened.

    The socket stays with that namespace wherever its owner goes afterwards, so a socket that was
    opened inside a container's namespace reaches it from outside.

    place: how the journal names that namespace, "" for the process's own; a shell twin enters it
    by this path. protocol: 0 for NETLINK_ROUTE, 12 for NETLINK_NETFILTER.
    """

    def __init__(self, place: str = "", *, protocol: int = 0) -> None:
        self.place = place
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)  # do not send our request back
        self._sequence = 0

    def journal_text(self) -> str:
        """How the journal names it."""
        return self.place

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def close(self) -> None:
        """End the conversation; closing twice does nothing."""
        self._socket.close()

    def request(self, kind: int, flags: int, body: bytes, *, subject: str) -> None:
        """Ask for a change, and wait until the kernel has made it.

        subject: what is changed, for the error's text.
        Raises KernelError with the kernel's errno, and its own words for it as the hint.
        """
        self._send(kind, flags | NLM_F_ACK, body)
        for message in self._receive():
            self._check(message, subject)

    def dump(self, kind: int, body: bytes, *, subject: str) -> list[bytes]:
        """All objects of a kind: each as its fixed struct and its attributes.

        A list comes in parts. Where it changed between two of them, an object that was there all
        the time may be missing; the kernel says so (NLM_F_DUMP_INTR), and is asked again.
        Raises KernelError where the kernel refuses to list them.
        """
        for _ in range(_DUMP_ATTEMPTS):
            found, is_whole = self._dump_once(kind, body, subject)
            if is_whole:
                break
        return found

    def _dump_once(self, kind: int, body: bytes, subject: str) -> tuple[list[bytes], bool]:
        """All objects of a kind, and whether the list stayed the same while it was read."""
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
        """One object: its fixed struct and its attributes.

        Raises KernelError where there is no such object (ENODEV, ENOENT).
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
        """The messages of the next datagram that answers us: (type, flags, behind the header)."""
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
        """Raise what an error message says; errno 0 is the kernel's "done"."""
        kind, flags, payload = message
        if kind != NLMSG_ERROR:
            return
        number = -_ERRNO.unpack_from(payload)[0]
        if number == 0:
            return
        words = b""
        if flags & _NLM_F_ACK_TLVS:  # behind the errno and the header of our own request
            words = attributes(payload, 4 + _HEADER.size).get(_NLMSGERR_ATTR_MSG, b"")
        said = words.rstrip(b"\0").decode()
        hint = f"the kernel says: {said}" if said else ""
        raise KernelError("netlink(7)", subject, number, hint=hint)
