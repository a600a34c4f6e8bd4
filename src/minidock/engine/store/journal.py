"""The journal of a container: one file, to which all processes that act on the container append.

    engine    a command: spawns the monitor, stops, removes, pauses; repairs after a crash
    monitor   creates the container, runs exec, tears down    (engine/monitor/main.py)
    task      its child, for blocking work                    (engine/monitor/child_task.py)
    init, stage, exec   in the container; they send their records to the monitor

Each start creates a new file, whose first records are those of the command that spawned the
monitor. Records of restarts by the policy follow, until the file is rotated. A record is one
write(2) in append mode, so that records of several processes do not mix. On a full disk records are
lost, but no operation fails. The records are defined in kernel/record.py.
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

    from minidock.document import Shape
    from minidock.kernel.record import Begin, End
    from minidock.paths import ContainerPaths

SHAPE: Shape = {"id": str}  # of every record; the rest: kernel/record.py
_SIGKILL = 9
_LONGEST_BYTES = 1024 * 1024  # about seven restarts
_own: tuple[int, Numbers] | None = None  # the pid of this process, and its ids


def start_journal(paths: ContainerPaths) -> Callable[[str], None]:
    """Start a new journal for a container; returns its writer."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    try:
        os.unlink(f"{paths.journal}.1")  # of the previous start
    except FileNotFoundError:
        pass
    return writer(open_regular(paths.journal, flags))


def rotate(paths: ContainerPaths) -> None:
    """Rotate a long journal, so that a container which keeps restarting cannot fill the disk.

    It is copied to <file>.1, since the monitor has the file open.
    """
    try:
        with open(paths.journal, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size <= _LONGEST_BYTES:
                return
            text = file.read()
        with open(f"{paths.journal}.1", "wb", buffering=0, opener=_for_owner) as file:
            file.write(text)
        os.truncate(paths.journal, 0)  # further appends go to its new end
    except OSError:
        pass


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def begin(
    write: Callable[[str], None], *, actor: str, records: Sequence[str] = (), story: str = ""
) -> None:
    """Set the current journal for the rest of this process's life.

    records: of the process that created this one, which are written first; the last one is about
    our creation. story: see Journal.
    """
    for record in records:
        write(record)
    stem = jsontext.loads(records[-1])["id"] if records else ""
    journal = Journal(write, actor=actor, numbers=_numbers(stem), story=story)
    journal.gate = fault_gate()
    use_journal(journal)


def _numbers(stem: str = "") -> Numbers:
    """Return the ids of this process, shared by all its journals; a forked child has its own."""
    global _own
    if _own is None or _own[0] != os.getpid():
        _own = (os.getpid(), Numbers(stem))
    return _own[1]


def stop_stepping() -> None:
    """Stop the debugger's stepping: all further ops proceed (engine/monitor/step_gate.py)."""
    journal = current_journal()
    if journal is not None:
        journal.turn = None


class recording:
    """Records the ops of a block as those of a command, through `write`.

    An existing current journal (the monitor's, or an outer block's) stays.
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
    """Records the ops of a block as those of a command, in the container's journal."""

    def __init__(self, paths: ContainerPaths) -> None:
        self._fd = -1
        rotate(paths)
        try:
            # Not created here: a new file would prevent the removal of a directory.
            self._fd = open_lines(paths.journal, create=False)
        except (OSError, DamagedFile):
            pass  # the operation must not fail because of its record
        super().__init__(writer(self._fd))

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if self._fd >= 0:
            os.close(self._fd)


def writer(fd: int) -> Callable[[str], None]:
    """Return a writer for an open journal; losing a record is not an error."""

    def write(record: str) -> None:
        try:
            os.write(fd, record.encode())
        except OSError:
            pass  # a full disk, or no journal: the operation must not fail because of it

    return write


def fault_gate() -> Callable[[Begin | End], None] | None:
    """For crash tests: MINIDOCK_FAULT="<actor>:<n>:<begin|end>" kills the actor at this record.

    It dies after writing the n-th record of that kind: with "begin" before the act, with "end"
    after it. Returns None if no fault is requested.
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
