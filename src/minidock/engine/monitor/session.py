"""A session: one process of a container, its streams, and the commands that are attached to it.

    container's stdout ──► monitor ──► log, and each attached command      (a pipe, or the terminal)
    container's stdin  ◄── monitor ◄── an attached command

No call blocks. If an attached command reads slowly, the monitor stops reading from the container:
the pipe fills, and the writer waits, as in a shell's pipeline (and as with Docker, whose daemon
stops a megabyte later). If the process reads its stdin slowly, the command stops reading its own.
Buffer sizes: protocol.py, "Flow control".
"""

from __future__ import annotations

import errno
import os
import time

from minidock.engine.monitor import protocol
from minidock.engine.monitor.poll_loop import READABLE, WRITABLE, Loop, ended
from minidock.kernel import process, terminal
from minidock.kernel.null import open_null
from minidock.runtime import children
from minidock.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from minidock.engine.monitor.client import Client
    from minidock.engine.monitor.poll_timer import Timer

    class Log(Protocol):
        """A sink for the output of a process."""

        def write(self, stream: str, data: bytes, /) -> None: ...


_TRACER_SECONDS = 1.0  # for a tracer to reap the process first
_RETRY_MS = 20
_LAST_READS = 64  # together more than a pipe's capacity
_KINDS = {"stdout": protocol.STDOUT, "stderr": protocol.STDERR}


class Pipes:
    """The three pipes of a process without a terminal.

    theirs: the process's ends, for the clone. stdin, stdout, stderr: ours; stdin is -1 if the
    process gets /dev/null.
    """

    def __init__(self, *, stdin: bool) -> None:
        if stdin:
            reading, self.stdin = os.pipe2(os.O_CLOEXEC)
        else:
            reading, self.stdin = open_null(os.O_RDONLY), -1
        self.stdout, writing = os.pipe2(os.O_CLOEXEC)
        self.stderr, errors = os.pipe2(os.O_CLOEXEC)
        self.theirs = (reading, writing, errors)

    def close_theirs(self) -> None:
        """Close the process's ends after the clone, so that its exit is an end of file."""
        for descriptor in self.theirs:
            os.close(descriptor)

    def close(self) -> None:
        """Close all ends: the clone failed."""
        for descriptor in (*self.theirs, self.stdin, self.stdout, self.stderr):
            if descriptor >= 0:
                os.close(descriptor)


