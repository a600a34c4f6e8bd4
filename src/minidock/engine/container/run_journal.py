"""The journal file of a run: the container's, or that of the build that it is a step of."""

from __future__ import annotations

import os

from minidock.engine.store.journal import start_journal, writer
from minidock.engine.store.stories import open_for_append

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.engine.container.containers import Container


def journal_of(container: Container) -> tuple[Callable[[str], None], str]:
    """Start a new journal for a run, a RUN's in its build's; returns its writer and its story."""
    build = container.document.get("Build")
    if build is None:
        return start_journal(container.paths), ""
    name = os.path.basename(build["Home"])
    write = writer(open_for_append(container.store.build_journal))
    return write, f"build {name} RUN in {container.id[:12]}"
