"""`run --step`: create a container one operation at a time, with a prompt on stdin."""

from __future__ import annotations

import sys

from minidock.engine.lifecycle.start import start
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
    debugger = Debugger(
        container,
        out=sys.stderr,
        language=language,
        read_line=Lines(sys.stderr, verbs(), nouns()),
    )
    return (
        start(
            container.store,
            container.id,
            attach=attachment,
            on_record=debugger.on_record,
            on_started=debugger.on_started,
            on_step=debugger.on_step,
        )
        or 0
    )
