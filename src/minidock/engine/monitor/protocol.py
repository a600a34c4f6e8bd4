"""The protocol between commands and a container's monitor: one message per packet.

    command → monitor   LAUNCH              L <json>   launch the container {"id", "attach",
                                                       "explain", "step", "view", "size"}
                        ATTACH              A <json>   attach to it {"attach"}
                        EXEC                X <json>   run one more process {"request", "attach",
                                                       "size"}
                        WAIT                W          send EXITED when it has stopped
                        CANCEL_RESTART      C          ignore the restart policy (answer: STARTED)
                        CANCEL_AUTO_REMOVE  K          ignore --rm, for `restart` (STARTED)
                        NETWORK_CHANGE      N <json>   join a network {"network", "asked"}, or leave
                                                       it ("asked" null) (STARTED)
                        STDIN               i <bytes>
                        STDIN_END           e
                        RESIZE              r <json>   size of the terminal {"rows", "columns"}
                        SIGNAL              k <json>   signal the process {"signal"}
                        ACK                 a <n>      n bytes of STDOUT and STDERR were written
                        CONTINUE, ABORT     g, q       answers to STEP; ABORT undoes the launch
    monitor → command   STARTED             S
                        STDOUT              o <bytes>
                        STDERR              E <bytes>
                        ACK                 a <n>      the process has read n bytes of STDIN
                        EXITED              x <json>   {"code"}
                        FAILED              f <json>   an error, as runtime/channel.py describes it
                        RECORD              j <record> a journal record, if LAUNCH asked for them;
                                                       or a line of a view
                        STEP                t          the op announced last waits, if LAUNCH asked
                                                       for "step"

"attach" is {"stdin", "stdout", "stderr"}; null waits for STARTED only. Closing the socket detaches.
The first message of a connection is LAUNCH, ATTACH, EXEC, WAIT, CANCEL_RESTART, CANCEL_AUTO_REMOVE
or NETWORK_CHANGE.

Flow control: each side buffers up to WINDOW_BYTES of the other's data (STDIN; STDOUT and STDERR
together) for a slow reader. A sender counts the bytes sent, subtracts those acknowledged by ACK,
and sends no data beyond the window. So both sides always read their socket: SIGNAL, EXITED or ACK
never waits behind unread data, and neither direction waits for the other. The socket buffer holds a
whole window, so sending does not block.

The socket is /run/minidock/<id>/monitor.sock, opened through its directory's descriptor, since
sun_path holds only 108 bytes; the command that launches the container has a socket pair instead.
Between STEP and its answer, EXEC runs a process in the half-made container; closing the connection
counts as ABORT. Between two runs of a restart policy, ATTACH, EXEC and NETWORK_CHANGE fail; while
the next run is launched, the monitor does not listen.

Source: unix(7) SOCK_SEQPACKET.
"""

from __future__ import annotations

import _socket
import os

from minidock import jsontext
from minidock.numerals import is_decimal
from minidock.runtime.channel import describe_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# command → monitor
LAUNCH = b"L"
ATTACH = b"A"
EXEC = b"X"
WAIT = b"W"
CANCEL_RESTART = b"C"
CANCEL_AUTO_REMOVE = b"K"
NETWORK_CHANGE = b"N"
STDIN = b"i"
STDIN_END = b"e"
RESIZE = b"r"
SIGNAL = b"k"
CONTINUE = b"g"
ABORT = b"q"
# monitor → command
STARTED = b"S"
STDOUT = b"o"
STDERR = b"E"
EXITED = b"x"
FAILED = b"f"
RECORD = b"j"
STEP = b"t"
# both
ACK = b"a"

DATA_BYTES = 64 * 1024  # what a pipe holds
WINDOW_BYTES = 512 * 1024
ACK_BYTES = WINDOW_BYTES // 4  # acknowledge in steps of this size
MESSAGE_BYTES = 512 * 1024
BUFFER_BYTES = 1024 * 1024
_SO_SNDBUF, _SO_SNDBUFFORCE = 7, 32


def pair() -> tuple[_socket.socket, _socket.socket]:
    """A connected socket pair."""
    kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, kind)
    return ours, theirs


def listen(directory: str) -> _socket.socket:
    """Listen in the container's run directory; mode 0600."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        socket.bind(f"/proc/self/fd/{parent}/monitor.sock")
        os.chmod(f"{directory}/monitor.sock", 0o600)
    finally:
        os.close(parent)
    socket.listen(64)
    socket.setblocking(False)
    return socket


def connect(directory: str) -> _socket.socket:
    """Connect to a container's monitor.

    Raises OSError if no monitor listens.
    """
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        socket.connect(f"/proc/self/fd/{parent}/monitor.sock")
    except OSError:
        socket.close()
        raise
    finally:
        os.close(parent)
    grow_buffer(socket)
    return socket


def accept(listening: _socket.socket) -> _socket.socket:
    """Accept the next connection."""
    descriptor, _ = listening._accept()  # type: ignore[attr-defined]
    socket = _socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    return socket


def grow_buffer(socket: _socket.socket, size_bytes: int = BUFFER_BYTES) -> None:
    """Enlarge the send buffer for a whole window, or for one large EXEC message."""
    try:
        socket.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUFFORCE, size_bytes)
    except PermissionError:  # without CAP_NET_ADMIN: up to net.core.wmem_max
        socket.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUF, size_bytes)


def receive(socket: _socket.socket, *, wait: bool = True) -> bytes:
    """Receive the next message; b"" at the end.

    Two answers of the kernel are not final, so it is asked again. ECONNRESET comes once, before the
    messages still in our buffer, if the other end closed with unread data of ours. And without
    waiting, b"" may come before the last messages: if they and the end arrive between the
    kernel's look at the queue and its look at the end.
    wait: if false, raises BlockingIOError when no message has arrived.
    Source: __unix_dgram_recvmsg() in net/unix/af_unix.c.
    """
    flags = 0 if wait else _socket.MSG_DONTWAIT
    for _ in range(3):  # ECONNRESET, an early end, and the answer that counts
        try:
            packet = socket.recv(MESSAGE_BYTES, flags)
        except ConnectionResetError:
            continue
        if packet:
            return packet
    return b""


def ack(size_bytes: int) -> bytes:
    """The message that acknowledges so many bytes."""
    return ACK + b"%d" % size_bytes


def acked_bytes(packet: bytes) -> int:
    """How many bytes that message acknowledges; 0 if it is malformed."""
    digits = packet[1:]
    return int(digits) if is_decimal(digits) else 0


def message(kind: bytes, content: object = None) -> bytes:
    """A message with JSON content."""
    return kind + (b"" if content is None else jsontext.dumps(content).encode())


def failure(error: BaseException) -> bytes:
    """The message that reports an error."""
    return message(FAILED, describe_error(error))


def exit_status(code: int) -> bytes:
    """The message that reports an exit code."""
    return message(EXITED, {"code": code})


def content_of(packet: bytes) -> Any:
    """The JSON of a message, to which the caller gives its type of document_types/message.py."""
    return jsontext.loads(packet[1:]) if len(packet) > 1 else None
