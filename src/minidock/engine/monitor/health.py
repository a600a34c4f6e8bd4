"""Health checks: a command that the monitor runs in its container at intervals.

    starting ──exit code 0──► healthy ◄──0── unhealthy
        └────── --health-retries failures in a row ──────┘▲ from healthy too

In the start period failures do not count, and one success ends it. The document keeps the last five
results, with the first 4096 bytes of output. A check that exceeds the timeout is killed and counts
as failed. No check runs while the container is paused.

Ops of checks go to a journal of their own (store/stories.py); their events are Docker's.

Source: moby daemon/health.go; docs.docker.com/reference/dockerfile "HEALTHCHECK".
"""

from __future__ import annotations

import time

from minidock.engine.container.containers import Container
from minidock.engine.container.events import emit_container
from minidock.engine.monitor.child_task import ChildTask
from minidock.engine.monitor.exec_process import enter
from minidock.engine.monitor.exec_sessions import ExecEvents
from minidock.engine.monitor.pending_exec import PendingExec
from minidock.engine.monitor.poll_loop import Loop
from minidock.engine.monitor.poll_timer import Timer
from minidock.engine.monitor.session import Pipes, Session
from minidock.engine.store.stories import recording_story
from minidock.engine.store.timestamps import timestamp
from minidock.errors import MinidockError, NotFound
from minidock.kernel.process import send_signal
from minidock.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.document_types.container import ContainerConfig, HealthResult, HealthStatus
    from minidock.runtime.exec import ExecProcess

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
_INTERVAL_NS = _TIMEOUT_NS = 30_000_000_000
_START_INTERVAL_NS = 5_000_000_000
_RETRIES = 3
_LOG_ENTRIES = 5
_OUTPUT_BYTES = 4096
_NOT_RUN = -1


def command_of(config: ContainerConfig) -> list[str]:
    """A container's check as argv; empty without one. config: Docker's container config."""
    kind, *words = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if kind == "CMD":
        return words
    if kind == "CMD-SHELL" and words:
        return [*(config.get("Shell") or ["/bin/sh", "-c"]), words[0]]
    return []


