"""The monitor: one small process per container, from its launch to its teardown.

It holds everything that must outlive the command that started the container: the streams, the log,
the exit status, the published ports, and the container's lock (store/locks.py). It never enters the
container. With a restart policy it runs the container several times (run.py), with a back-off
between the runs. Any command may tear down a container whose monitor has died.

    run, start   ──LAUNCH──► lock it, launch it                ◄── STARTED or FAILED
                 ──STDIN RESIZE SIGNAL──►                      ◄── STDOUT STDERR
    others       ──ATTACH EXEC WAIT──►                         ◄── EXITED
    network      ──NETWORK_CHANGE──► join or leave a network   ◄── STARTED or FAILED
    stop         ──CANCEL_RESTART──► ignore the restart policy ◄── STARTED

It runs in the sealed interpreter, without site packages, and imports only what it needs, since
there is one monitor for every running container.
"""

from __future__ import annotations

import _socket
import os

from minidock.engine.container import restart_policy
from minidock.engine.container.containers import (
    Container,
    mark_ended,
    mark_restarting,
    restarting_error,
)
from minidock.engine.container.events import emit_container, emit_ended, emit_resized, emit_started
from minidock.engine.container.removal import remove_owned
from minidock.engine.container.repair import note_end
from minidock.engine.container.run_journal import journal_of
from minidock.engine.monitor import protocol
from minidock.engine.monitor.client import Client, Listener
from minidock.engine.monitor.exec_sessions import ExecSessions
from minidock.engine.monitor.launch_record import log_traceback, record_failure, record_running
from minidock.engine.monitor.launch_view import load_view
from minidock.engine.monitor.poll_loop import READABLE, Loop
from minidock.engine.monitor.run import Run
from minidock.engine.store import journal
from minidock.engine.store.locks import Ownership
from minidock.engine.store.tree_removal import remove_tree
from minidock.errors import Conflict, LockTimeout, MinidockError, NotFound, as_ours
from minidock.kernel import cgroup_tree, flock, process
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from minidock.document_types.message import LaunchRequest, NetworkChange, Streams
    from minidock.engine.monitor.health import Health
    from minidock.engine.monitor.network_change import NetworkChanges
else:
    import _signal as signal  # without the enums, whose import costs 5 ms

CONTROL_FD = 3
# Limits for a lock at the container's end: its holder is stopped (SIGSTOP), or busy.
STOPPED_SECONDS, BUSY_SECONDS = 5.0, 20.0


def main(arguments: list[str]) -> int:
    """Receive LAUNCH on descriptor 3, and run that container to its end; returns an exit code."""
    del arguments
    os.chdir("/")  # do not keep the caller's file system busy
    process.close_all_but([CONTROL_FD])
    control = _socket.socket(fileno=CONTROL_FD)
    os.set_inheritable(CONTROL_FD, False)
    packet = control.recv(protocol.MESSAGE_BYTES)
    if packet[:1] != protocol.LAUNCH:
        return 0  # the command ended without a launch
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is for the command only
    Monitor(control, protocol.content_of(packet)).run()
    return 0


