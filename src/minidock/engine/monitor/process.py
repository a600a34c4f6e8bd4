"""The monitor: one small process per container, from its launch to its last clean-up.

It holds what must outlive the command that started the container: the streams, the log, the exit
status, the host's ports, and the right to be the container's owner (engine/locks.py). It never
enters the container. Whoever finds a container without a living monitor may take it down.

    command ──L──► monitor: own it, launch it            ◄──S── started, or ◄──f── why not
            ──i r k──►  streams, size, signals           ◄──o E──
    others  ──A X W──►  attach, exec, wait               ◄──x── ended, with its exit code

It runs out of the sealed interpreter, isolated and without site packages, and imports nothing that
it does not need: there is one for every running container.
"""

from __future__ import annotations

import _socket
import os

from minidock.engine import journal
from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.containers import Container, mark_ended
from minidock.engine.container.removal import remove_owned
from minidock.engine.locks import Ownership
from minidock.engine.monitor import wire
from minidock.engine.monitor.enter import enter
from minidock.engine.monitor.launch import Launched, launch
from minidock.engine.monitor.logs import LogFile
from minidock.engine.monitor.loop import READABLE, Loop
from minidock.engine.monitor.session import Client, Pipes, Session
from minidock.engine.monitor.teardown import take_down
from minidock.errors import Conflict, MinidockError, NotFound, system_error
from minidock.kernel import cgroup, process
from minidock.paths import Store
from minidock.runtime.channel import describe_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any
else:
    import _signal as signal  # without the enums, whose import costs 5 ms

CONTROL_FD = 3


def main(arguments: list[str]) -> int:
    """Wait for a launch on descriptor 3, run that container to its end; returns an exit code."""
    del arguments
    control = _socket.socket(fileno=CONTROL_FD)
    os.set_inheritable(CONTROL_FD, False)
    packet = control.recv(wire.MESSAGE_BYTES)
    if packet[:1] != b"L":
        return 0  # the command ended without wanting a container after all
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # a terminal's Ctrl-C is for the command, not for us
    Monitor(control, wire.content_of(packet)).run()
    return 0


