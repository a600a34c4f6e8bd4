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
                        g, q       answers to t: go on; or give it up, and take all down
    monitor → command   S          started
                        o <bytes>  stdout         E <bytes>  stderr
                        x <json>   ended {"code"}
                        f <json>   failed: an error, as runtime/channel.py describes it
                        j <record> a journal record, where asked for at launch; what a view tells
                        t          the act told last waits for g or q, where it asked for "step"

"attach" is {"stdin", "stdout", "stderr"}, or null for a command that only wants to know that it has
started. Closing the socket detaches. A connection begins with one of L, A, X, W, C, K, N.

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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DATA_BYTES = 32 * 1024
MESSAGE_BYTES = 512 * 1024
_BUFFER_BYTES = 1024 * 1024


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


def grow_buffer(socket: _socket.socket) -> None:
    """Make room for one large message: an exec's environment may be long."""
    socket.setsockopt(_socket.SOL_SOCKET, 32, _BUFFER_BYTES)  # SO_SNDBUFFORCE


def receive(socket: _socket.socket) -> bytes:
    """The next message, b"" at the end.

    Where the other end closed with something of ours unread, the kernel says so once (ECONNRESET),
    ahead of what is still to be read: the exit code, for one.
    """
    try:
        return socket.recv(MESSAGE_BYTES)
    except ConnectionResetError:
        return socket.recv(MESSAGE_BYTES)


def message(kind: bytes, content: Any = None) -> bytes:
    """A message with JSON in it."""
    return kind + (b"" if content is None else jsontext.dumps(content).encode())


def content_of(packet: bytes) -> Any:
    """The JSON of a message."""
    return jsontext.loads(packet[1:]) if len(packet) > 1 else None
