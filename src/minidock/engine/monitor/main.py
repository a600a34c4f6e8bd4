"""The monitor: one small process per container, from its launch to its last clean-up.

Where the container's restart policy wants it, the monitor starts it again when it ends: then there
are several runs (run.py), with pauses between them.

It holds what must outlive the command that started the container: the streams, the log, the exit
status, the host's ports, and the right to be the container's owner (store/locks.py). It never
enters the container. Whoever finds a container without a living monitor may take it down.

    command ──L──► monitor: own it, launch it            ◄──S── started, or ◄──f── why not
            ──i r k──►  streams, size, signals           ◄──o E──
    others  ──A X W──►  attach, exec, wait               ◄──x── ended, with its exit code
    network ──N──►      join or leave a network          ◄──S── done, or ◄──f── why not
    stop    ──C──►      the end of the restart policy

It runs out of the sealed interpreter, isolated and without site packages, and imports nothing that
it does not need: there is one for every running container.
"""

from __future__ import annotations

import _socket
import os

from minidock.engine.container import restart
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
from minidock.engine.monitor.half_made_view import load_view
from minidock.engine.monitor.launch_record import log_traceback, record_failure, record_running
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
    from typing import Any

    from minidock.engine.monitor.health import Health
    from minidock.engine.monitor.network_change import NetworkChanges
else:
    import _signal as signal  # without the enums, whose import costs 5 ms

CONTROL_FD = 3
STOPPED_SECONDS, BUSY_SECONDS = 5.0, 20.0  # for a lock at the container's end, by who holds it


def main(arguments: list[str]) -> int:
    """Wait for a launch on descriptor 3, run that container to its end; returns an exit code."""
    del arguments
    os.chdir("/")  # who unmounts the caller's disk, or reads the caller's pipe, is not to wait
    process.close_all_but([CONTROL_FD])
    control = _socket.socket(fileno=CONTROL_FD)
    os.set_inheritable(CONTROL_FD, False)
    packet = control.recv(protocol.MESSAGE_BYTES)
    if packet[:1] != protocol.LAUNCH:
        return 0  # the command ended without wanting a container after all
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # a terminal's Ctrl-C is for the command, not for us
    Monitor(control, protocol.content_of(packet)).run()
    return 0


