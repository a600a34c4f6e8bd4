"""The channel between the runtime and init: one socket pair, one message a packet.

    runtime → init    GO          G              join the cgroup; again: the hooks have run
                      STEP        T              perform the op announced last
    init → runtime    RECORD      J <record>     a journal record (init has no host file open)
                      STEP        T              an op waits for permission (`run --step`)
                      RUN_HOOKS   H              run the host's hooks: namespaces and mounts exist
                      CONSOLE     C + SCM_RIGHTS the master of the container's terminal
                      PID         P <pid>        exec's process, our child by CLONE_PARENT
                      READY       R              isolation is complete; init waits for start
                      FAILED      F <json>       {"kind", "message", "hint", ...}; init exits
                      (end of file)              execve closed the socket: the command runs

`start` does not use this channel, since `create` and `start` may be two commands. It writes a byte
to start.fifo, which init opened before pivot_root(2) put the host's files out of reach.

Source: unix(7) SOCK_SEQPACKET and SCM_RIGHTS; OCI runtime-spec "Lifecycle".
"""

from __future__ import annotations

import _socket
import os
import select

from minidock import errors, jsontext
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.kernel.op import Journal

GO = b"G"
STEP = b"T"  # a request and its answer
RECORD = b"J"
RUN_HOOKS = b"H"
CONSOLE = b"C"
PID = b"P"
READY = b"R"
FAILED = b"F"

MESSAGE_BYTES = 256 * 1024
RESPONSE_SECONDS = 120  # longer than any act of a living init takes


class NoResponse(MinidockError):
    """The other side has sent no message for longer than any act takes."""


class Channel:
    """One end of the pair."""

    def __init__(self, end: _socket.socket) -> None:
        self.socket = end
        self.console: int | None = None
        self.pid = 0
        self._go_received = False  # GO came while await_turn waited for STEP

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    # runtime's side

    def send_go(self) -> None:
        self.socket.send(GO)

    def receive(self, journal: Journal | None, *, wait: bool = True) -> str:
        """Wait for the next message, and relay journal records on the way.

        Returns "ready", "hooks", "console" (stored in self.console), "pid" (in self.pid) or
        "closed".
        wait: if false, raises BlockingIOError when no message has arrived.
        Raises init's error, rebuilt from FAILED; the error of the journal's step gate; and
        MinidockError where no message comes for long: the process may be stopped (SIGSTOP).
        """
        flags = _socket.MSG_CMSG_CLOEXEC | (0 if wait else _socket.MSG_DONTWAIT)
        while True:
            if wait:
                self._await_message()
            data, ancillary, _, _ = self.socket.recvmsg(MESSAGE_BYTES, 64, flags)
            if not data:  # without waiting, the kernel may show the end before the last message
                data, ancillary, _, _ = self.socket.recvmsg(MESSAGE_BYTES, 64, flags)
            kind, body = data[:1], data[1:]
            if kind == RECORD:
                if journal is not None:
                    journal.relay(body.decode())
            elif kind == STEP:
                if journal is not None:
                    journal.await_turn()
                self._send_turn()
            elif kind == CONSOLE:
                self.console = _descriptor_in(ancillary)
                return "console"
            elif kind == PID:
                self.pid = int(body)
                return "pid"
            elif kind == READY:
                return "ready"
            elif kind == RUN_HOOKS:
                return "hooks"
            elif kind == FAILED:
                raise rebuild_error(jsontext.loads(body))
            else:
                return "closed"

    def relay_rest(self, journal: Journal) -> None:
        """Relay the journal records that a killed process had sent; drop all other messages.

        Every holder of the other end has exited, so no further message can arrive.
        """
        while self.has_message():
            data, ancillary, _, _ = self.socket.recvmsg(MESSAGE_BYTES, 64, _socket.MSG_CMSG_CLOEXEC)
            if not data:
                return
            if data[:1] == RECORD:
                journal.relay(data[1:].decode())
            elif ancillary:
                os.close(_descriptor_in(ancillary))

    def has_message(self) -> bool:
        """Whether `receive` returns at once: a message or the end of file is there."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def _await_message(self) -> None:
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        if not poll.poll(RESPONSE_SECONDS * 1000):
            raise NoResponse(
                f"the process in the container sent no message for {RESPONSE_SECONDS} s",
                hint="is it stopped? `ps -eo pid,stat,args` shows T for a process that is",
            )

    def _send_turn(self) -> None:
        try:
            self.socket.send(STEP)
        except OSError:
            pass  # it was killed while it waited; end of file follows

    # init's side

    def await_go(self) -> None:
        """Wait for GO.

        Raises EOFError if the runtime died: init then exits, since nobody reads its report.
        """
        if self._go_received:
            self._go_received = False
        elif self._read() != GO:
            raise EOFError

    def await_turn(self) -> None:
        """Wait until the op announced last may be performed.

        The container's seccomp filter may forbid write(2): then init neither reports nor waits.
        Raises EOFError or ConnectionResetError if the runtime died.
        """
        try:
            self._write(STEP)
        except OSError:
            return
        while (message := self._read()) != STEP:
            if message != GO:
                raise EOFError
            self._go_received = True  # the runtime sends it unasked, once, after the clone

    # read(2) and write(2), since the container's seccomp filter may forbid sendto(2).

    def _read(self) -> bytes:
        return os.read(self.socket.fileno(), 16)

    def _write(self, message: bytes) -> None:
        os.write(self.socket.fileno(), message)

    def send_record(self, record: str) -> None:
        """Send a journal record to the runtime; lost if that has exited (as `create` has)."""
        try:
            self._write(RECORD + record.encode())
        except OSError:
            pass

    def await_hooks(self) -> None:
        """Have the runtime run the host's hooks, which may inspect the container's mounts."""
        self._write(RUN_HOOKS)
        self.await_go()

    def send_ready(self) -> None:
        self._write(READY)

    def send_pid(self, pid: int) -> None:
        self._write(PID + b"%d" % pid)

    def send_console(self, master: int) -> None:
        send_descriptor(self.socket, CONSOLE, master)

    def send_failure(self, error: BaseException) -> None:
        self._write(FAILED + jsontext.dumps(describe_error(error)).encode())


def pair() -> tuple[Channel, Channel]:
    """The two ends: the runtime's, and init's."""
    kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, kind)
    return Channel(ours), Channel(theirs)


def send_descriptor(socket: _socket.socket, message: bytes, descriptor: int) -> None:
    """Pass an open file to the process at the other end (SCM_RIGHTS)."""
    rights = descriptor.to_bytes(4, "little")
    socket.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])


def _descriptor_in(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The descriptor that came with a message: our own number of the same open file."""
    (_, _, rights), *_ = ancillary
    return int.from_bytes(rights[:4], "little")


def describe_error(error: BaseException) -> dict[str, object]:
    """An error as JSON, for another process to raise. attributes: such as hint, errno and path."""
    return {
        "kind": type(error).__name__,
        "message": str(error) or type(error).__name__,
        "attributes": {
            name: value for name, value in vars(error).items() if isinstance(value, str | int)
        },
    }


def rebuild_error(described: dict[str, Any]) -> errors.MinidockError:
    """The error that another process described."""
    kind = getattr(errors, str(described["kind"]), errors.MinidockError)
    if not (isinstance(kind, type) and issubclass(kind, errors.MinidockError)):
        kind = errors.MinidockError
    error = kind.__new__(kind)  # without its own arguments, which differ from kind to kind
    errors.MinidockError.__init__(error, str(described["message"]))
    vars(error).update(described["attributes"])
    return error
