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
from minidock.teach.look.thing import (
    FIRST,
    FREED,
    KEPT,
    OFF,
    ON,
    READY,
    TILES,
    TOUCHED,
    Change,
    Making,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.teach.journal_reader import JournalEntry


class Thing:
    """A thing of the picture, with its state and note after the steps so far.

    was_on: whether it was there after any of them.
    """

    def __init__(self, kind: str, name: str, number: int) -> None:
        self.kind = kind
        self.name = name
        self.number = number
        self.tile = TILES[kind]
        self.state = OFF
        self.was_on = False
        self.note = ""


class Step:
    """An operation: its entry, the rows that it belongs to, and what it changes."""

    def __init__(self, entry: JournalEntry) -> None:
        self.entry = entry
        self.rows = rows_of(entry.record.get("isolation", []))
        self.phase = (entry.record["actor"], *split_phase(entry.record["phase"]))
        self.changes: list[tuple[Thing, int, str]] = []


class Scene:
    """The things and steps of a journal.

    first: the number of things that precede all steps. counts: of the operations in each row.
    """

    def __init__(self, entries: Iterable[JournalEntry]) -> None:
        self.things: dict[tuple[str, str], Thing] = {}
        self.steps: list[Step] = []
        self.counts = dict.fromkeys(ROWS, 0)
        self.unknown: set[str] = set()
        self._making = Making()
        for kind, name in FIRST:
            self._thing(kind, name).state = ON
        self.first = len(self.things)
        for entry in entries:
            self._add(entry)

    def visible(self, kind: str) -> list[Thing]:
        """The things of a kind that are there after the last step."""
        return [thing for thing in self.things.values() if (thing.kind, thing.state) == (kind, ON)]

    def made(self, kind: str) -> list[Thing]:
        """The things of a kind that were there, though the container may have ended since."""
        return [thing for thing in self.things.values() if thing.kind == kind and thing.was_on]

    def _add(self, entry: JournalEntry) -> None:
        step = Step(entry)
        self.steps.append(step)
        for row in step.rows:
            self.counts[row] += 1
        try:
            changes = changes_of(entry, self._making)
        except (LookupError, TypeError, ValueError, AttributeError):
            self.unknown.add(entry.record["op"])  # of another version, or with other arguments
            return
        self._apply(step, changes)
        if entry.record["op"] == "namespace.clone_process" and entry.errno is None:
            self._host_tree(step)
            self._making.has_ended = False
        elif self._making.has_ended:
            self._free(step)

    def _apply(self, step: Step, changes: list[Change]) -> None:
        """Set states and notes; if nothing alters, the step still concerns its first thing."""
        applied = [(self._thing(change.kind, change.name), change) for change in changes]
        altered = [(thing, change) for thing, change in applied if _alters(thing, change)]
        for thing, change in altered or applied[:1]:
            # A mount point below a mount that is there does not take it away.
            is_behind = change.state == READY and thing.state == ON and thing.kind != "old root"
            if not is_behind:
                thing.state = thing.state if change.state == TOUCHED else change.state
                thing.note = change.note or thing.note
                thing.was_on = thing.was_on or thing.state == ON
            step.changes.append((thing, thing.state, thing.note))

    def _host_tree(self, step: Step) -> None:
        """A new mount namespace begins as a copy of the host's: its tree is the root in it."""
        if any(thing.kind == "mount namespace" for thing, _, _ in step.changes):
            root = self._thing("old root", "host's /")
            root.state = ON
            step.changes.append((root, ON, ""))

    def _free(self, step: Step) -> None:
        """The last process has ended: its namespaces are gone, and what was in them.

        A journal cannot know whether another container has joined one of them.
        """
        for thing in self.things.values():
            is_inside = not thing.tile.startswith("host") and thing.kind not in KEPT
            if thing.state != OFF and (is_inside or thing.kind in FREED):
                thing.state = OFF
                step.changes.append((thing, OFF, thing.note))

    def _thing(self, kind: str, name: str) -> Thing:
        key = (kind, name)
        if key not in self.things:
            self.things[key] = Thing(kind, name, len(self.things))
        return self.things[key]


def _alters(thing: Thing, change: Change) -> bool:
    """Whether a change alters the state or the note of a thing."""
    is_noted = bool(change.note and change.note != thing.note)
    return is_noted or change.state not in (TOUCHED, thing.state)