class Session:
    """One process and its streams.

    console: the terminal's master, or None with pipes. log: gets a copy of the output. on_end:
    called once the process has exited and its output is drained. end_with_client: kill the process
    when its client disconnects.
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
        self._stdin_backlog: list[tuple[Client, memoryview]] = []
        self._stdin_ends = False
        self._paused = False
        self.outputs: dict[int, str] = {}
        self._open_streams(pipes)
        self._timer: Timer | None = None
        self._tracer_deadline = 0.0
        loop.watch(self.pidfd, READABLE, lambda events: self._on_exit())

    def _open_streams(self, pipes: Pipes | None) -> None:
        """Watch the process's output; no read or write of its streams may block."""
        if self.console is not None:
            self._stdin = self.console
            self.outputs[self.console] = "stdout"
        elif pipes is not None:
            pipes.close_theirs()
            self._stdin = pipes.stdin
            self.outputs = {pipes.stdout: "stdout", pipes.stderr: "stderr"}
            if pipes.stdin >= 0:
                os.set_blocking(pipes.stdin, False)
        for fd in self.outputs:
            os.set_blocking(fd, False)
            self.loop.watch(fd, READABLE, self._reader(fd))

    # The clients

    def join(self, client: Client) -> None:
        """Attach a command."""
        client.session = self
        client.reset_window()
        self.clients.append(client)

    def leave(self, client: Client) -> None:
        """Detach a command, or one that has died."""
        if client in self.clients:
            self.clients.remove(client)
            if client.stdin and self._close_stdin_with_client:
                self.end_stdin()
            if self._end_with_client and self.pidfd >= 0:
                process.send_signal(self.pidfd, SIGKILL, pid=self.pid)
            self.pace()

    def handle(self, client: Client, packet: bytes) -> None:
        """A message of an attached command."""
        kind = packet[:1]
        if kind == protocol.STDIN and client.stdin:
            self._stdin_backlog.append((client, memoryview(packet)[1:]))
            self._feed()
        elif kind == protocol.STDIN_END and client.stdin:
            if self._close_stdin_with_client and self.console is None:
                self._stdin_ends = True
                self._feed()
        elif kind == protocol.RESIZE and self.console is not None:
            size = protocol.content_of(packet)
            terminal.set_size(self.console, rows=size["rows"], columns=size["columns"])
        elif kind == protocol.SIGNAL and self.pidfd >= 0:
            process.send_signal(self.pidfd, protocol.content_of(packet)["signal"], pid=self.pid)

    def pace(self) -> None:
        """Read the process's output only while every attached command has room for it."""
        self._paused = any(client.window_is_full for client in self.clients)
        for fd in self.outputs:
            events = 0 if self._paused else READABLE
            if fd == self.console and self._stdin_backlog:
                events |= WRITABLE
            self.loop.change(fd, events)

    # stdin

    def end_stdin(self) -> None:
        """Close the process's stdin once all queued data is written."""
        if self.console is None:
            self._stdin_ends = True
            self._feed()

    def _feed(self) -> None:
        """Write queued data to the process's stdin, without blocking."""
        try:
            while self._stdin_backlog and self._stdin >= 0:
                client, data = self._stdin_backlog[0]
                written = os.write(self._stdin, data)
                self._acknowledge(written)
        except BlockingIOError:
            pass
        except OSError:  # EPIPE: the process has closed its stdin
            if self.console is None:
                self._close_stdin()
            self._discard_stdin()
        if self._stdin < 0:
            self._discard_stdin()
        if self.console is not None:
            self.pace()
        elif self._stdin_backlog and not self.loop.watches(self._stdin):
            self.loop.watch(self._stdin, WRITABLE, lambda events: self._feed())
        elif not self._stdin_backlog and self._stdin >= 0:
            self.loop.forget(self._stdin)
            if self._stdin_ends:
                self._close_stdin()

    def _acknowledge(self, written: int) -> None:
        client, data = self._stdin_backlog[0]
        if written == len(data):
            self._stdin_backlog.pop(0)
        else:
            self._stdin_backlog[0] = client, data[written:]
        client.acknowledge(written)

    def _discard_stdin(self) -> None:
        while self._stdin_backlog:
            self._acknowledge(len(self._stdin_backlog[0][1]))

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
        """Read one stream once and pass the data on; returns whether there may be more."""
        try:
            data = os.read(fd, protocol.DATA_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: the terminal's last process has gone
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
                client.send_data(_KINDS[name], data)
        if self._paused != any(client.window_is_full for client in self.clients):
            self.pace()
        return True

    def _close_output(self, fd: int) -> None:
        self.loop.forget(fd)
        if self.outputs.pop(fd, None) is not None and fd != self.console:
            os.close(fd)

    # exit

    def _on_exit(self) -> None:
        """Reap the process; do not wait for a stopped tracer."""
        self.loop.forget(self.pidfd)
        status = children.reap(self.pid)
        if status is not None:
            self._end(status)
        elif self._tracer_deadline and time.monotonic() > self._tracer_deadline:
            self._end(children.zombie_status(self.pid))
            children.reap_eventually(self.pid)
        else:
            from minidock.engine.monitor.poll_timer import Timer  # seldom needed

            self._tracer_deadline = self._tracer_deadline or time.monotonic() + _TRACER_SECONDS
            self._timer = Timer(self.loop, _RETRY_MS, self._on_exit)

    def reap(self) -> None:
        """Wait for the killed process to exit."""
        status = children.reap(self.pid, seconds=_TRACER_SECONDS)
        if status is None:
            children.reap_eventually(self.pid)
        self._end(SIGKILL if status is None else status)

    def _end(self, status: int) -> None:
        """Save the exit code, and drain the output."""
        code = os.waitstatus_to_exitcode(status)
        self.exit_code = 128 - code if code < 0 else code
        if self._timer is not None:
            self._timer.stop()
        self.loop.forget(self.pidfd)
        os.close(self.pidfd)
        self.pidfd = -1
        for fd in list(self.outputs):
            for _ in range(_LAST_READS):  # a child may keep writing forever
                if not self._read(fd):
                    break
            self._close_output(fd)
        self._close_stdin()
        if self.console is not None:
            self.loop.forget(self.console)
            os.close(self.console)
            self._stdin = -1
        self._on_end(self)
