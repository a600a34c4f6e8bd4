"""Stories beside a container's own: what execs, probes, copies, builds and networks did.

    containers/<id>/exec.jsonl      programs that `exec` added             exec <id>
    containers/<id>/health.jsonl    probes of the health check             health <moment>
    containers/<id>/cp.jsonl        copies into it and out of it           cp <id>
    build/journal.jsonl             builds                                 build <id> <step>
    networks/<name>.jsonl           a network's making, who came and went  create, connect <name> …

Each is a journal like the container's (journal.py), in which a record says by `story` what it is
part of. None grows for ever: a file that has reached its limit becomes <file>.1, in the place of
the one before, when the next story begins. So the last stories are there, up to twice the limit.
"""

from __future__ import annotations

import os

from minidock.document import open_lines
from minidock.engine.store.journal import fault_gate, writer
from minidock.errors import DamagedFile
from minidock.kernel.op import Journal, current_journal, use_journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


_MOST_BYTES = 512 * 1024  # a probe or an exec has some 20 KB
_MOST_OF_A_BUILD_BYTES = 4 * 1024 * 1024  # a RUN has some 150 KB


class recording_story:
    """The ops of the block are a story of their own, in the journal at `path`.

    story: what its records say. A journal that is in force outside has them not. Where there is no
    directory for the file, nothing is written down.
    """

    def __init__(self, path: str, story: str) -> None:
        self._path = path
        self._story = story
        self._outside = current_journal()

    def __enter__(self) -> None:
        rotate(self._path)
        write = appender(self._path)
        if self._outside is not None:
            journal = self._outside.aside(write, story=self._story)
        else:
            journal = Journal(write, actor="engine", story=self._story)
            journal.gate = fault_gate()
        use_journal(journal)

    def __exit__(self, *error: object) -> None:
        use_journal(self._outside)


def appender(path: str) -> Callable[[str], None]:
    """What writes records to a journal by its path.

    It holds no descriptor: what a story has begun may tell of its end long after the block.
    """

    def append(record: str) -> None:
        if (fd := open_for_append(path)) >= 0:
            writer(fd)(record)
            os.close(fd)

    return append


def rotate(path: str) -> None:
    """Before a story begins: what is too long becomes <path>.1."""
    most = _MOST_OF_A_BUILD_BYTES if path.endswith("/build/journal.jsonl") else _MOST_BYTES
    try:
        if os.path.exists(path) and os.stat(path).st_size > most:
            os.rename(path, f"{path}.1")
    except OSError:
        pass  # what is done counts more than what is told


def open_for_append(path: str) -> int:
    """A descriptor of a journal's end; -1 on a full disk, or where there is no place for it."""
    try:
        return open_lines(path)
    except (OSError, DamagedFile):
        return -1


def remove_journal(path: str) -> None:
    """Remove a journal whose subject is gone; nothing happens where there is none."""
    for each in (path, f"{path}.1"):
        try:
            os.unlink(each)
        except FileNotFoundError:
            continue
