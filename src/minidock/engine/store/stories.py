"""Journals of execs, health probes, copies, builds and networks, beside the container's own.

    containers/<id>/exec.jsonl      programs of `exec`                     exec <id>
    containers/<id>/health.jsonl    probes of the health check             health <moment>
    containers/<id>/cp.jsonl        copies to and from the container       cp <id>
    build/journal.jsonl             builds                                 build <id> <step>
    networks/<name>.jsonl           a network's creation and endpoints     create, connect <name> …

Each is a journal like the container's (journal.py); the field `story` of a record says what it is
part of (third column). Size is limited: when a story begins and the file has reached its limit, it
is renamed to <file>.1, which replaces an older one. So the last stories are kept, up to twice the
limit.
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


_MOST_BYTES = 512 * 1024  # a probe or an exec takes about 20 KB
_MOST_OF_A_BUILD_BYTES = 4 * 1024 * 1024  # a RUN takes about 150 KB


class recording_story:
    """Records the ops of the block as a story of their own, in the journal at `path`.

    story: of its records. The outer current journal does not get these records. If the file's
    directory does not exist, nothing is recorded.
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
    """Return a writer that opens a journal by its path for each record.

    It keeps no descriptor open: an act can end long after the block.
    """

    def append(record: str) -> None:
        if (fd := open_for_append(path)) >= 0:
            writer(fd)(record)
            os.close(fd)

    return append


def rotate(path: str) -> None:
    """Rename a journal that is too long to <path>.1, before a story begins."""
    most = _MOST_OF_A_BUILD_BYTES if path.endswith("/build/journal.jsonl") else _MOST_BYTES
    try:
        if os.path.exists(path) and os.stat(path).st_size > most:
            os.rename(path, f"{path}.1")
    except OSError:
        pass  # the operation must not fail because of its journal


def open_for_append(path: str) -> int:
    """Open a journal for appending; -1 on a full disk, or if its directory does not exist."""
    try:
        return open_lines(path)
    except (OSError, DamagedFile):
        return -1


def remove_journal(path: str) -> None:
    """Remove a journal whose subject was removed. Idempotent."""
    for each in (path, f"{path}.1"):
        try:
            os.unlink(each)
        except FileNotFoundError:
            continue
