"""A minimal D-Bus client: messages, their types, and a connection to a peer.

A message has a header and a body, both encoded by the same rules: a type is one letter, a value is
aligned to its size, a string has its length in front. So one pair of functions, `marshal` and
`unmarshal`, encodes and decodes both.

    y byte   b boolean   i, u 32 bits   t 64 bits   s string   o object path   g signature
    v variant: (type, value)   a array   (...) structure

Not supported: a message bus (Hello, names), file descriptors, big-endian peers, more than one call
at a time.

Source: D-Bus specification, "Type System", "Message Protocol", "Authentication Protocol".
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_STREAM, socket
from _struct import pack, pack_into, unpack_from
from time import monotonic

from minidock.errors import KernelError, MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    Value = int | str | Sequence["Value"]  # a variant is a pair (type, value)

_FIXED = {"y": ("<B", 1), "b": ("<I", 4), "i": ("<i", 4), "u": ("<I", 4), "t": ("<Q", 8)}
_ALIGNMENT = {"v": 1, "g": 1, "s": 4, "o": 4, "a": 4, "(": 8}

_HEADER = "yyyyuua(yv)"
_LITTLE_ENDIAN, _VERSION = ord("l"), 1
_CALL, _ANSWER, _ERROR, _SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _SIGNATURE = 1, 2, 3, 4, 5, 8
_LARGEST_MESSAGE = 1 << 20  # systemd's have some hundred bytes


class Refused(MinidockError):
    """The peer answered with an error.

    name: such as "org.freedesktop.systemd1.UnitExists".
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{text or name} ({name})")
        self.name = name


class Connection:
    """A connection to a peer that listens at a socket, authenticated with our uid.

    timeout_seconds: limit of each wait for the peer.
    Raises KernelError if no process listens there.
    """

    def __init__(self, path: str, *, timeout_seconds: float) -> None:
        self._path = path
        self._patience = timeout_seconds
        self._serial = 0
        self._signals: list[tuple[dict[int, Value], bytes]] = []
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        self._socket.settimeout(timeout_seconds)
        try:
            self._socket.connect(path)
            self._authenticate()
        except OSError as error:
            self.close()
            raise KernelError("connect(2)", path, error.errno or 0) from None

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def call(self, path: str, method: str, signature: str, values: Sequence[Value]) -> list[Value]:
        """Call a method and return its reply.

        method: with its interface, as "org.freedesktop.systemd1.Manager.StartUnit".
        Raises Refused with the peer's message, KernelError if it does not answer.
        """
        interface, _, member = method.rpartition(".")
        self._serial += 1
        body = marshal(signature, values)
        fields = [
            (_PATH, ("o", path)),
            (_INTERFACE, ("s", interface)),
            (_MEMBER, ("s", member)),
            (_SIGNATURE, ("g", signature)),
        ]
        fixed = [_LITTLE_ENDIAN, _CALL, 0, _VERSION, len(body), self._serial]
        header = marshal(_HEADER, [*fixed, fields])
        self._send(header + bytes(-len(header) % 8) + body)
        while True:
            kind, about, data = self._receive()
            if kind == _SIGNAL:
                self._signals.append((about, data))
            elif about.get(_REPLY_SERIAL) == self._serial:
                answer = unmarshal(str(about.get(_SIGNATURE, "")), data)
                if kind == _ERROR:
                    raise Refused(str(about[_ERROR_NAME]), str(answer[0]) if answer else "")
                return answer

    def signals(self, name: str) -> Iterator[list[Value]]:
        """Yield the values of each signal of that name: received ones first, then new ones.

        Raises KernelError ETIMEDOUT if none arrives in time.
        """
        deadline = monotonic() + self._patience
        while True:
            while self._signals:
                about, data = self._signals.pop(0)
                if about[_MEMBER] == name:  # others may have types that are not supported here
                    yield unmarshal(str(about.get(_SIGNATURE, "")), data)
            if monotonic() > deadline:
                raise self._lost(TimeoutError())
            kind, about, data = self._receive()
            if kind == _SIGNAL:
                self._signals.append((about, data))

    def _authenticate(self) -> None:
        """The kernel tells the peer our uid; we name the same one."""
        self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode())
        self._socket.sendall(b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            answer += self._exactly(1)
        if not answer.startswith(b"OK "):
            raise PermissionError(13, answer.decode(errors="replace"))
        self._socket.sendall(b"BEGIN\r\n")

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data, MSG_NOSIGNAL)
        except OSError as error:
            raise self._lost(error) from None

    def _receive(self) -> tuple[int, dict[int, Value], bytes]:
        """Read the next message: its type, its header fields by number, its body."""
        try:
            head = self._exactly(16)
            order, kind, _, _, body_bytes, _, field_bytes = unpack_from("<BBBBIII", head)
            rest = field_bytes + -field_bytes % 8 + body_bytes
            if order != _LITTLE_ENDIAN or rest > _LARGEST_MESSAGE:
                raise ConnectionError(71, "not a D-Bus message")
            message = head + self._exactly(rest)
        except OSError as error:
            raise self._lost(error) from None
        fields = {number: value for number, (_, value) in unmarshal(_HEADER, message)[6]}
        return kind, fields, message[len(message) - body_bytes :]

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            if not more:
                raise ConnectionResetError(104, "the peer hung up")
            data += more
        return data

    def _lost(self, error: OSError) -> KernelError:
        number = 110 if isinstance(error, TimeoutError) else error.errno or 0  # ETIMEDOUT
        return KernelError("recv(2)", self._path, number)


