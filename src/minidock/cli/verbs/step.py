"""`run --step`: create a container one operation at a time, with a prompt on stdin."""

from __future__ import annotations

import sys

from minidock.engine.lifecycle.start import start
from minidock.teach.step.command_socket import CommandSocket
from minidock.teach.step.debugger import Debugger
from minidock.teach.step.debugger_commands import nouns, verbs
from minidock.teach.step.prompt import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container
    from minidock.engine.monitor.attach import Attachment
    from minidock.teach.language import Language


def run_in_steps(container: Container, attachment: Attachment | None, language: Language) -> int:
    """Start a new container in steps and stay attached; returns its exit code.

    Raises Aborted if the user aborted; the container is removed then.
    """
    terminal = Lines(sys.stderr, verbs(), nouns())
    with CommandSocket(container.paths, terminal, sys.stderr) as commands:
        debugger = Debugger(
            container, out=sys.stderr, language=language, read_line=commands.read_line
        )

        def on_started() -> None:
            commands.close()
            debugger.on_started()

        code = start(
            container.store,
            container.id,
            attach=attachment,
            on_record=debugger.on_record,
            on_started=on_started,
            on_step=debugger.on_step,
        )
    return code or 0
