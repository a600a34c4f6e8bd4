"""The scene: a journal's entries as things and steps. Pure: it reads nothing but the entries.

    JournalEntry …  ->  Scene: things, each with a kind, a name and a tile
                               steps, each an operation with the things that it changes

    step.changes    [index of a thing, state, note]; state and note are those after the step

A step whose operation this version of minidock does not know changes nothing, and is listed in
`unknown`.
"""

from __future__ import annotations

from minidock.teach.journal_reader import split_phase
from minidock.teach.look.changes import changes_of
from minidock.teach.look.rows import ROWS, rows_of
from minidock.teach.look.thing import FIRST, OFF, ON, READY, TILES, TOUCHED, Change, Making

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.teach.journal_reader import JournalEntry


class Thing:
    """A thing of the picture, with its state and note after the steps so far."""

    def __init__(self, kind: str, name: str, number: int) -> None:
        self.kind = kind
        self.name = name
        self.number = number
        self.tile = TILES[kind]
        self.state = OFF
        self.note = ""


class Step:
    """An operation: its entry, the rows that it belongs to, and what it changes."""

    def __init__(self, entry: JournalEntry) -> None:
        self.entry = entry
        self.rows = rows_of(entry.record.get("isolation", []))
        self.phase = (entry.record["actor"], *split_phase(entry.record["phase"]))
        self.changes: list[tuple[Thing, int, str]] = []


class Scene:
    """The things and steps of a journal. first: the number of things that precede all steps."""

    def __init__(self, entries: Iterable[JournalEntry]) -> None:
        self.things: dict[tuple[str, str], Thing] = {}
        self.steps: list[Step] = []
        self.unknown: set[str] = set()
        self._making = Making()
        for kind, name in FIRST:
            self._thing(kind, name).state = ON
        self.first = len(self.things)
        for entry in entries:
            self._add(entry)

    def counts(self) -> dict[str, int]:
        """The number of operations in each row."""
        counts = dict.fromkeys(ROWS, 0)
        for step in self.steps:
            for row in step.rows:
                counts[row] += 1
        return counts

    def visible(self, kind: str) -> list[Thing]:
        """The things of a kind that are there after the last step."""
        return [thing for thing in self.things.values() if (thing.kind, thing.state) == (kind, ON)]

    def _add(self, entry: JournalEntry) -> None:
        step = Step(entry)
        self.steps.append(step)
        try:
            changes = changes_of(entry, self._making)
        except (LookupError, TypeError, ValueError, AttributeError):
            self.unknown.add(entry.record["op"])  # of another version, or with other arguments
            return
        applied = [(self._thing(change.kind, change.name), change) for change in changes]
        moved = [(thing, change) for thing, change in applied if _alters(thing, change)]
        for thing, change in moved or applied[:1]:
            if change.state == READY and thing.state == ON and thing.kind != "old root":
                pass  # a mount point below a mount that is there
            else:
                thing.state = thing.state if change.state == TOUCHED else change.state
                thing.note = change.note or thing.note
            step.changes.append((thing, thing.state, thing.note))
        if entry.record["op"] == "namespace.clone_process" and entry.errno is None:
            self._host_tree(step)

    def _host_tree(self, step: Step) -> None:
        """A new mount namespace begins as a copy of the host's: its tree is the root in it."""
        if any(thing.kind == "mount namespace" for thing, _, _ in step.changes):
            root = self._thing("old root", "host's /")
            root.state = ON
            step.changes.append((root, ON, ""))

    def _thing(self, kind: str, name: str) -> Thing:
        key = (kind, name)
        if key not in self.things:
            self.things[key] = Thing(kind, name, len(self.things))
        return self.things[key]


def _alters(thing: Thing, change: Change) -> bool:
    """Whether a change alters the state or the note of a thing."""
    is_noted = bool(change.note and change.note != thing.note)
    return is_noted or change.state not in (TOUCHED, thing.state)