class Monitor:
    """One container, through all of its runs.

    request: the content of the launch message.
    """

    def __init__(self, control: _socket.socket, request: LaunchRequest) -> None:
        self.loop = Loop()
        self.store = Store()
        self.request = request
        self.launcher = Client(self.loop, control)
        self.clients = [self.launcher]
        self.waiting: list[Client] = []
        self.exec_sessions: ExecSessions
        self.current: Run | None = None
        self.health: Health | None = None
        self.network_changes: NetworkChanges | None = None
        self.listener: Listener | None = None
        self.ownership: Ownership | None = None
        self.container: Container
        self.back_off = restart_policy.BackOff()
        self.cancelled = False  # CANCEL_RESTART
        self.auto_remove_cancelled = False
        self.teardown_error: MinidockError | None = None  # something is left over

    def run(self) -> None:
        """Lock the container, launch it, serve it until its last run has ended, clean up."""
        try:
            self._lock()
            self.start_journal()
            self._launch()
        except BaseException as error:
            self._fail(as_ours(error))
            if isinstance(error, (MinidockError, OSError)):
                return
            log_traceback(self.store.container(self.request["id"]).home)
            raise
        try:
            self._serve()
        except BaseException:
            log_traceback(self.store.container(self.request["id"]).home)
            raise

    def _serve(self) -> None:
        while self.current is not None:
            while self.current.is_running:
                self.loop.turn()
            self._finish(self.current)

    # Launch

    def _lock(self) -> None:
        container_id = self.request["id"]
        ownership = Ownership(self.store.container(container_id).monitor_lock)
        try:
            mine = ownership.take()
        except FileNotFoundError:
            raise NotFound(f"No such container: {container_id[:12]}") from None
        if not mine:
            raise Conflict(f"container {container_id[:12]} is being started or removed already")
        self.ownership = ownership
        self.container = Container(self.store, {"Id": container_id})  # type: ignore[typeddict-item]  # until reload
        self.container.reload()
        self.exec_sessions = ExecSessions(self.loop, self.container)
        ownership.mark()

    def start_journal(self) -> None:
        """Begin to record every op: in one journal per launch, and to the command if asked."""
        append, story = journal_of(self.container)
        listener = self.launcher if self.request.get("explain") else None

        def write(record: str) -> None:
            append(record)
            if listener is not None:
                listener.send(protocol.RECORD + record.encode())

        records = self.request.get("records") or []
        journal.begin(write, actor="monitor", records=records, story=story)
        if self.request.get("step"):
            from minidock.engine.monitor.step_gate import install_step_gate  # seldom needed

            install_step_gate(self.loop, self.launcher, self.container)
        process.set_not_dumpable()

    def _launch(self) -> None:
        container = self.container
        cgroup_tree.leave_caller_cgroup(cgroup_tree.home_of(self.store.cgroup_parent))
        if size := self.request.get("size"):
            container.host_config["ConsoleSize"] = size
        container.document["RestartCount"] = 0
        restart_policy.clear_manually_stopped(container.paths)
        if any((self.request.get("attach") or {}).values()):
            emit_container(container, "attach")
        view = load_view(self.request, container, self.launcher)
        self.current = Run(self.loop, container, view)
        journal.stop_stepping()
        self.launcher.on_message = self._attached_message
        if (streams := self.request["attach"]) is not None:
            self._attach(self.launcher, streams)
        record_running(self.loop, container, self.current)
        self._started()
        self._listen()
        self.launcher.send(protocol.STARTED)

    def _started(self) -> None:
        emit_started(self.container)
        if self.container.config.get("Healthcheck"):
            # Imported only for containers with health checks.
            from minidock.engine.monitor.health import Health, command_of

            if command := command_of(self.container.config):
                self.health = Health(self.loop, self.container, command)

    def _listen(self) -> None:
        self.listener = Listener(self.loop, self.container.paths.run, self._add_client)

    def _add_client(self, client: Client) -> None:
        client.on_message = self._first_message
        self.clients.append(client)

    def _stop_listening(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def _fail(self, error: MinidockError) -> None:
        """Report why the launch failed; remove the container with --rm or after ABORT."""
        journal.stop_stepping()
        if self.ownership is not None:
            try:
                self.container.reload()
                if not getattr(error, "__notes__", None):  # everything was undone
                    self.ownership.clear_mark()
                with flock.limits(stopped=STOPPED_SECONDS, busy=BUSY_SECONDS):
                    record_failure(self.container, error)
            except (NotFound, OSError):
                pass  # it was removed meanwhile; or the disk is full
            except LockTimeout:
                self.ownership.mark()  # the next command repairs it
            self.ownership.release()
        self.launcher.send(protocol.failure(error))
        self.launcher.drain()

    # While it runs

    def _first_message(self, client: Client, packet: bytes) -> None:
        """Handle the first message of a connection."""
        kind, content = packet[:1], protocol.content_of(packet)
        if kind == protocol.WAIT:
            client.on_message = None
            self.waiting.append(client)
            client.send(protocol.STARTED)
        elif kind in (protocol.CANCEL_RESTART, protocol.CANCEL_AUTO_REMOVE):
            self.cancelled |= kind == protocol.CANCEL_RESTART
            self.auto_remove_cancelled |= kind == protocol.CANCEL_AUTO_REMOVE
            client.send(protocol.STARTED)
        elif self.current is None:
            client.send(protocol.failure(restarting_error(self.container)))
        elif kind == protocol.ATTACH:
            client.on_message = self._attached_message
            self._attach(client, content["attach"])
            client.send(protocol.STARTED)
            emit_container(self.container, "attach")
        elif kind == protocol.EXEC:
            self.exec_sessions.execute(client, content)
        elif kind == protocol.NETWORK_CHANGE:
            self._change_network(client, content)

    def _attach(self, client: Client, streams: Streams) -> None:
        assert self.current is not None
        client.select_streams(streams)
        self.current.session.join(client)
        self.waiting.append(client)

    def _attached_message(self, client: Client, packet: bytes) -> None:
        """Pass a message to the session; a signal may cancel the restart policy."""
        if packet[:1] == protocol.SIGNAL:
            number = protocol.content_of(packet)["signal"]
            restart_policy.mark_manually_stopped(self.container)
            self.cancelled |= restart_policy.cancels_restart(self.container.config, number)
            emit_container(self.container, "kill", signal=str(number))
        elif packet[:1] == protocol.RESIZE:
            emit_resized(self.container, **protocol.content_of(packet))
        if self.current is not None:
            self.current.session.handle(client, packet)

    def _change_network(self, client: Client, content: NetworkChange) -> None:
        """Connect the container to a network, or disconnect it."""
        assert self.current is not None
        client.on_message = None
        if self.network_changes is None:
            from minidock.engine.monitor.network_change import NetworkChanges

            self.network_changes = NetworkChanges(self.loop, self.container)
        self.network_changes.begin(client, self.current, content)

    # End of a run

    def _finish(self, run: Run) -> None:
        """Tear the run down, save its exit code, notify waiting commands; then end or run again."""
        code = run.session.exit_code
        with flock.limits(stopped=STOPPED_SECONDS, busy=BUSY_SECONDS):
            again = self._teardown(run, code)
            if not again:
                self._end(code)
                return
        self._send_exit_status(code)
        if self._back_off(self.back_off.next_ms(run.seconds)):
            self._run_again(code)
        else:
            self._end_between_runs(code)

    def _teardown(self, run: Run, code: int) -> bool:
        """Tear the run down and save its exit code; returns whether to restart it."""
        container, oom = self.container, False
        if self.network_changes is not None:  # first: its child may hold a lock
            self.network_changes.cancel(Conflict(f"container {container.id} has just ended"))
        try:
            oom = run.clean_up()
        except LockTimeout as error:
            self.teardown_error = error
        self.current = None
        if self.health is not None:
            self.health.end()
            self.health = None
        container.reload()  # it may have been renamed
        emit_ended(container, code, seconds=run.seconds, oom=oom)
        self._stop_listening()
        self.exec_sessions.reap()
        try:
            with container.editing():
                container.reload()
                blocked = bool(self.teardown_error) or self.cancelled
                again = not blocked and restart_policy.should_restart(container, code)
                if again:
                    mark_restarting(container, code, oom=oom)
                else:
                    mark_ended(container, code, oom=oom, error=str(self.teardown_error or ""))
        except LockTimeout as error:
            self.teardown_error = error
            assert self.ownership is not None
            note_end(self.ownership, code, oom=oom, error=str(error))
            return False
        return again

    def _send_exit_status(self, code: int) -> None:
        """Send EXITED to attached and waiting commands after each run, as Docker does."""
        for client in self.waiting:
            client.send(protocol.exit_status(code))
        self.waiting = []
        for client in self.clients:
            if client.on_message != self._first_message:  # those have not sent a message yet
                client.finish()
        self.clients = [client for client in self.clients if client.is_open]

    def _back_off(self, milliseconds: int) -> bool:
        """Wait before the next run; WAIT and CANCEL_RESTART are still served.

        Returns whether to restart it.
        """
        from minidock.kernel.timer import wake_after

        journal.rotate(self.container.paths)
        os.makedirs(self.container.paths.run, mode=0o711, exist_ok=True)
        self._listen()
        timer = wake_after(milliseconds)
        expired: list[int] = []
        self.loop.watch(timer, READABLE, expired.append)
        while not (expired or self.cancelled):
            self.loop.turn()
        self.loop.forget(timer)
        os.close(timer)
        remove_tree(self.store, self.container.paths.run)
        self._stop_listening()
        return not self.cancelled

    def _run_again(self, code: int) -> None:
        """Launch the next run; if that fails, the container ends with its last exit code."""
        try:
            self.container.reload()
            self.current = Run(self.loop, self.container)
            record_running(self.loop, self.container, self.current)
            self._started()
            self._listen()
        except BaseException as error:
            self.current = None
            self._end_between_runs(code, as_ours(error))
            if not isinstance(error, (MinidockError, OSError)):
                raise

    def _end_between_runs(self, code: int, error: MinidockError | None = None) -> None:
        if getattr(error, "__notes__", None):
            self.teardown_error = error
        with flock.limits(stopped=STOPPED_SECONDS, busy=BUSY_SECONDS):
            try:
                with self.container.editing():
                    self.container.reload()
                    oom = self.container.state["OOMKilled"]
                    mark_ended(self.container, code, oom=oom, error=str(error or ""))
            except LockTimeout as timeout:
                self.teardown_error = timeout
            self._end(code)

    def _end(self, code: int) -> None:
        """End the container. After an error our mark stays, and the next command repairs the
        container (lookup.find)."""
        try:
            removes = (
                self.container.host_config.get("AutoRemove") and not self.auto_remove_cancelled
            )
            if removes and self.teardown_error is None:
                remove_owned(self.container, volumes=True)
        except LockTimeout as error:
            self.teardown_error = error
        if self.ownership is not None and self.teardown_error is None:
            self.ownership.clear_mark()
        for client in self.waiting:
            client.send(protocol.exit_status(code))
        if self.ownership is not None:
            self.ownership.release()
        for client in self.clients:
            client.drain()
