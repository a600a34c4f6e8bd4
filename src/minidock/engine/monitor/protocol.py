"""What a command and a container's monitor say to each other: one message a packet.

    command → monitor   L <json>   launch the container {"id", "attach", "explain", "step", "view",
                                   "size"}
                        A <json>   attach to it {"attach"}
                        X <json>   run another process in it {"request", "attach", "size"}
                        W          tell me when it has ended
                        C          do not start it again when it ends (answered by S)
                        K          do not remove it when it ends: it is being restarted (S)
                        N <json>   join a network {"network", "asked"}, or leave it ("asked" null)
                        i <bytes>  stdin          e  end of stdin
                        r <json>   the terminal's size {"rows", "columns"}
                        k <json>   a signal for the process {"signal"}
                        a <n>      n bytes of o and E were passed on: as many may follow
                        g, q       answers to t: go on; or give it up, and take all down
    monitor → command   S          started
                        o <bytes>  stdout         E <bytes>  stderr
                        a <n>      the process has read n bytes of i: as many may follow
                        x <json>   ended {"code"}
                        f <json>   failed: an error, as runtime/channel.py describes it
                        j <record> a journal record, where asked for at launch; what a view tells
                        t          the act told last waits for g or q, where it asked for "step"

"attach" is {"stdin", "stdout", "stderr"}, or null for a command that only wants to know that it has
started. Closing the socket detaches. A connection begins with one of L, A, X, W, C, K, N.

Flow control: each side has room for WINDOW_BYTES of the other's data (i; o and E together) that
wait for a slow reader behind it. A sender counts what it has sent, subtracts what an `a` says was
acknowledged, and sends no data beyond the window. So both always read their socket, whatever is
slow: a signal, an exit code or an `a` never waits behind data that nobody takes, and the two
directions do not wait for each other. The socket's own buffer holds a whole window, so sending does
not block.

The socket is /run/minidock/<id>/monitor.sock, reached through its directory's descriptor, since a
socket's path has 108 bytes at most; the first command of a container has a socket pair instead.
Between t and its answer, X runs a process in the container as far as it is made, and the end of the
connection counts as q.
While a container waits for its restart A, X and N are refused; meanwhile, as it is restarted,
nobody listens.

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
ACK_BYTES = WINDOW_BYTES // 4  # acknowledge after so many
MESSAGE_BYTES = 512 * 1024
BUFFER_BYTES = 1024 * 1024
_SO_SNDBUF, _SO_SNDBUFFORCE = 7, 32


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Two connected ends."""
    kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, kind)
    return ours, theirs


def listen(directory: str) -> _socket.socket:
    """The monitor's listening socket in its container's run directory, for root only."""
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
    """A connection to a container's monitor.

    Raises OSError where no monitor listens.
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
    """The next connection."""
    descriptor, _ = listening._accept()  # type: ignore[attr-defined]
    socket = _socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    return socket


def grow_buffer(socket: _socket.socket, size_bytes: int = BUFFER_BYTES) -> None:
    """Make room for a whole window, or one large message: an exec's environment may be long."""
    try:
        socket.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUFFORCE, size_bytes)
    except PermissionError:  # without CAP_NET_ADMIN: as far as the machine's limit goes
        socket.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUF, size_bytes)


def receive(socket: _socket.socket, *, wait: bool = True) -> bytes:
    """The next message, b"" at the end.

    Where the other end closed with something of ours unread, the kernel says so once (ECONNRESET),
    ahead of what is still to be read: the exit code, for one.
    wait: otherwise raises BlockingIOError where there is none yet.
    """
    flags = 0 if wait else _socket.MSG_DONTWAIT
    try:
        return socket.recv(MESSAGE_BYTES, flags)
    except ConnectionResetError:
        return socket.recv(MESSAGE_BYTES, flags)


def ack(size_bytes: int) -> bytes:
    """The message that acknowledges so many bytes."""
    return ACK + b"%d" % size_bytes


def acked_bytes(packet: bytes) -> int:
    """How many bytes that message acknowledges; 0 if it is malformed."""
    digits = packet[1:]
    return int(digits) if is_decimal(digits) else 0


def message(kind: bytes, content: Any = None) -> bytes:
    """A message with JSON in it."""
    return kind + (b"" if content is None else jsontext.dumps(content).encode())


def failure(error: BaseException) -> bytes:
    """The message that reports an error."""
    return message(FAILED, describe_error(error))


def exit_status(code: int) -> bytes:
    """The message that reports an exit code."""
    return message(EXITED, {"code": code})


def content_of(packet: bytes) -> Any:
    """The JSON of a message."""
    return jsontext.loads(packet[1:]) if len(packet) > 1 else None
