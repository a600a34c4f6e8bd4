"""The exec sessions of a running container, in its monitor."""

from __future__ import annotations

import os

from minidock.engine.container.containers import Container
from minidock.engine.container.events import emit_container
from minidock.engine.monitor import protocol
from minidock.engine.monitor.client import Client
from minidock.engine.monitor.exec_process import enter
from minidock.engine.monitor.pending_exec import PendingExec
from minidock.engine.monitor.poll_loop import Loop
from minidock.engine.monitor.session import Pipes, Session
from minidock.engine.store.stories import recording_story
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.message import ExecRequest, Streams
    from minidock.runtime.exec import ExecProcess


class ExecSessions:
    """The processes of exec, each with the client that started it."""

    def __init__(self, loop: Loop, container: Container) -> None:
        self._loop = loop
        self._container = container
        self._sessions: list[Session] = []
        self._pending: list[PendingExec] = []

    def execute(self, client: Client, content: ExecRequest) -> None:
        """Start one more process. content: of EXEC."""
        request, streams = content["request"], content.get("attach")
        events = ExecEvents(self._container, request["Cmd"])
        pipes = None
        if not request.get("Tty"):
            pipes = Pipes(stdin=bool(streams and streams.get("stdin")))
        try:
            with recording_story(self._container.paths.exec_journal, f"exec {events.id[:12]}"):
                entering = enter(self._container, request, pipes.theirs if pipes else None,
                                 size=content.get("size"))  # fmt: skip
        except MinidockError as error:
            self._refuse(client, pipes, error)
            return
        client.on_message = None  # no messages before STARTED

        def entered(child: ExecProcess) -> None:
            self._pending.remove(pending)
            self._begin(client, streams, child, pipes, events)

        def failed(error: MinidockError) -> None:
            self._pending.remove(pending)
            self._refuse(client, pipes, error)

        pending = PendingExec(self._loop, entering, entered=entered, failed=failed)
        self._pending.append(pending)

    def _refuse(self, client: Client, pipes: Pipes | None, error: MinidockError) -> None:
        if pipes is not None:
            pipes.close()
        client.send(protocol.failure(error))

    def _begin(
        self,
        client: Client,
        streams: Streams | None,
        child: ExecProcess,
        pipes: Pipes | None,
        events: ExecEvents,
    ) -> None:
        """Relay the streams of a process whose command runs."""

        def on_end(session: Session) -> None:
            events.emit_die(session.exit_code)
            client.send(protocol.exit_status(session.exit_code))
            self._sessions.remove(session)

        session = Session(
            self._loop,
            pid=child.pid,
            console=child.console,
            pipes=pipes,
            log=None,
            close_stdin_with_client=True,
            on_end=on_end,
        )
        self._sessions.append(session)
        client.on_message = session.handle
        client.send(protocol.STARTED)
        if streams is not None:
            client.select_streams(streams)
            session.join(client)
            if not client.is_open:  # it has disconnected; the process continues
                session.leave(client)

    def reap(self) -> None:
        """Reap the processes, killed with the container, and notify their clients."""
        for pending in list(self._pending):
            pending.abandon()
        for session in list(self._sessions):
            session.reap()


class ExecEvents:
    """The events of one exec: exec_create and exec_start now, exec_die later."""

    def __init__(self, container: Container, command: list[str]) -> None:
        self._container = container
        self.id = os.urandom(32).hex()
        words = " ".join(command)
        for action in ("exec_create", "exec_start"):
            emit_container(container, f"{action}: {words}", execID=self.id)

    def emit_die(self, code: int) -> None:
        emit_container(self._container, "exec_die", execID=self.id, exitCode=str(code))
