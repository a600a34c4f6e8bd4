"""The journal of a container: one file, to which each process that acts on the container appends.

    engine    a command: it spawns the monitor, stops, removes, pauses; it repairs after a crash
    monitor   launches, runs programs inside, takes down      (engine/monitor/main.py)
    errand    its child, for what waits                       (engine/monitor/child_task.py)
    init, stage, exec   inside; they hold no file, and send their records to the monitor

A launch begins a fresh file, whose first records are those of the command that spawned the monitor.
Restarts by the container's policy are told after it, until they are too many for one file.
A record is one write(2) in append mode, so that records of several processes do not mix. On a full
disk records are lost, and nothing else: no container stays because its journal cannot be written.

The records themselves: kernel/op.py.
"""

from __future__ import annotations

import os

from minidock import jsontext
from minidock.document import open_lines, open_regular
from minidock.errors import DamagedFile
from minidock.kernel.op import Journal, Numbers, current_journal, use_journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minidock.kernel.record import Begin, End
    from minidock.paths import ContainerPaths

SHAPE = {"id": str}  # of every record; the rest: kernel/record.py
_SIGKILL = 9
_LONGEST_BYTES = 1024 * 1024  # some seven restarts
_own: tuple[int, Numbers] | None = None  # the pid of a process that wrote, and its ids


def start_journal(paths: ContainerPaths) -> Callable[[str], None]:
    """Begin a container's journal anew; returns what writes a record to it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    try:
        os.unlink(f"{paths.journal}.1")  # of the launch before
    except FileNotFoundError:
        pass
    return writer(open_regular(paths.journal, flags))


def rotate(paths: ContainerPaths) -> None:
    """Before more is told: one that restarts, or is paused, again and again shall not fill a disk.

    The story so far becomes <file>.1. It is copied, since the monitor has the file open.
    """
    try:
        with open(paths.journal, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size <= _LONGEST_BYTES:
                return
            text = file.read()
        with open(f"{paths.journal}.1", "wb", buffering=0, opener=_for_owner) as file:
            file.write(text)
        os.truncate(paths.journal, 0)  # whoever appends to it goes on at its new end
    except OSError:
        pass


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def begin(
    write: Callable[[str], None], *, actor: str, records: Sequence[str] = (), story: str = ""
) -> None:
    """Put a journal in force for the rest of this process's life.

    records: what another process told of how it created this one, which comes first; the last of
    them is about our creation. story: as Journal has it.
    """
    for record in records:
        write(record)
    born = jsontext.loads(records[-1])["id"] if records else ""
    journal = Journal(write, actor=actor, numbers=_numbers(born), story=story)
    journal.gate = fault_gate()
    use_journal(journal)


def _numbers(born: str = "") -> Numbers:
    """The ids of this process, over all journals that it writes to; a fork's are its own."""
    global _own
    if _own is None or _own[0] != os.getpid():
        _own = (os.getpid(), Numbers(born))
    return _own[1]


def stop_stepping() -> None:
    """Whatever is done from here on, nobody holds it back (engine/monitor/step_gate.py)."""
    journal = current_journal()
    if journal is not None:
        journal.turn = None


class recording:
    """The ops of a block are the command's, and go through `write`.

    Where a journal is in force already (the monitor's, or an outer block's), it stays.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._ours = False

    def __enter__(self) -> None:
        if current_journal() is None:
            begin(self._write, actor="engine")
            self._ours = True

    def __exit__(self, *error: object) -> None:
        if self._ours:
            use_journal(None)


class recording_to(recording):
    """The ops of a block are the command's, and go to the journal that a container has."""

    def __init__(self, paths: ContainerPaths) -> None:
        self._fd = -1
        rotate(paths)
        try:
            # Not made here: a new file would keep a directory from going that is being removed.
            self._fd = open_lines(paths.journal, create=False)
        except (OSError, DamagedFile):
            pass  # the act counts more than its record
        super().__init__(writer(self._fd))

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if self._fd >= 0:
            os.close(self._fd)


def writer(fd: int) -> Callable[[str], None]:
    """What writes records to an open journal; losing one is not an error."""

    def write(record: str) -> None:
        try:
            os.write(fd, record.encode())
        except OSError:
            pass  # a full disk, or no journal: what is done counts more than what is told

    return write


def fault_gate() -> Callable[[Begin | End], None] | None:
    """For the tests of crashes: MINIDOCK_FAULT="<actor>:<n>:<begin|end>" ends the actor just there.

    The n-th record of that kind is written when it dies; with "begin" its act has not been done,
    with "end" it has. Returns None where no fault is asked for.
    """
    wanted = os.environ.get("MINIDOCK_FAULT", "").split(":")
    if len(wanted) != 3:
        return None
    actor, number, kind = wanted[0], int(wanted[1]), wanted[2]

    def gate(record: Begin | End) -> None:
        if record["actor"] == actor and record.get(kind) == number:
            os.kill(os.getpid(), _SIGKILL)
            os._exit(137)  # PID 1 of a namespace cannot kill itself by a signal

    return gate
