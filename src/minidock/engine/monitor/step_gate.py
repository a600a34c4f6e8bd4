"""The step gate of `run --step`: the launch performs an op only once its command says so.

    init      ──T──► monitor ──t──► command      what was told last is about to be done: shall it?
    init      ◄──T── monitor ◄──g── command      yes
                     monitor ◄──q── command      no: all that was made is unmade; so it is too where
                                                 the command has died
                     monitor ◄──X── command      meanwhile, a look from inside

The monitor's own acts ask in the same way (Journal.turn, kernel/op.py). The gate opens for good
when the container's command runs. Where an error is on its way out, its acts (an undo, the way back
out of a namespace) are asked about like others, but never left out: half an undo would be worse
than either.
"""

from __future__ import annotations

import sys

from minidock.engine.monitor import protocol
from minidock.engine.monitor.entering import PendingExec
from minidock.engine.monitor.session import Pipes, Session
from minidock.errors import Aborted, MinidockError, as_ours
from minidock.kernel import process
from minidock.kernel.op import current_journal, use_journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.engine.container.containers import Container
    from minidock.engine.monitor.client import Client
    from minidock.engine.monitor.poll_loop import Loop
    from minidock.runtime.exec import ExecProcess

SIGKILL = 9


def install_step_gate(loop: Loop, client: Client, container: Container) -> None:
    """From here on the command at the other end is asked before each act."""
    journal = current_journal()
    assert journal is not None
    gate = StepGate(loop, client, container)
    journal.turn = gate.wait
    client.on_message = gate.on_message


class StepGate:
    """Asks a command before each act, and serves it while it thinks.

    loop: which is turned meanwhile; nothing but the command is watched before the container runs.
    """

    def __init__(self, loop: Loop, client: Client, container: Container) -> None:
        self._loop = loop
        self._client = client
        self._container = container
        self._word = b""
        self._aborted = False
        self._pending: PendingExec | None = None
        self._shell: Session | None = None

    def wait(self) -> None:
        """Wait until the act that was told last may be done.

        Raises Aborted where it shall not, and where nobody is left to ask; again and again, should
        somebody have taken it for an error that can be lived with.
        """
        if not self._aborted:
            self._aborted = not self._ask()
        if self._aborted and sys.exc_info()[1] is None:
            raise Aborted("given up: what was made of the container is unmade")

    def _ask(self) -> bool:
        """Whether the answer is yes. What is done meanwhile makes no container, for the journal."""
        journal = current_journal()
        use_journal(None)
        try:
            self._word = b""
            self._client.send(protocol.STEP)
            while self._client.is_open and not self._word:
                self._loop.turn()
            self._end_shell()
        finally:
            use_journal(journal)
        return self._word == protocol.CONTINUE

    def on_message(self, client: Client, packet: bytes) -> None:
        """What the command says: its word, or something about its look from inside."""
        kind = packet[:1]
        if kind in (protocol.CONTINUE, protocol.ABORT):
            self._word = kind
        elif kind == protocol.EXEC:
            self._look_inside(protocol.content_of(packet))
        elif self._shell is not None:
            self._shell.handle(client, packet)

    def _look_inside(self, content: dict[str, Any]) -> None:
        """Run a process in the container as far as it is made."""
        from minidock.engine.monitor.half_made import start_exec_half_made

        terminal = bool(content["request"].get("Tty"))
        pipes = None if terminal else Pipes(stdin=True)  # not the host's null: it may have no own
        try:
            entering = start_exec_half_made(
                self._container,
                content["request"],
                pipes.theirs if pipes else None,
                size=content.get("size"),
            )
        except (MinidockError, OSError) as error:
            self._refuse(pipes, as_ours(error))
            return
        self._pending = PendingExec(
            self._loop,
            entering,
            entered=lambda child: self._begin_shell(child, pipes, content),
            failed=lambda error: self._refuse(pipes, error),
        )

    def _refuse(self, pipes: Pipes | None, error: MinidockError) -> None:
        self._pending = None
        if pipes is not None:
            pipes.close()
        self._client.send(protocol.failure(error))

    def _begin_shell(
        self, child: ExecProcess, pipes: Pipes | None, content: dict[str, Any]
    ) -> None:
        self._pending = None
        self._shell = Session(
            self._loop,
            pid=child.pid,
            console=child.console,
            pipes=pipes,
            log=None,
            close_stdin_with_client=True,
            on_end=self._tell_end,
        )
        self._client.send(protocol.STARTED)
        self._client.wants(content.get("attach"))
        self._shell.join(self._client)
        self._shell.end_stdin()

    def _end_shell(self) -> None:
        """With the pause ends the look from inside, also where somebody has detached from it.

        It is our child in init's PID namespace: until it is reaped, init cannot end.
        """
        if self._pending is not None:
            self._pending.abandon()
        if self._shell is not None:
            process.send_signal(self._shell.pidfd, SIGKILL, pid=self._shell.pid)
            self._shell.reap()

    def _tell_end(self, shell: Session) -> None:
        self._client.session = self._shell = None
        self._client.send(protocol.exit_status(shell.exit_code))
