"""Noting what became of a launch: that the container runs, why it does not, what went wrong in us.

It runs already when that is noted, so it is served meanwhile. Its document must be on the disk
before anybody is told that it runs, and another process may be editing it. So a child does it
(child_task.py); but not for a container that need not outlive a power cut: nothing waits for a disk
there, and the lock is seldom taken.
"""

from __future__ import annotations

import os

from minidock.document import open_regular
from minidock.engine.container.removal import remove_owned
from minidock.engine.monitor.launch import save_running
from minidock.errors import Aborted, CommandNotFound, CommandNotRunnable
from minidock.kernel import flock
from minidock.undo import UndoOnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container
    from minidock.engine.monitor.poll_loop import Loop
    from minidock.engine.monitor.run import Run
    from minidock.errors import MinidockError


def record_running(loop: Loop, container: Container, run: Run) -> None:
    """Write down that a container runs, turning the loop meanwhile.

    Raises what kept us from it; then nothing of the run is left.
    """
    with UndoOnError() as undo:
        undo.callback(run.clean_up)
        if not (container.is_temporary and _save_now(container)):
            _save_in_child(loop, container)


def _save_now(container: Container) -> bool:
    """Returns False where somebody else edits the document just now."""
    path = container.paths.lock
    fd = open_regular(path)
    try:
        if not flock.try_lock(fd):
            return False
        with flock.held(path):
            save_running(container)
    finally:
        os.close(fd)
    return True


def _save_in_child(loop: Loop, container: Container) -> None:
    from minidock.engine.monitor.child_task import ChildTask  # `run --rm` does without

    outcome: list[MinidockError | None] = []
    ChildTask(
        loop,
        lambda: save_running(container),
        done=lambda: outcome.append(None),
        failed=outcome.append,
    )
    while not outcome:
        loop.turn()
    if outcome[0] is not None:
        raise outcome[0]
    container.reload()


def record_failure(container: Container, error: MinidockError) -> None:
    """Write down why a container did not start; with --rm, or given up, it goes.

    Raises NotFound, OSError, LockTimeout.
    """
    if container.host_config.get("AutoRemove") or isinstance(error, Aborted):
        remove_owned(container, volumes=True)
        return
    of_command = isinstance(error, (CommandNotFound, CommandNotRunnable))
    container.state["ExitCode"] = error.exit_code if of_command else 128
    container.state["Error"] = str(error)
    container.save()


def log_traceback(home: str) -> None:
    """A monitor has no stderr; what went wrong in it is kept beside its container."""
    if os.path.isdir(home):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        os.dup2(os.open(f"{home}/monitor.log", flags, 0o600), 2)
