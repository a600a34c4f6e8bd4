"""A session: one process of a container, its streams, and the commands that are attached to it.

    container's stdout ──► monitor ──► log, and each attached command      (a pipe, or the terminal)
    container's stdin  ◄── monitor ◄── an attached command

Nobody is waited for with a blocking call. A command that reads slowly makes the monitor read the
container slowly: the pipe fills, and the writer waits, as it would in a shell's pipeline.
"""

from __future__ import annotations

import errno
import os

from minidock.engine.monitor import wire
from minidock.engine.monitor.loop import READABLE, WRITABLE, Loop, ended
from minidock.kernel import process, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any, Protocol

    class Log(Protocol):
        """Where what a process says is kept."""

        def write(self, stream: str, data: bytes, /) -> None: ...


_BACKLOG_BYTES = 256 * 1024
_SIGKILL = 9
_LAST_READS = 64  # together more than a pipe holds
_KINDS = {"stdout": b"o", "stderr": b"E"}


class Pipes:
    """The three pipes of a process without a terminal.

    theirs: its ends, for the clone. stdin, outputs: ours; stdin is -1 where it gets /dev/null.
    """

    def __init__(self, *, stdin: bool) -> None:
        if stdin:
            reading, self.stdin = os.pipe2(os.O_CLOEXEC)
        else:
            reading, self.stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
        self.stdout, writing = os.pipe2(os.O_CLOEXEC)
        self.stderr, errors = os.pipe2(os.O_CLOEXEC)
        self.theirs = (reading, writing, errors)

    def close_theirs(self) -> None:
        """After the clone: only the process holds its ends, so its end is seen."""
        for descriptor in self.theirs:
            os.close(descriptor)

    def close(self) -> None:
        """Give all of them up: there will be no process."""
        for descriptor in (*self.theirs, self.stdin, self.stdout, self.stderr):
            if descriptor >= 0:
                os.close(descriptor)