# Types -------------------------------------------------------------------------------------------


def marshal(signature: str, values: Sequence[Value]) -> bytes:
    """Encode values of these types, from an offset that is a multiple of 8."""
    out = bytearray()
    for kind, value in zip(_types(signature), values, strict=True):
        _put(out, kind, value)
    return bytes(out)


def unmarshal(signature: str, data: bytes) -> list[Any]:  # each of the type that the signature says
    """Decode values of these types; a variant is a pair (type, value)."""
    at, values = 0, []
    for kind in _types(signature):
        at, value = _get(data, at, kind)
        values.append(value)
    return values


def _types(signature: str) -> list[str]:
    """Split a signature into complete types: "sa(sv)u" has "s", "a(sv)" and "u"."""
    found, start = [], 0
    while start < len(signature):
        end = start
        while signature[end] == "a":
            end += 1
        depth = 0
        while True:
            depth += (signature[end] == "(") - (signature[end] == ")")
            end += 1
            if depth == 0:
                break
        found.append(signature[start:end])
        start = end
    return found


def _alignment(kind: str) -> int:
    return _FIXED[kind][1] if kind in _FIXED else _ALIGNMENT[kind[0]]


def _put(out: bytearray, kind: str, value: Value) -> None:
    out += bytes(-len(out) % _alignment(kind))
    if isinstance(value, int):
        out += pack(_FIXED[kind][0], value)
    elif isinstance(value, str):
        text = value.encode()
        out += pack("<B" if kind == "g" else "<I", len(text)) + text + b"\0"
    elif kind == "v":
        _put(out, "g", value[0])
        _put(out, str(value[0]), value[1])
    elif kind[0] == "(":
        for part, each in zip(_types(kind[1:-1]), value, strict=True):
            _put(out, part, each)
    else:
        length_at = len(out)
        out += bytes(4)
        out += bytes(-len(out) % _alignment(kind[1:]))  # not included in the length
        start = len(out)
        for each in value:
            _put(out, kind[1:], each)
        pack_into("<I", out, length_at, len(out) - start)


def _get(data: bytes, at: int, kind: str) -> tuple[int, Value]:
    """Decode the value at this offset; returns the offset of the next one and the value."""
    at += -at % _alignment(kind)
    if kind in _FIXED:
        return _get_number(data, at, kind)
    if kind in ("s", "o", "g"):
        return _get_text(data, at, kind)
    if kind == "v":
        at, inner = _get_text(data, at, "g")
        at, value = _get(data, at, inner)
        return at, (inner, value)
    values: list[Value] = []
    if kind[0] == "(":
        for part in _types(kind[1:-1]):
            at, value = _get(data, at, part)
            values.append(value)
        return at, tuple(values)
    at, length = _get_number(data, at, "u")
    at += -at % _alignment(kind[1:])
    end = at + length
    while at < end:
        at, value = _get(data, at, kind[1:])
        values.append(value)
    return at, values


def _get_number(data: bytes, at: int, kind: str) -> tuple[int, int]:
    at += -at % _alignment(kind)
    code, size = _FIXED[kind]
    (number,) = unpack_from(code, data, at)
    return at + size, number


def _get_text(data: bytes, at: int, kind: str) -> tuple[int, str]:
    at, length = _get_number(data, at, "y" if kind == "g" else "u")
    return at + length + 1, data[at : at + length].decode()