class Monitor:
    """One container, through all of its runs.

    request: the content of the launch message.
    """

    def __init__(self, control: _socket.socket, request: dict[str, Any]) -> None:
        self.loop = Loop()
        self.store = Store()
        self.request = request
        self.starter = Client(self.loop, control)
        self.clients = [self.starter]
        self.waiting: list[Client] = []
        self.exec_sessions: ExecSessions
        self.current: Run | None = None
        self.health: Health | None = None
        self.network_changes: NetworkChanges | None = None
        self.listener: Listener | None = None
        self.ownership: Ownership | None = None
        self.container: Container
        self.back_off = restart.BackOff()
        self.cancelled = False  # no policy brings it back
        self.kept = False  # --rm does not remove it at this end
        self.left: MinidockError | None = None  # why something of it is left

    def run(self) -> None:
        """Own the container, launch it, serve it until it has ended for good, clean up."""
        try:
            self._own()
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
            while self.current.lives:
                self.loop.turn()
            self._finish(self.current)

    # Before

    def _own(self) -> None:
        container_id = self.request["id"]
        ownership = Ownership(self.store.container(container_id).monitor_lock)
        try:
            mine = ownership.take()
        except FileNotFoundError:
            raise NotFound(f"No such container: {container_id[:12]}") from None
        if not mine:
            raise Conflict(f"container {container_id[:12]} is being started or removed already")
        self.ownership = ownership
        self.container = Container(self.store, {"Id": container_id})
        self.container.reload()
        self.exec_sessions = ExecSessions(self.loop, self.container)
        ownership.mark()

    def start_journal(self) -> None:
        """From here on every op is written down: one file a launch, and to the command if asked."""
        keep, story = journal_of(self.container)
        told = self.starter if self.request.get("explain") else None

        def write(record: str) -> None:
            keep(record)
            if told is not None:
                told.send(protocol.RECORD + record.encode())

        records = self.request.get("records") or []
        journal.begin(write, actor="monitor", records=records, story=story)
        if self.request.get("step"):
            # Only who debugs the making of a container pays for it.
            from minidock.engine.monitor.step_gate import install_step_gate

            install_step_gate(self.loop, self.starter, self.container)
        process.set_not_dumpable()

    def _launch(self) -> None:
        container = self.container
        cgroup_tree.leave_caller_cgroup(cgroup_tree.home_of(self.store.cgroup_parent))
        if self.request.get("size"):
            container.host_config["ConsoleSize"] = self.request["size"]
        container.document["RestartCount"] = 0
        restart.forget_stopped_by_hand(container.paths)
        if any((self.request.get("attach") or {}).values()):
            emit_container(container, "attach")
        view = load_view(self.request, container, self.starter)
        self.current = Run(self.loop, container, view)
        journal.end_turns()
        self.starter.on_message = self._attached_message
        if self.request.get("attach") is not None:
            self._attach(self.starter, self.request["attach"])
        record_running(self.loop, container, self.current)
        self._started()
        self._listen()
        self.starter.send(protocol.STARTED)

    def _started(self) -> None:
        emit_started(self.container)
        if self.container.config.get("Healthcheck"):
            # Only containers with health checks pay for it.
            from minidock.engine.monitor.health import Health, command_of

            if command := command_of(self.container.config):
                self.health = Health(self.loop, self.container, command)

    def _listen(self) -> None:
        self.listener = Listener(self.loop, self.container.paths.run, self._greet)

    def _greet(self, client: Client) -> None:
        client.on_message = self._first_message
        self.clients.append(client)

    def _stop_listening(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def _fail(self, error: MinidockError) -> None:
        """Tell why it did not start; with --rm, or given up, it goes; others keep the reason."""
        journal.end_turns()
        if self.ownership is not None:
            try:
                self.container.reload()
                if not getattr(error, "__notes__", None):  # all that was made is unmade again
                    self.ownership.clear_mark()
                with flock.limits(stopped=STOPPED_SECONDS, busy=BUSY_SECONDS):
                    record_failure(self.container, error)
            except (NotFound, OSError):
                pass  # it was removed while it failed; or the disk is too full for a reason
            except LockTimeout:
                self.ownership.mark()  # the next command that looks at it does the rest
            self.ownership.release()
        self.starter.send(protocol.failure(error))
        self.starter.drain()

    # While it runs

    def _first_message(self, client: Client, packet: bytes) -> None:
        """What a new connection wants."""
        kind, content = packet[:1], protocol.content_of(packet)
        if kind == protocol.WAIT:
            client.on_message = None
            self.waiting.append(client)
            client.send(protocol.STARTED)
        elif kind in (protocol.CANCEL_RESTART, protocol.CANCEL_AUTO_REMOVE):
            self.cancelled |= kind == protocol.CANCEL_RESTART
            self.kept |= kind == protocol.CANCEL_AUTO_REMOVE
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

    def _attach(self, client: Client, streams: dict[str, Any]) -> None:
        assert self.current is not None
        client.wants(streams)
        self.current.session.join(client)
        self.waiting.append(client)

    def _attached_message(self, client: Client, packet: bytes) -> None:
        """What an attached command sends: to its session; a signal may end the policy, as `kill`"""
        if packet[:1] == protocol.SIGNAL:
            number = protocol.content_of(packet)["signal"]
            restart.note_stopped_by_hand(self.container)
            self.cancelled |= restart.cancels(self.container.config, number)
            emit_container(self.container, "kill", signal=str(number))
        elif packet[:1] == protocol.RESIZE:
            emit_resized(self.container, **protocol.content_of(packet))
        if self.current is not None:
            self.current.session.handle(client, packet)

    def _change_network(self, client: Client, content: dict[str, Any]) -> None:
        """Connect the container to a network, or disconnect it."""
        assert self.current is not None
        client.on_message = None
        if self.network_changes is None:
            from minidock.engine.monitor.network_change import (
                NetworkChanges,
            )  # few containers need it

            self.network_changes = NetworkChanges(self.loop, self.container)
        self.network_changes.begin(client, self.current, content)

    # After

    def _finish(self, run: Run) -> None:
        """Clean up, write down how it ended, tell those who wait; then the end, or the next run."""
        code = run.session.exit_code
        with flock.limits(stopped=STOPPED_SECONDS, busy=BUSY_SECONDS):
            again = self._clear_away(run, code)
            if not again:
                self._end(code)
                return
        self._tell(code)
        if self._pause(self.back_off.next_ms(run.seconds)):
            self._run_again(code)
        else:
            self._end_between_runs(code)

    def _clear_away(self, run: Run, code: int) -> bool:
        """Clean up, and write down how it ended; returns whether its policy wants it back."""
        container, oom = self.container, False
        if self.network_changes is not None:  # first: its child may hold a lock, and make things
            self.network_changes.give_up(Conflict(f"container {container.id} has just ended"))
        try:
            oom = run.clean_up()
        except LockTimeout as error:
            self.left = error
        self.current = None
        if self.health is not None:
            self.health.end()
            self.health = None
        container.reload()  # it may have another name by now
        emit_ended(container, code, seconds=run.seconds, oom=oom)
        self._stop_listening()
        self.exec_sessions.reap()
        try:
            with container.editing():
                container.reload()
                again = not (self.left or self.cancelled) and restart.wants_again(container, code)
                if again:
                    mark_restarting(container, code, oom=oom)
                else:
                    mark_ended(container, code, oom=oom, error=str(self.left or ""))
        except LockTimeout as error:
            self.left = error
            assert self.ownership is not None
            note_end(self.ownership, code, oom=oom, error=str(error))
            return False
        return again

    def _tell(self, code: int) -> None:
        """A run has ended: that is what attached and waiting commands wait for, as in Docker."""
        for client in self.waiting:
            client.send(protocol.exit_status(code))
        self.waiting = []
        for client in self.clients:
            if client.on_message != self._first_message:  # those have not said yet what they want
                client.finish()
        self.clients = [client for client in self.clients if client.is_open]

    def _pause(self, milliseconds: int) -> bool:
        """Its command has ended, and its policy wants it back: pause, longer each time.

        Returns whether the policy still wants it then.
        """
        from minidock.kernel.timer import wake_after

        journal.trim(self.container.paths)
        os.makedirs(self.container.paths.run, mode=0o711, exist_ok=True)
        self._listen()
        alarm = wake_after(milliseconds)
        rang: list[int] = []
        self.loop.watch(alarm, READABLE, rang.append)
        while not (rang or self.cancelled):
            self.loop.turn()
        self.loop.forget(alarm)
        os.close(alarm)
        remove_tree(self.store, self.container.paths.run)
        self._stop_listening()
        return not self.cancelled

    def _run_again(self, code: int) -> None:
        """The next run; where it cannot be launched, the container ends with its last code."""
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
            self.left = error
        with flock.limits(stopped=STOPPED_SECONDS, busy=BUSY_SECONDS):
            try:
                with self.container.editing():
                    self.container.reload()
                    oom = self.container.state["OOMKilled"]
                    mark_ended(self.container, code, oom=oom, error=str(error or ""))
            except LockTimeout as timeout:
                self.left = timeout
            self._end(code)

    def _end(self, code: int) -> None:
        """It has ended for good. What a lock kept us from is left, and our mark with it: the next
        command that looks at the container does the rest (lookup.find)."""
        try:
            if self.left is None and self.container.host_config.get("AutoRemove") and not self.kept:
                remove_owned(self.container, volumes=True)
        except LockTimeout as error:
            self.left = error
        if self.ownership is not None and self.left is None:
            self.ownership.clear_mark()
        for client in self.waiting:
            client.send(protocol.exit_status(code))
        if self.ownership is not None:
            self.ownership.release()
        for client in self.clients:
            client.drain()