class Health:
    """The health checks of one run of a container."""

    def __init__(self, loop: Loop, container: Container, command: list[str]) -> None:
        asked = container.config["Healthcheck"] or {}
        self._loop = loop
        self._container = container
        self._command = command
        self._interval_ns = asked.get("Interval") or _INTERVAL_NS
        self._start_interval_ns = asked.get("StartInterval") or _START_INTERVAL_NS
        self._start_period_ns = asked.get("StartPeriod") or 0
        self._timeout_ns = asked.get("Timeout") or _TIMEOUT_NS
        self._retries = asked.get("Retries") or _RETRIES
        self._began = time.monotonic_ns()
        self._run: str = container.state["StartedAt"]
        self._status = STARTING
        self._failing_streak = 0
        self._task: ChildTask | None = None
        self._check: _Check | None = None
        self._timer: Timer | None = None
        self._wait()

    def end(self) -> None:
        """End the checks with the run."""
        self._stop_waiting()
        if self._check is not None:
            self._check.abandon()
            self._check = None
        if self._task is not None:
            self._task.abandon()
            self._task = None

    def _wait(self) -> None:
        """Schedule the next check; --health-start-interval applies in the start period."""
        starts = self._status == STARTING and self._in_start_period(time.monotonic_ns())
        interval_ns = self._start_interval_ns if starts else self._interval_ns
        self._timer = Timer(self._loop, interval_ns // 1_000_000, self._begin)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.stop()

    def _begin(self) -> None:
        self._stop_waiting()
        try:
            self._container.reload()
        except NotFound:
            return
        if self._container.state["Paused"]:
            self._wait()
            return
        self._check = _Check(self._loop, self._container, self._command, self._timeout_ns)
        self._check.run(self._save_result)

    def _in_start_period(self, moment_ns: int) -> bool:
        return moment_ns - self._began < self._start_period_ns

    def _save_result(self, check: _Check) -> None:
        """Save the result of a check, and update the status."""
        self._check = None
        before = self._status
        if check.exit_code == 0:
            self._failing_streak, self._status = 0, HEALTHY
        elif not (before == STARTING and self._in_start_period(check.began)):
            self._failing_streak += 1
            if self._failing_streak >= self._retries:
                self._status = UNHEALTHY
        now: HealthStatus = {"Status": self._status, "FailingStreak": self._failing_streak}
        result = check.result()

        def schedule_next(error: MinidockError | None = None) -> None:
            """Schedule the next check, also after an error: the container is being removed, the
            disk is full, or its lock is held."""
            self._task = None
            if self._status != before:
                emit_container(self._container, f"health_status: {self._status}")
            self._wait()

        self._task = ChildTask(
            self._loop,
            lambda: _save(self._container, self._run, now, result),
            done=schedule_next,
            failed=schedule_next,
        )


def _save(container: Container, started_at: str, now: HealthStatus, result: HealthResult) -> None:
    """Add a check's result to the document, unless another run has begun."""
    with container.editing():
        container.reload()
        if container.state["StartedAt"] == started_at:
            health = container.state["Health"]
            health.update({**now, "Log": [*health["Log"], result][-_LOG_ENTRIES:]})
            container.save()


class _Check:
    """One check: a process in the container, its output, and a timeout."""

    def __init__(
        self, loop: Loop, container: Container, command: list[str], timeout_ns: int
    ) -> None:
        self._loop = loop
        self._container = container
        self._command = command
        self._timeout_ns = timeout_ns
        self._output = b""
        self._timed_out = False
        self._timer: Timer | None = None
        self._pending: PendingExec | None = None
        self._session: Session | None = None
        self._on_end: Callable[[_Check], None] | None = None
        self.exit_code = _NOT_RUN
        self.began = time.monotonic_ns()
        self._start = self._end = timestamp()

    def run(self, on_end: Callable[[_Check], None]) -> None:
        """Start the check; on_end is called once it has ended or failed to start."""
        self._on_end = on_end
        self._events = ExecEvents(self._container, self._command)
        pipes = Pipes(stdin=False)
        try:
            with self._telling():
                entering = enter(self._container, {"Cmd": self._command}, pipes.theirs, size=None)
        except MinidockError as error:
            self._failed_to_start(pipes, error)
            return
        self._timer = Timer(self._loop, self._timeout_ns // 1_000_000, self._kill)
        self._pending = PendingExec(
            self._loop,
            entering,
            entered=lambda child: self._entered(pipes, child),
            failed=lambda error: self._failed_to_start(pipes, error),
        )

    def _entered(self, pipes: Pipes, child: ExecProcess) -> None:
        self._pending = None
        self._session = Session(
            self._loop, pid=child.pid, console=None, pipes=pipes, log=self,
            close_stdin_with_client=False, on_end=self._ended,
        )  # fmt: skip

    def _failed_to_start(self, pipes: Pipes, error: MinidockError) -> None:
        self._pending = None
        pipes.close()
        if not self._timed_out:
            self.write("stderr", str(error).encode())
        self._finish()

    def write(self, stream: str, data: bytes) -> None:
        """Keep the beginning of the output (as a session's log)."""
        self._output += data[: _OUTPUT_BYTES - len(self._output)]

    def result(self) -> HealthResult:
        """The result, as `inspect` shows it."""
        output = self._output.decode("utf-8", "replace")
        if self._timed_out:
            suffix = f": {output}" if output else ""
            output = f"Health check exceeded timeout ({_seconds(self._timeout_ns)}){suffix}"
        return {
            "Start": self._start, "End": self._end, "ExitCode": self.exit_code, "Output": output,
        }  # fmt: skip

    def _telling(self) -> recording_story:
        return recording_story(self._container.paths.health_journal, f"health {self._start}")

    def abandon(self) -> None:
        """Drop the check, since its container has ended; on_end is not called."""
        self._on_end = None
        if self._pending is not None:
            self._pending.abandon()
        elif self._session is not None:
            self._session.reap()

    def _kill(self) -> None:
        """Kill the check at its timeout; it counts as failed."""
        self._timed_out = True
        if self._pending is not None:
            self._pending.end()
        elif self._session is not None and self._session.pidfd >= 0:
            with self._telling():
                send_signal(self._session.pidfd, SIGKILL, pid=self._session.pid)

    def _ended(self, session: Session) -> None:
        self.exit_code = _NOT_RUN if self._timed_out else session.exit_code
        self._events.emit_die(session.exit_code)
        self._finish()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._end = timestamp()
        if self._on_end is not None:
            self._on_end(self)


def _seconds(nanoseconds: int) -> str:
    """A duration as Go prints it: "1s", "1m30s", "500ms"."""
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1_000_000:g}ms"
    minutes, rest = divmod(nanoseconds / 1_000_000_000, 60)
    hours, minutes = divmod(int(minutes), 60)
    prefix = f"{hours}h" if hours else ""
    return f"{prefix}{minutes}m{rest:g}s" if minutes or hours else f"{rest:g}s"
