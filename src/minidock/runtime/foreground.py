"""Staying with a command until it has ended: its streams and signals pass through here.

    our stdin  ──► Relay ──► pipe or terminal ──► the command
    our stdout ◄── Relay ◄── pipe or terminal ◄── the command     (stderr likewise, with pipes)

The command never holds our own streams: whoever is root in a container could otherwise use what
stands behind them, such as the caller's terminal. One poll loop serves the relays, the signals
that we get (sent on to the command) and the pidfd that tells of its end.

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
    from typing import Any

    from minidock.runtime.console import HostTerminal
else:
    import _signal as signal  # without the enums, whose import costs 5 ms

CHUNK_BYTES = 65536
_PIPE_BUF = 4096  # what a pipe that is writable at all takes without blocking

# Not sent on: what cannot be caught, what tells of ourselves (a fault, a child), and what Go's
# runtime keeps for itself. A broken pipe is noticed when writing.
_NOT_FORWARDED = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG,
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS,
    signal.SIGABRT, signal.SIGXFSZ, 32, 33,
}  # fmt: skip


class Relay:
    """Bytes from one descriptor to another, in order; what does not fit yet waits here.

    owned: those of the two descriptors that are ours to close when it ends: then the command sees
    the end of its input, or that nobody reads its output any more.
    """

    def __init__(self, source: int, sink: int, *, owned: int) -> None:
        self.source = source
        self.sink = sink
        self.owned = owned
        self.waiting = b""
        self.ended = False

    def interest(self) -> tuple[int, int]:
        """The descriptor that this relay waits for, and whether to read or to write."""
        return (self.sink, select.POLLOUT) if self.waiting else (self.source, select.POLLIN)

    def step(self) -> None:
        """Read or write once; called when the descriptor is ready, and so does not block."""
        try:
            if self.waiting:
                self.waiting = self.waiting[os.write(self.sink, self.waiting[:_PIPE_BUF]) :]
                return
            self.waiting = os.read(self.source, CHUNK_BYTES)
            ended = not self.waiting
        except BlockingIOError:
            return  # somebody else was quicker
        except OSError as error:
            if error.errno not in (EIO, EPIPE):  # no user of the terminal, no reader of the pipe
                raise
            ended = True
        if ended:
            self.ended = True
            os.close(self.owned)


class Foreground:
    """The go-between of one command.

    stdio: what the command gets as 0, 1 and 2; None for a terminal, which is made inside.
    From here on, signals that we get wait for the command.
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

    def set_console_size(self, spec: dict[str, Any]) -> None:
        """Have the command's terminal made as large as ours: it may look before we are back.

        spec: OCI's "process".
        """
        if self._host is not None:
            rows, columns = self._host.size()
            spec["consoleSize"] = {"height": rows, "width": columns}

    def serve_until_exit(self, pid: int, pidfd: int, console: int | None) -> int:
        """Serve the command until it has ended; returns its exit code (128 + n for signal n)."""
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
        """Pass bytes and signals until the command has ended and all that it wrote has come."""
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
        """Hand on to the command what was sent to us, and the size of our terminal."""
        for number in self._signals.read():
            if number == signal.SIGWINCH and self._host is not None and console is not None:
                self._host.copy_size_to(console)
            else:
                process.send_signal(pidfd, number, pid=pid)


def _find_terminal() -> HostTerminal:
    from minidock.runtime.console import HostTerminal

    return HostTerminal.find()


def _forwarded_signals() -> set[int]:
    """The signals that go on to the command."""
    return {int(number) for number in signal.valid_signals()} - _NOT_FORWARDED


class _SignalPipe:
    """Our signals as bytes in a pipe, so that poll(2) hears of them."""

    def __init__(self) -> None:
        self.descriptor, sink = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
        for number in _forwarded_signals():
            signal.signal(number, _note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _forwarded_signals())

    def read(self) -> bytes:
        """The numbers of the signals that came."""
        return os.read(self.descriptor, 512)


def _note(number: int, frame: FrameType | None) -> None:
    """Python has put the number into the mailbox already."""


def exit_code(status: int) -> int:
    """A wait status as a shell's exit code."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
