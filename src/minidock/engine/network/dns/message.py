"""DNS messages, as far as a container's DNS server needs them: parse queries, build responses.

    header    id  flags  numbers of questions, answers, authorities, additional records    12 bytes
    question  name  type  class
    answer    name  type  class  TTL in seconds  length  data

A name is a sequence of labels, each after its length, ended by length 0. An answer refers to the
question's name by a pointer of two bytes. A query that does not have exactly one question is
forwarded or dropped.

Pure functions of bytes. Sources: RFC 1035 sections 3 and 4; RFC 6891 (how much a client takes).
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

A, PTR, AAAA, OPT = 1, 12, 28, 41
IN = 1
NO_ERROR, SERVER_FAILURE, REFUSED = 0, 2, 5
TTL_SECONDS = 5  # an address may belong to another container soon

_HEADER = Struct("!HHHHHH")
_TYPE_AND_CLASS = Struct("!HH")
_ANSWER = Struct("!HHHIH")
_TO_THE_QUESTION = 0xC00C  # a pointer to byte 12
_RESPONSE, _OPCODE, _TRUNCATED = 0x8000, 0x7800, 0x0200
_RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x0100, 0x0080
_PLAIN_UDP_BYTES = 512
_LARGEST_UDP_BYTES = 4096
_LONGEST_LABEL_BYTES, _LONGEST_NAME_BYTES = 63, 255


class Query:
    """A query with one question.

    id, flags: of the header. name: in lower case, without the last dot. kind: A, PTR, ...
    room: maximum size of a UDP response in bytes. question: the bytes in the message.
    """

    def __init__(self, data: bytes) -> None:
        """Raises ValueError for any other message."""
        if len(data) < _HEADER.size:
            raise ValueError("too short")
        self.id, self.flags, questions, answers, authorities, additions = _HEADER.unpack_from(data)
        if self.flags & (_RESPONSE | _OPCODE) or (questions, answers, authorities) != (1, 0, 0):
            raise ValueError("not one question")
        self.name, end = _name(data, _HEADER.size)
        if len(data) < end + _TYPE_AND_CLASS.size:
            raise ValueError("cut short")
        self.kind, self.network_class = _TYPE_AND_CLASS.unpack_from(data, end)
        end += _TYPE_AND_CLASS.size
        self.question = data[_HEADER.size : end]
        self.room = _room(data, end) if additions else _PLAIN_UDP_BYTES

    def reverse_address(self) -> str:
        """Return the address of a reverse lookup (1.2.168.192.in-addr.arpa); else ""."""
        if self.kind != PTR or not self.name.endswith(".in-addr.arpa"):
            return ""
        return ".".join(reversed(self.name.removesuffix(".in-addr.arpa").split(".")))


def addresses(found: Sequence[str]) -> list[bytes]:
    """Return A records for these IPv4 addresses."""
    return [_answer(A, bytes(int(number) for number in text.split("."))) for text in found]


def pointer(name: str) -> list[bytes]:
    """Return a PTR record for a name; [] if it is not a valid DNS name."""
    labels = [label.encode() for label in name.split(".")]
    if not all(0 < len(label) <= _LONGEST_LABEL_BYTES for label in labels):
        return []
    return [_answer(PTR, b"".join(bytes([len(label)]) + label for label in labels) + b"\0")]


def response(
    query: Query, answers: Sequence[bytes] = (), *, code: int = NO_ERROR, room: int | None = None
) -> bytes:
    """Build the response to a query; answers that do not fit are left out, and TC is set.

    room: the maximum size in bytes; None for no limit.
    """
    flags = _RESPONSE | _RECURSION_AVAILABLE | query.flags & _RECURSION_DESIRED | code
    kept, size = 0, _HEADER.size + len(query.question)
    for answer in answers:
        size += len(answer)
        if room is not None and size > room:
            flags |= _TRUNCATED  # the client asks again, by TCP
            break
        kept += 1
    header = _HEADER.pack(query.id, flags, 1, kept, 0, 0)
    return header + query.question + b"".join(answers[:kept])


def with_id(message: bytes, number: int) -> bytes:
    """Return a message with another id."""
    return number.to_bytes(2, "big") + message[2:]


def answers_to(message: bytes, query: Query, number: int) -> bool:
    """Whether a message is the response to a query that was forwarded with this id."""
    if len(message) < _HEADER.size:
        return False
    found, flags, questions, *_ = _HEADER.unpack_from(message)
    if found != number or not flags & _RESPONSE or questions != 1:
        return False
    echoed = message[_HEADER.size : _HEADER.size + len(query.question)]
    return echoed.lower() == query.question.lower()


def code_of(message: bytes) -> int:
    """Return the response code (RCODE)."""
    return message[3] & 0xF


def _answer(kind: int, data: bytes) -> bytes:
    return _ANSWER.pack(_TO_THE_QUESTION, kind, IN, TTL_SECONDS, len(data)) + data


def _name(data: bytes, start: int) -> tuple[str, int]:
    """Parse a name; returns it and the offset after it. A question has no pointers."""
    labels = []
    while start < len(data) and data[start]:
        length = data[start]
        if length > _LONGEST_LABEL_BYTES or start + 1 + length >= len(data):
            raise ValueError("invalid label")
        labels.append(data[start + 1 : start + 1 + length])
        start += 1 + length
    if start >= len(data) or sum(len(label) + 1 for label in labels) > _LONGEST_NAME_BYTES:
        raise ValueError("name without an end")
    return b".".join(labels).lower().decode("latin-1"), start + 1


def _room(data: bytes, start: int) -> int:
    """Return the UDP payload size that the OPT record after the question announces."""
    if len(data) < start + 5 or data[start] != 0:
        return _PLAIN_UDP_BYTES
    kind, size = _TYPE_AND_CLASS.unpack_from(data, start + 1)
    if kind != OPT:
        return _PLAIN_UDP_BYTES
    return max(_PLAIN_UDP_BYTES, min(int(size), _LARGEST_UDP_BYTES))
