"""A student's program while it runs, and its result when it has ended.

Its output goes to files in memory (memfd_create(2)), not to pipes: the grader does not have to read
along, RLIMIT_FSIZE limits a flood, and a process that outlives the program does not delay the
grader by an open pipe.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass

from minidock.errors import MinidockError
from minidock.teach.lab.adopted_children import STARTED_PIDS
from minidock.teach.lab.failure import scale_timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PAUSE_SECONDS = 0.05
_MAX_SHOWN_BYTES = 1 << 20  # of its output, for an exam


@dataclass(frozen=True)
class ProgramResult:
    """The result of a program.

    exit_code: as in a shell, 128 + N if signal N killed it. output, errors: stdout and stderr, the
    first MiB. seconds: since its start. timed_out: the grader killed it.
    """

    exit_code: int
    output: str
    errors: str
    seconds: float
    timed_out: bool

    def summary(self) -> str:
        """A phrase for Failure: the exit code and the last line of its output."""
        if self.timed_out:
            return f"still running after {self.seconds:.0f} s"
        lines = (self.errors.strip() or self.output.strip()).splitlines()
        return f"exit code {self.exit_code}" + (f": {lines[-1][:200]}" if lines else "")


class Program:
    """A running program; `pid` is its pid on the host."""

    def __init__(
        self, pid: int, output: int, errors: int, *, end_session: Callable[[int], None]
    ) -> None:
        self.pid = pid
        STARTED_PIDS.add(pid)
        self._pidfd = os.pidfd_open(pid)
        self._output, self._errors = output, errors
        self._end_session = end_session
        self._started = time.monotonic()
        self._result: ProgramResult | None = None

    @property
    def output(self) -> str:
        """Its output so far."""
        return _text(self._output)

    @property
    def errors(self) -> str:
        """Its output on stderr so far."""
        return _text(self._errors)

    def poll(self) -> ProgramResult | None:
        """Its result; None while it runs."""
        if self._result is None and self._has_exited(0):
            self._reap()
        return self._result

    def wait(self, seconds: float = 10) -> ProgramResult:
        """Wait for its end; kill it after these seconds of the reference machine."""
        if self._result is None:
            if self._has_exited(scale_timeout(seconds)):
                self._reap()
            else:
                self.kill()
        assert self._result is not None
        return self._result

    def signal(self, number: int) -> None:
        """Send the program a signal; does nothing if it has ended."""
        if self._result is None:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return

    def kill(self) -> None:
        """SIGKILL it and its whole session, at a limit of the grader."""
        if self._result is not None:
            return
        deadline = time.monotonic() + scale_timeout(5)
        while not self._has_exited(0):
            self.signal(signal.SIGKILL)
            self._end_session(self.pid)
            if not self._has_exited(_PAUSE_SECONDS) and time.monotonic() > deadline:
                raise MinidockError(f"process {self.pid}, the student's program, does not die")
        self._end_session(self.pid)
        self._reap(timed_out=True)

    def close(self) -> None:
        """Close its descriptors; it has ended."""
        for descriptor in (self._pidfd, self._output, self._errors):
            os.close(descriptor)

    def _has_exited(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(int(seconds * 1000)))

    def _reap(self, *, timed_out: bool = False) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        STARTED_PIDS.discard(self.pid)
        self._result = ProgramResult(
            code if code >= 0 else 128 - code,
            self.output,
            self.errors,
            time.monotonic() - self._started,
            timed_out,
        )


@contextmanager
def streams_in_memory(text: str) -> Iterator[tuple[int, int, int]]:
    """Create stdin with this text, stdout and stderr for a program that the block starts.

    stdout and stderr stay open for `Program`; they are closed if the block raises.
    """
    streams = _create_input_file(text), _create_output_file("stdout"), _create_output_file("stderr")
    try:
        yield streams
    except BaseException:
        os.close(streams[1])
        os.close(streams[2])
        raise
    finally:
        os.close(streams[0])


def _create_output_file(name: str) -> int:
    fd = os.memfd_create(name)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
    return fd


def _create_input_file(text: str) -> int:
    fd = os.memfd_create("stdin")
    os.write(fd, text.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _text(fd: int) -> str:
    return os.pread(fd, _MAX_SHOWN_BYTES, 0).decode(errors="replace")
