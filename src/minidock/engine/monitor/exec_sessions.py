"""Processes that exec has added to a running container, as the container's monitor holds them."""

from __future__ import annotations

import os

from minidock.engine.container.containers import Container
from minidock.engine.container.events import emit_container
from minidock.engine.monitor import protocol
from minidock.engine.monitor.client import Client
from minidock.engine.monitor.entering import PendingExec
from minidock.engine.monitor.exec_process import enter
from minidock.engine.monitor.poll_loop import Loop
from minidock.engine.monitor.session import Pipes, Session
from minidock.engine.store.stories import telling
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.runtime.exec import ExecProcess


class ExecSessions:
    """The processes beside a container's first one, each with the command that wanted it."""

    def __init__(self, loop: Loop, container: Container) -> None:
        self._loop = loop
        self._container = container
        self._sessions: list[Session] = []
        self._pending: list[PendingExec] = []

    def execute(self, client: Client, content: dict[str, Any]) -> None:
        """Run one more process. content: of an X message."""
        request, wanted = content["request"], content.get("attach")
        tell = ExecEvents(self._container, request["Cmd"])
        pipes = None
        if not request.get("Tty"):
            pipes = Pipes(stdin=bool(wanted and wanted.get("stdin")))
        try:
            with telling(self._container.paths.exec_journal, f"exec {tell.id[:12]}"):
                entering = enter(self._container, request, pipes.theirs if pipes else None,
                                 size=content.get("size"))  # fmt: skip
        except MinidockError as error:
            self._refuse(client, pipes, error)
            return
        client.on_message = None  # it has nothing to say before its process runs

        def entered(child: ExecProcess) -> None:
            self._pending.remove(pending)
            self._begin(client, wanted, child, pipes, tell)

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
        wanted: dict[str, Any] | None,
        child: ExecProcess,
        pipes: Pipes | None,
        tell: ExecEvents,
    ) -> None:
        """Its command runs: carry its streams."""

        def on_end(session: Session) -> None:
            tell.died(session.exit_code)
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
        if wanted is not None:
            client.wants(wanted)
            session.join(client)
            if not client.is_open:  # it has gone meanwhile, and the process goes on
                session.leave(client)

    def reap(self) -> None:
        """They were killed with the container; their commands want to know."""
        for pending in list(self._pending):
            pending.abandon()
        for session in list(self._sessions):
            session.reap()


class ExecEvents:
    """What is told of one more process: made and started now, ended later."""

    def __init__(self, container: Container, command: list[str]) -> None:
        self._container = container
        self.id = os.urandom(32).hex()
        words = " ".join(command)
        for action in ("exec_create", "exec_start"):
            emit_container(container, f"{action}: {words}", execID=self.id)

    def died(self, code: int) -> None:
        emit_container(self._container, "exec_die", execID=self.id, exitCode=str(code))
