"""Start a container, on the command's side: spawn a monitor and send it the launch message.

`prepare_monitor` may be called before the container is known: a monitor's interpreter boots while
the command parses its command line. A monitor that gets no LAUNCH exits.
"""

from __future__ import annotations

import os

from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import wait_until_settled
from minidock.engine.monitor import protocol
from minidock.engine.monitor.attach import Attachment, MonitorConnection
from minidock.engine.store.journal import recording
from minidock.errors import Conflict, MinidockError
from minidock.kernel.process import spawn, start_time
from minidock.kernel.terminal import get_size
from minidock.paths import Store
from minidock.runtime import seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from minidock.document_types.message import LaunchRequest

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_prepared: tuple[_socket.socket, list[str]] | None = None


def prepare_monitor(store: Store) -> None:
    """Spawn a monitor for the container that this command is about to start."""
    global _prepared
    if _prepared is None:
        _prepared = spawn_monitor(store)


def monitor_environment(store: Store) -> list[str]:
    """NAME=value entries: a plain PATH, the caller's MINIDOCK_ variables, and its process.

    The pid and start time tell a repair whether the command still runs.
    """
    variables = {name: value for name, value in os.environ.items() if name[:9] == "MINIDOCK_"}
    variables["MINIDOCK_ROOT"] = store.root  # absolute; the caller's may be relative
    variables["MINIDOCK_COMMAND_PROCESS"] = f"{os.getpid()} {start_time(os.getpid())}"
    return [_PATH, *(f"{name}={value}" for name, value in variables.items())]


def spawn_monitor(store: Store) -> tuple[_socket.socket, list[str]]:
    """Spawn a monitor, which then waits for LAUNCH.

    It runs in a session of its own, in "/", and inherits only the socket.
    Returns our end of the socket, and the journal records of the spawn, which LAUNCH passes on to
    the container's journal.
    Raises KernelError if the interpreter cannot be sealed.
    """
    records: list[str] = []
    with recording(records.append):
        sealed = seal.sealed_interpreter(store.run)
        ours, theirs = protocol.pair()
        protocol.grow_buffer(ours)
        spawn(
            sealed,
            seal.command(sealed, "minidock.engine.monitor.main"),
            monitor_environment(store),
            control=theirs.fileno(),
        )
    theirs.close()
    return ours, records


def start(
    store: Store,
    reference: str,
    *,
    attach: Attachment | None,
    on_record: Callable[[str], None] | None = None,
    on_started: Callable[[], None] | None = None,
    on_step: Callable[[_socket.socket], bytes] | None = None,
    view: str = "",
) -> int | None:
    """Start a container. Without `attach`, returns None once it runs; with it, its exit code.

    on_record: gets the journal's records, as lines of JSON, as they happen. on_started: is called
    once, when the container runs. on_step: is asked before each act of the launch, with the
    connection, and answers protocol.CONTINUE or protocol.ABORT. view: a module whose `inspect` the
    monitor calls when only the container's command is missing (monitor/launch_view.py);
    on_record gets what that tells, too. A container that runs already is left alone, as Docker
    does; then `attach` attaches to it. Raises NotFound, Conflict, and whatever kept it from
    starting.
    """
    from minidock.engine.monitor.attach import attach as attach_to

    while True:
        container = wait_until_settled(store, reference)
        reference = container.id
        if container.state["Paused"]:
            raise Conflict(
                "cannot start a paused container", hint=f"minidock unpause {container.name}"
            )
        if container.running:
            return None if attach is None else attach_to(store, container.id, attach)
        explain, step = on_record is not None, on_step is not None
        connection = MonitorConnection(
            send_launch(container, attach, explain=explain, step=step, view=view),
            attach,
            terminal=bool(container.config.get("Tty")),
            on_record=on_record,
            on_started=on_started,
            on_step=on_step,
        )
        try:
            if attach is None or on_step is not None:  # steps: before our terminal enters raw mode
                connection.wait_until_started()
            return None if attach is None else connection.relay()
        except Conflict:
            if not container.monitor_pid:
                raise
            # Another command starts or removes it: look again.


class PendingStart:
    """A start in progress, while the caller does other work.

    The container must not run or be locked by another command. Readable once the monitor answers.
    """

    def __init__(self, container: Container) -> None:
        self._socket = send_launch(container, None, explain=False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def finish(self) -> None:
        """Wait for the answer.

        Raises the error of a failed start; Conflict if another command was faster.
        """
        try:
            MonitorConnection(self._socket, None, terminal=False).wait_until_started()
        finally:
            self._socket.close()


def send_launch(
    container: Container,
    attach: Attachment | None,
    *,
    explain: bool = False,
    step: bool = False,
    view: str = "",
) -> _socket.socket:
    """Send LAUNCH to a monitor; returns the connection to it.

    If no monitor can be spawned, a container of `--rm` is removed here.
    """
    global _prepared
    prepared, _prepared = _prepared, None
    try:
        socket, records = prepared or spawn_monitor(container.store)
    except MinidockError:
        if container.host_config.get("AutoRemove"):
            from minidock.engine.lifecycle.remove import remove

            remove(container.store, container.id, volumes=True)
        raise
    if attach is not None:
        attach.stdin = attach.stdin and bool(container.config.get("OpenStdin"))
    size = list(get_size(1)) if container.config.get("Tty") and os.isatty(1) else None
    request: LaunchRequest = {
        "id": container.id,
        "attach": attach.streams() if attach else None,
        "explain": explain,
        "step": step,
        "view": view,
        "size": size,
        "records": records,
    }
    socket.send(protocol.message(protocol.LAUNCH, request))
    return socket