class Monitor:
    """One container's run.

    request: the content of the launch message.
    """

    def __init__(self, control: _socket.socket, request: dict[str, Any]) -> None:
        self.loop = Loop()
        self.store = Store()
        self.request = request
        self.starter = Client(self.loop, control)
        self.clients = [self.starter]
        self.waiting: list[Client] = []
        self.added: list[Session] = []
        self.main: Session | None = None
        self.launched: Launched | None = None
        self.ownership: Ownership | None = None
        self.container: Container

    def run(self) -> None:
        """Own the container, launch it, serve it until it has ended, clean up."""
        try:
            self._own()
            self._start_journal()
            self._launch()
        except MinidockError as error:
            self._fail(error)
            return
        except OSError as error:
            self._fail(system_error(error))
            return
        except BaseException as error:
            self._fail(MinidockError(f"{type(error).__name__}: {error}"))
            self._keep_traceback()
            raise
        try:
            self._serve()
        except BaseException:
            self._keep_traceback()
            raise

    def _keep_traceback(self) -> None:
        """A monitor has no stderr; what went wrong in it is kept beside its container."""
        home = self.store.container(self.request["id"]).home
        if os.path.isdir(home):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            os.dup2(os.open(f"{home}/monitor.log", flags, 0o600), 2)

    def _serve(self) -> None:
        while self.main is not None and self.main.pidfd >= 0:
            self.loop.turn()
        self._finish()

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
        ownership.mark()

    def _start_journal(self) -> None:
        """From here on every op is written down: one file a run, and to the command if it asked."""
        keep = journal.fresh(self.container.paths)
        told = self.starter if self.request.get("explain") else None

        def write(record: str) -> None:
            keep(record)
            if told is not None:
                told.send(b"j" + record.encode())

        for record in self.request.get("records") or []:
            write(record)  # what the command did to bring us here
        journal.begin(write, actor="monitor")
        process.set_not_dumpable()

    def _launch(self) -> None:
        container = self.container
        config = container.config
        cgroup.leave_caller_cgroup(cgroup.home_of(self.store.cgroup_parent))
        if self.request.get("size"):
            container.host_config["ConsoleSize"] = self.request["size"]
        pipes = None if config.get("Tty") else Pipes(stdin=bool(config.get("OpenStdin")))
        try:
            self.launched = launch(container, pipes.theirs if pipes else None)
        except BaseException:
            if pipes is not None:
                pipes.close()
            raise
        kind = (container.host_config.get("LogConfig") or {}).get("Type")
        log = None if kind == "none" else LogFile(container.paths.log)
        self.main = Session(
            self.loop,
            pid=self.launched.runtime.pid,
            console=self.launched.runtime.console,
            pipes=pipes,
            log=log,
            close_stdin_with_client=bool(config.get("StdinOnce")),
            on_end=lambda session: None,
        )
        self._listen()
        self._relay()
        self.starter.on_message = self.main.handle
        if self.request.get("attach") is not None:
            self.starter.wants(self.request["attach"])
            self.main.join(self.starter)
            self.waiting.append(self.starter)
        self.starter.send(b"S")

    def _listen(self) -> None:
        listening = wire.listen(self.container.paths.run)

        def ready(events: int) -> None:
            try:
                client = Client(self.loop, wire.accept(listening))
            except BlockingIOError:
                return
            client.on_message = self._first_message
            self.clients.append(client)

        self.loop.watch(listening.fileno(), READABLE, ready)

    def _relay(self) -> None:
        """Carry by hand what reaches the held ports past the firewall's rules."""
        assert self.launched is not None
        if not self.launched.ports:
            return
        from minidock.engine.network.relay import (
            Relay,  # only containers with published ports pay for it
        )

        relay = Relay(self.launched.ports, self.container.document["NetworkSettings"]["IPAddress"])
        self.loop.watch(relay.fd, READABLE, lambda events: relay.on_ready())

    def _fail(self, error: MinidockError) -> None:
        """Tell why it did not start; a container run with --rm goes, others keep the reason."""
        if self.ownership is not None:
            try:
                self.container.reload()
                if not getattr(error, "__notes__", None):  # all that was made is unmade again
                    self.ownership.clear_mark()
                if self.container.host_config.get("AutoRemove"):
                    remove_owned(self.container, volumes=True)
                else:
                    self.container.state["ExitCode"] = error.exit_code
                    self.container.state["Error"] = str(error)
                    self.container.save()
            except (NotFound, OSError):
                pass  # it was removed while it failed; or the disk is too full for a reason
            self.ownership.release()
        self.starter.send(wire.message(b"f", describe_error(error)))
        self.starter.drain()

    # While it runs

    def _first_message(self, client: Client, packet: bytes) -> None:
        """What a new connection wants."""
        kind, content = packet[:1], wire.content_of(packet)
        if self.main is None:
            client.close()
        elif kind == b"A":
            client.on_message = self.main.handle
            client.wants(content["attach"])
            self.main.join(client)
            self.waiting.append(client)
            client.send(b"S")
        elif kind == b"W":
            client.on_message = None
            self.waiting.append(client)
            client.send(b"S")
        elif kind == b"X":
            self._execute(client, content)

    def _execute(self, client: Client, content: dict[str, Any]) -> None:
        """Run one more process in the container."""
        request = content["request"]
        wanted = content.get("attach")
        pipes = None
        if not request.get("Tty"):
            pipes = Pipes(stdin=bool(wanted and wanted.get("stdin")))
        try:
            child = enter(self.container, request, pipes.theirs if pipes else None,
                          size=content.get("size"))  # fmt: skip
        except MinidockError as error:
            if pipes is not None:
                pipes.close()
            client.send(wire.message(b"f", describe_error(error)))
            return

        def on_end(session: Session) -> None:
            client.send(wire.message(b"x", {"code": session.exit_code}))
            self.added.remove(session)

        session = Session(
            self.loop,
            pid=child.pid,
            console=child.console,
            pipes=pipes,
            log=None,
            close_stdin_with_client=True,
            on_end=on_end,
        )
        self.added.append(session)
        client.on_message = session.handle
        client.send(b"S")
        if wanted is not None:
            client.wants(wanted)
            session.join(client)

    # After

    def _finish(self) -> None:
        """Clean up, write down how it ended, and only then tell those who wait."""
        assert self.main is not None
        code = self.main.exit_code
        if self.main.log is not None:
            self.main.log.close()
        group = cgroup_of(self.store, self.container.id)
        oom = code == 137 and group.oom_kills() > 0
        take_down(self.store, self.container.id)
        for session in list(self.added):  # killed with the container; their commands want to know
            session.reap()
        with self.container.editing():
            self.container.reload()
            mark_ended(self.container, code, oom=oom)
        if self.ownership is not None:
            self.ownership.clear_mark()
        if self.container.host_config.get("AutoRemove"):
            remove_owned(self.container, volumes=True)
        for client in self.waiting:
            client.send(wire.message(b"x", {"code": code}))
        if self.ownership is not None:
            self.ownership.release()
        for client in self.clients:
            client.drain()
