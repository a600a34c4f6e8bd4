"""The step gate of `run --step`: the launch performs an op only once its command says so.

    init      ──STEP──► monitor ──STEP──► command      an op was announced: may it be performed?
    init      ◄──STEP── monitor ◄──CONTINUE── command  yes
                        monitor ◄──ABORT── command     no: undo the launch; so does the end of the
                                                       connection
                        monitor ◄──EXEC── command      meanwhile, run a process in the container

The monitor's own ops ask in the same way (Journal.turn, kernel/op.py), until the container's
command runs. While an error propagates, ops of the undo are announced too, but always performed: a
partial undo would be worse.
"""

from __future__ import annotations

import sys

from minidock.engine.monitor import protocol
from minidock.engine.monitor.pending_exec import PendingExec
from minidock.engine.monitor.session import Pipes, Session
from minidock.errors import Aborted, MinidockError, as_ours
from minidock.kernel import process
from minidock.kernel.op import current_journal, use_journal
from minidock.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.message import ExecRequest
    from minidock.engine.container.containers import Container
    from minidock.engine.monitor.client import Client
    from minidock.engine.monitor.poll_loop import Loop
    from minidock.runtime.exec import ExecProcess


def install_step_gate(loop: Loop, client: Client, container: Container) -> None:
    """Ask the command before each op from here on."""
    journal = current_journal()
    assert journal is not None
    gate = StepGate(loop, client, container)
    journal.turn = gate.wait
    client.on_message = gate.on_message


class StepGate:
    """Asks a command before each op, and serves it until it answers.

    loop: watches only the command before the container runs.
    """

    def __init__(self, loop: Loop, client: Client, container: Container) -> None:
        self._loop = loop
        self._client = client
        self._container = container
        self._answer = b""
        self._aborted = False
        self._pending: PendingExec | None = None
        self._shell: Session | None = None

    def wait(self) -> None:
        """Wait until the op announced last may be performed.

        Raises Aborted after ABORT or the end of the connection; each further call raises it again,
        in case a caller has caught it.
        """
        if not self._aborted:
            self._aborted = not self._ask()
        if self._aborted and sys.exc_info()[1] is None:
            raise Aborted("aborted: the container was torn down")

    def _ask(self) -> bool:
        """Ask; returns whether the answer is CONTINUE. The journal is off meanwhile."""
        journal = current_journal()
        use_journal(None)
        try:
            self._answer = b""
            self._client.send(protocol.STEP)
            while self._client.is_open and not self._answer:
                self._loop.turn()
            self._end_shell()
        finally:
            use_journal(journal)
        return self._answer == protocol.CONTINUE

    def on_message(self, client: Client, packet: bytes) -> None:
        """Handle the command's answer, EXEC, or a message for that process."""
        kind = packet[:1]
        if kind in (protocol.CONTINUE, protocol.ABORT):
            self._answer = kind
        elif kind == protocol.EXEC:
            self._start_shell(protocol.content_of(packet))
        elif self._shell is not None:
            self._shell.handle(client, packet)

    def _start_shell(self, content: ExecRequest) -> None:
        """Run a process in the half-made container."""
        from minidock.engine.monitor.step_exec import start_step_exec

        terminal = bool(content["request"].get("Tty"))
        pipes = None if terminal else Pipes(stdin=True)  # not the host's /dev/null
        try:
            entering = start_step_exec(
                self._container,
                content["request"],
                pipes.theirs if pipes else None,
                size=content.get("size"),
            )
        except (MinidockError, OSError) as error:
            self._report_failure(pipes, as_ours(error))
            return
        self._pending = PendingExec(
            self._loop,
            entering,
            entered=lambda child: self._begin_shell(child, pipes, content),
            failed=lambda error: self._report_failure(pipes, error),
        )

    def _report_failure(self, pipes: Pipes | None, error: MinidockError) -> None:
        self._pending = None
        if pipes is not None:
            pipes.close()
        self._client.send(protocol.failure(error))

    def _begin_shell(self, child: ExecProcess, pipes: Pipes | None, content: ExecRequest) -> None:
        self._pending = None
        self._shell = Session(
            self._loop,
            pid=child.pid,
            console=child.console,
            pipes=pipes,
            log=None,
            close_stdin_with_client=True,
            on_end=self._on_shell_exit,
        )
        self._client.send(protocol.STARTED)
        self._client.select_streams(content.get("attach"))
        self._shell.join(self._client)
        self._shell.end_stdin()

    def _end_shell(self) -> None:
        """Kill and reap the process in the half-made container, attached or not.

        It is our child in init's PID namespace: until it is reaped, init cannot exit.
        """
        if self._pending is not None:
            self._pending.abandon()
        if self._shell is not None:
            process.send_signal(self._shell.pidfd, SIGKILL, pid=self._shell.pid)
            self._shell.reap()

    def _on_shell_exit(self, shell: Session) -> None:
        self._client.session = self._shell = None
        self._client.send(protocol.exit_status(shell.exit_code))