class Client:
    """A command at the other end of a connection.

    stdin, stdout, stderr: what it attached to.
    """

    def __init__(self, loop: Loop, socket: _socket.socket) -> None:
        self.loop = loop
        self.socket = socket
        self.session: Session | None = None
        self.stdin = self.stdout = self.stderr = False
        self.on_message: Callable[[Client, bytes], None] | None = None
        self._backlog: list[bytes] = []
        self._backlog_bytes = 0
        self.listening = True
        self._ends = False
        socket.setblocking(False)
        loop.watch(socket.fileno(), READABLE, self._ready)

    def wants(self, attach: dict[str, Any] | None) -> None:
        """Note which streams it attached to."""
        wanted = attach or {}
        self.stdin = bool(wanted.get("stdin"))
        self.stdout = bool(wanted.get("stdout"))
        self.stderr = bool(wanted.get("stderr"))

    @property
    def is_slow(self) -> bool:
        return self._backlog_bytes > _BACKLOG_BYTES

    def send(self, packet: bytes) -> None:
        """Send a message, now or when the command has room for it."""
        if self.socket.fileno() < 0:
            return
        self._backlog.append(packet)
        self._backlog_bytes += len(packet)
        self._flush()

    def finish(self) -> None:
        """End the connection once the command has taken what is waiting for it."""
        self._ends = True
        self.on_message = None
        if self.socket.fileno() >= 0:
            self._flush()

    @property
    def is_open(self) -> bool:
        return self.socket.fileno() >= 0

    def drain(self) -> None:
        """Send what is waiting, however long the command takes: the monitor is about to end."""
        if self.socket.fileno() < 0:
            return
        self.socket.setblocking(True)
        try:
            for packet in self._backlog:
                self.socket.send(packet)
        except OSError:
            pass  # it has gone; nobody is left to tell
        self._backlog.clear()
        self.close()

    def close(self) -> None:
        """End the connection, and its session's interest in it."""
        if self.socket.fileno() < 0:
            return
        self.loop.forget(self.socket.fileno())
        self.socket.close()
        self._backlog.clear()
        self._backlog_bytes = 0
        if self.session is not None:
            self.session.leave(self)

    def listen(self, *, on: bool) -> None:
        """Read from it, or let it wait: the process does not take its stdin as fast."""
        self.listening = on
        self._rewatch()

    def _flush(self) -> None:
        try:
            while self._backlog:
                self.socket.send(self._backlog[0])
                self._backlog_bytes -= len(self._backlog.pop(0))
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._ends and not self._backlog:
            self.close()
            return
        self._rewatch()
        if self.session is not None:
            self.session.pace()

    def _rewatch(self) -> None:
        events = (READABLE if self.listening else 0) | (WRITABLE if self._backlog else 0)
        self.loop.change(self.socket.fileno(), events)

    def _ready(self, events: int) -> None:
        if events & WRITABLE:
            self._flush()
        if self.socket.fileno() < 0 or not (events & READABLE or ended(events)):
            return
        try:
            packet = self.socket.recv(wire.MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self.close()
        elif self.on_message is not None:
            self.on_message(self, packet)


class Session:
    """One process and its streams.

    console: the terminal's master, or None; pipes: then these. log: where its words are kept.
    on_end: called once the process has ended and all that it said has been passed on.
    end_with_client: whoever waits for it is all that it is for, so it does not outlive that.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        pid: int,
        console: int | None,
        pipes: Pipes | None,
        log: Log | None,
        close_stdin_with_client: bool,
        on_end: Callable[[Session], None],
        end_with_client: bool = False,
    ) -> None:
        self.loop = loop
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.console = console
        self.log = log
        self.clients: list[Client] = []
        self.exit_code = -1
        self._on_end = on_end
        self._close_stdin_with_client = close_stdin_with_client
        self._end_with_client = end_with_client
        self._stdin_backlog = b""
        self._stdin_ends = False
        self.outputs: dict[int, str] = {}
        if console is not None:
            self._stdin = console
            self.outputs[console] = "stdout"
        elif pipes is not None:
            pipes.close_theirs()
            self._stdin = pipes.stdin
            self.outputs = {pipes.stdout: "stdout", pipes.stderr: "stderr"}
            if pipes.stdin >= 0:
                os.set_blocking(pipes.stdin, False)
        for fd in self.outputs:
            os.set_blocking(fd, False)
            loop.watch(fd, READABLE, self._reader(fd))
        loop.watch(self.pidfd, READABLE, lambda events: self.reap())

    # The clients

    def join(self, client: Client) -> None:
        """Attach a command."""
        client.session = self
        self.clients.append(client)

    def leave(self, client: Client) -> None:
        """A command has detached, or died."""
        if client in self.clients:
            self.clients.remove(client)
            if client.stdin and self._close_stdin_with_client:
                self.end_stdin()
            if self._end_with_client and self.pidfd >= 0:
                process.send_signal(self.pidfd, _SIGKILL, pid=self.pid)
            self.pace()

    def handle(self, client: Client, packet: bytes) -> None:
        """A message of an attached command."""
        kind = packet[:1]
        if kind == b"i" and client.stdin:
            self._stdin_backlog += packet[1:]
            self._feed()
        elif kind == b"e" and client.stdin:
            if self._close_stdin_with_client and self.console is None:
                self._stdin_ends = True
                self._feed()
        elif kind == b"r" and self.console is not None:
            size = wire.content_of(packet)
            terminal.set_size(self.console, rows=size["rows"], columns=size["columns"])
        elif kind == b"k" and self.pidfd >= 0:
            process.send_signal(self.pidfd, wire.content_of(packet)["signal"], pid=self.pid)

    def pace(self) -> None:
        """Read the process only as fast as every attached command takes it."""
        slow = any(client.is_slow for client in self.clients)
        for fd in self.outputs:
            self.loop.change(fd, self._events(fd, reading=not slow))

    def _events(self, fd: int, *, reading: bool) -> int:
        events = READABLE if reading else 0
        if fd == self.console and self._stdin_backlog:
            events |= WRITABLE
        return events

    # stdin

    def end_stdin(self) -> None:
        """Let the process read the end of its stdin, after what is still on its way."""
        if self.console is None:
            self._stdin_ends = True
            self._feed()

    def _feed(self) -> None:
        if self._stdin < 0:
            self._stdin_backlog = b""
            return
        try:
            while self._stdin_backlog:
                written = os.write(self._stdin, self._stdin_backlog)
                self._stdin_backlog = self._stdin_backlog[written:]
        except BlockingIOError:
            pass
        except OSError:  # EPIPE: the process reads no more; what is typed goes nowhere
            self._stdin_backlog = b""
            if self.console is None:
                self._close_stdin()
                return
        if self.console is not None:
            self.pace()
        elif self._stdin_backlog and not self.loop.watches(self._stdin):
            self.loop.watch(self._stdin, WRITABLE, lambda events: self._feed())
        elif not self._stdin_backlog:
            self.loop.forget(self._stdin)
            if self._stdin_ends:
                self._close_stdin()
        room = len(self._stdin_backlog) < _BACKLOG_BYTES
        for client in self.clients:
            if client.stdin and client.listening != room:
                client.listen(on=room)

    def _close_stdin(self) -> None:
        if self._stdin >= 0 and self.console is None:
            self.loop.forget(self._stdin)
            os.close(self._stdin)
            self._stdin = -1

    # stdout and stderr

    def _reader(self, fd: int) -> Callable[[int], None]:
        def ready(events: int) -> None:
            if events & WRITABLE:
                self._feed()
            if events & READABLE or ended(events):
                self._read(fd)

        return ready

    def _read(self, fd: int) -> bool:
        """Pass on what one stream has; returns whether there may be more."""
        try:
            data = os.read(fd, wire.DATA_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal whose last user has gone says EIO
                raise
            data = b""
        if not data:
            self._close_output(fd)
            return False
        name = self.outputs[fd]
        if self.log is not None:
            self.log.write(name, data)
        for client in list(self.clients):
            if client.stdout if name == "stdout" else client.stderr:
                client.send(_KINDS[name] + data)
        return True

    def _close_output(self, fd: int) -> None:
        self.loop.forget(fd)
        if self.outputs.pop(fd, None) is not None and fd != self.console:
            os.close(fd)

    # the end

    def reap(self) -> None:
        """The process has ended: take its exit code, and pass on the last that it said."""
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.exit_code = 128 - code if code < 0 else code
        self.loop.forget(self.pidfd)
        os.close(self.pidfd)
        self.pidfd = -1
        for fd in list(self.outputs):
            for _ in range(_LAST_READS):  # a child that it left behind may talk on for ever
                if not self._read(fd):
                    break
            self._close_output(fd)
        self._close_stdin()
        if self.console is not None:
            self.loop.forget(self.console)
            os.close(self.console)
        self._on_end(self)
