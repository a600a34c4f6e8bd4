"""Save the result of a launch: the running state, the error, or a traceback of the monitor.

The container runs already, so the monitor serves it meanwhile. The document must be on disk before
STARTED is sent, and another process may have it locked; so a child task saves it (child_task.py). A
`--rm` container needs no fsync(2), so its document is saved directly unless it is locked.
"""

from __future__ import annotations

import os

from minidock.document import open_regular
from minidock.engine.container.containers import save_running
from minidock.engine.container.removal import remove_owned
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
    """Save that a container runs; the loop serves it meanwhile.

    An error undoes the run.
    """
    with UndoOnError() as undo:
        undo.callback(run.clean_up)
        if not (container.is_temporary and _save_now(container)):
            _save_in_child(loop, container)


def _save_now(container: Container) -> bool:
    """Save the document; returns False if another process has it locked."""
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
    from minidock.engine.monitor.child_task import ChildTask  # seldom with --rm

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
    """Save why a container did not start; remove it with --rm or after ABORT.

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
    """Redirect the monitor's stderr to monitor.log in the container's directory."""
    if os.path.isdir(home):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        os.dup2(os.open(f"{home}/monitor.log", flags, 0o600), 2)
