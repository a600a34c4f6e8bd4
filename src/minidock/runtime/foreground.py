"""Run a command in the foreground: relay its streams and forward signals until it exits.

    our stdin  ──► Relay ──► pipe or terminal ──► the command
    our stdout ◄── Relay ◄── pipe or terminal ◄── the command     (stderr likewise, with pipes)

The command never gets our own streams: root in a container could otherwise use the files behind
them, such as the caller's terminal. One poll loop serves the relays, the received signals
(forwarded to the command) and the pidfd, which becomes readable when the command exits.

Source: poll(2), pidfd_open(2), signal(7); runc-run(8).
"""

from __future__ import annotations

import os
import select
from errno import EIO, EPIPE

from minidock.kernel import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import FrameType

    from minidock.document_types.runtime_spec import Process
    from minidock.runtime.console import HostTerminal
else:
    import _signal as signal  # without the enums, whose import costs 5 ms

CHUNK_BYTES = 65536
_PIPE_BUF = 4096  # a pipe that poll(2) calls writable takes this without blocking

# Not forwarded: uncatchable signals, faults, SIGCHLD, and SIGURG, which Go's runtime sends to
# itself. A broken pipe shows up as EPIPE.
_NOT_FORWARDED = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG,
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS,
    signal.SIGABRT, signal.SIGXFSZ, 32, 33,
}  # fmt: skip


class Relay:
    """Copies bytes from one descriptor to another; buffers what does not fit yet.

    owned: the descriptor to close at the end: the command then sees the end of its input, or EPIPE
    on its output.
    """

    def __init__(self, source: int, sink: int, *, owned: int) -> None:
        self.source = source
        self.sink = sink
        self.owned = owned
        self.waiting = b""
        self.ended = False

    def interest(self) -> tuple[int, int]:
        """The descriptor to poll, and POLLIN or POLLOUT."""
        return (self.sink, select.POLLOUT) if self.waiting else (self.source, select.POLLIN)

    def step(self) -> None:
        """Read or write once, without blocking, when the descriptor is ready."""
        try:
            if self.waiting:
                self.waiting = self.waiting[os.write(self.sink, self.waiting[:_PIPE_BUF]) :]
                return
            self.waiting = os.read(self.source, CHUNK_BYTES)
            ended = not self.waiting
        except BlockingIOError:
            return  # another reader was faster
        except OSError as error:
            if error.errno not in (
                EIO,
                EPIPE,
            ):  # hung up, or no reader
                raise
            ended = True
        if ended:
            self.ended = True
            os.close(self.owned)


class Foreground:
    """A command in the foreground.

    stdio: what the command gets as 0, 1 and 2; None for a terminal, which init opens.
    Signals are blocked from here until `serve_until_exit` forwards them.
    """

    def __init__(self, *, terminal: bool) -> None:
        self.stdio: tuple[int, int, int] | None = None
        self._host = _find_terminal() if terminal else None
        self._relays: list[Relay] = []
        signal.pthread_sigmask(signal.SIG_BLOCK, _forwarded_signals())
        if not terminal:
            (in_read, in_write), (out_read, out_write), (err_read, err_write) = (
                os.pipe2(os.O_CLOEXEC) for _ in range(3)
            )
            os.set_blocking(in_write, False)
            self.stdio = (in_read, out_write, err_write)
            self._relays = [
                Relay(0, in_write, owned=in_write),
                Relay(out_read, 1, owned=out_read),
                Relay(err_read, 2, owned=err_read),
            ]

    def set_console_size(self, spec: Process) -> None:
        """Set the initial size of the command's terminal: the command may read it at once.

        spec: OCI's "process".
        """
        if self._host is not None:
            rows, columns = self._host.size()
            spec["consoleSize"] = {"height": rows, "width": columns}

    def serve_until_exit(self, pid: int, pidfd: int, console: int | None) -> int:
        """Serve the command until it exits; returns its exit code (128 + n for signal n)."""
        for descriptor in self.stdio or ():
            os.close(descriptor)
        self._signals = _SignalPipe()
        if self._host is None or console is None:
            self._serve(pid, pidfd, None)
            return exit_code(os.waitpid(pid, 0)[1])
        os.set_blocking(console, False)
        keys = os.dup(console)
        self._relays = [Relay(0, keys, owned=keys), Relay(console, 1, owned=console)]
        self._host.make_raw()
        try:
            self._host.copy_size_to(console)
            self._serve(pid, pidfd, console)
        finally:
            self._host.restore()
        return exit_code(os.waitpid(pid, 0)[1])

    def _serve(self, pid: int, pidfd: int, console: int | None) -> None:
        """Relay bytes and signals until the command has exited and its output is drained."""
        alive = True
        while alive or any(not relay.ended for relay in self._relays[1:]):
            poll = select.poll()
            serving: dict[int, Relay] = {}
            for relay in self._relays if alive else self._relays[1:]:
                if not relay.ended:
                    descriptor, events = relay.interest()
                    serving[descriptor] = relay
                    poll.register(descriptor, events)
            if alive:
                poll.register(pidfd, select.POLLIN)
                poll.register(self._signals.descriptor, select.POLLIN)
            for descriptor, _ in poll.poll():
                if descriptor == pidfd:
                    alive = False
                elif descriptor == self._signals.descriptor:
                    self._forward_signals(pid, pidfd, console)
                else:
                    serving[descriptor].step()

    def _forward_signals(self, pid: int, pidfd: int, console: int | None) -> None:
        """Forward received signals to the command; for SIGWINCH, copy our terminal's size."""
        for number in self._signals.read():
            if number == signal.SIGWINCH and self._host is not None and console is not None:
                self._host.copy_size_to(console)
            else:
                process.send_signal(pidfd, number, pid=pid)


def _find_terminal() -> HostTerminal:
    from minidock.runtime.console import HostTerminal

    return HostTerminal.find()


def _forwarded_signals() -> set[int]:
    """The signals that the command gets."""
    return {int(number) for number in signal.valid_signals()} - _NOT_FORWARDED


class _SignalPipe:
    """Received signals as bytes in a pipe, for poll(2)."""

    def __init__(self) -> None:
        self.descriptor, sink = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
        for number in _forwarded_signals():
            signal.signal(number, _note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _forwarded_signals())

    def read(self) -> bytes:
        """The numbers of the signals received."""
        return os.read(self.descriptor, 512)


def _note(number: int, frame: FrameType | None) -> None:
    """Python has already written the number to the pipe."""


def exit_code(status: int) -> int:
    """A wait status as a shell's exit code."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
