"""From `lab fault SEED` to its end: one set-up with one fault in a store, and its note.

lab/fault.json   {"id", "seed", "kept", "hints"}: written before anything is created, removed last.
                 The seed determines the fault. Each set-up has a new id.

A set-up is created, ended and recorded under one lock (`lab_lock`, engine/leftovers/lab.py). Under
it, the note's id tells whether this set-up is still the current one: another command may have ended
it and started a new one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from secrets import token_hex
from typing import NotRequired, TypedDict

from minidock import document, jsontext
from minidock.engine.image.images import ImageStore
from minidock.engine.leftovers.lab import NOTE_SHAPE, lab_lock
from minidock.engine.store.store import prepare
from minidock.errors import Conflict, MinidockError, NotFound, UsageError
from minidock.paths import Store
from minidock.teach.lab.fault import faults_files, faults_network, faults_processes
from minidock.teach.lab.fault.fault import choose
from minidock.teach.lab.fault.promises import PROMISES, find_broken
from minidock.teach.lab.fault.shop import Shop

KINDS = {
    "on a packet's way": faults_network.FAULTS,
    "of files and mounts": faults_files.FAULTS,
    "of processes and limits": faults_processes.FAULTS,
}
FAULTS = tuple(fault for faults in KINDS.values() for fault in faults)
_LOOKS = 2
_TRIES = 3  # a signal, for example, takes effect later


class NoFault(MinidockError):
    """No fault is set up."""

    exit_code = 1


class Note(TypedDict):
    """The content of lab/fault.json. kept: names of things that a fault may remove, for its undo.

    hints: how many were given. Notes of earlier versions have no id.
    """

    id: NotRequired[str]
    seed: str
    kept: dict[str, str]
    hints: int


class Session:
    """A set-up with a fault."""

    def __init__(self, store: Store, note: Note) -> None:
        self.store = store
        self.note = note
        self.seed = note["seed"]
        self.fault = choose(FAULTS, self.seed)
        self.shop = Shop(store)
        self.shop.saved_names = note["kept"]

    def save(self) -> None:
        """Write the note; the caller has the lock."""
        document.write(self.store.lab_note, jsontext.dumps(self.note), durable=True)

    def check_current(self) -> None:
        """Raise NoFault or Conflict if this set-up is gone; the caller has the lock."""
        now = current(self.store).note
        if (now.get("id"), now["seed"]) != (self.note.get("id"), self.seed):
            raise Conflict(
                f"the set-up of {self.seed} was removed, and another one has been made",
                hint="minidock lab fault     shows its state",
            )

    def find_broken(self) -> dict[str, str]:
        """Find the broken promises: promise -> what was seen.

        Only those that are broken in each of a few rounds: else the machine was slow.
        """
        found = find_broken(self.shop)
        for _ in range(_LOOKS - 1):
            if found:
                found = find_broken(self.shop, found)
        return found

    def look_commands(self) -> list[str]:
        """The commands that show the fault, with names substituted."""
        return [substitute_names(line, self.shop.names()) for line in self.fault.look]

    def hint(self) -> str:
        """The next command to look with; after the last one, that again."""
        number = min(self.note["hints"], len(self.fault.look) - 1)
        self.note["hints"] = number + 1
        with lab_lock(self.store):
            self.check_current()
            self.save()
        return self.look_commands()[number]

    def reference(self) -> str:
        """The script of the reference fix, with names substituted."""
        return substitute_names(self.fault.fix.strip(), self.shop.names())

    def fix(self) -> str:
        """Run the reference fix; returns its script."""
        script = self.reference()
        self.shop.sh(self.fault.fix)
        return script

    def undo(self) -> None:
        """Undo the fault's effects outside the set-up, if they still exist."""
        if self.fault.undo and self.note["kept"]:
            before = Shop(self.store)
            before.saved_names, before.prefer_saved_names = self.note["kept"], True
            before.sh(self.fault.undo)

    def end(self) -> None:
        """Remove the set-up, repaired or not.

        Raises Conflict, and removes nothing, if another container uses it.
        """
        with lab_lock(self.store):
            self.check_current()
            self.shop.check_unused()
            self.remove()

    def remove(self) -> None:
        """Remove the set-up, its note last; the caller has the lock."""
        self.undo()
        self.shop.end()
        os.unlink(self.store.lab_note)


def begin(store: Store, seed: str, *, is_allowed: Callable[[], bool]) -> tuple[Session, list[str]]:
    """Create the set-up, test it, and inject the fault of a seed.

    is_allowed: whether a fault may affect others on this machine; called only for such faults.
    Returns it with a sentence for each broken promise.
    Raises Conflict if one is set up already, UsageError if the fault is not allowed. On an error
    nothing is left.
    """
    _check(store, seed, is_allowed)
    if os.path.exists(store.lab_note):
        raise _already_set_up()
    with lab_lock(store):
        session = Session(store, {"id": token_hex(8), "seed": seed, "kept": {}, "hints": 0})
        _write_first_note(session)
        try:
            return session, describe_broken(_make(session))
        except BaseException:
            session.remove()
            raise


def _make(session: Session) -> dict[str, str]:
    """Create the set-up, and inject the fault; returns promise -> what was seen."""
    session.shop.make()
    if wrong := describe_broken(session.find_broken()):
        first = wrong[0].replace("\n", ": ")
        raise MinidockError(
            f"the set-up does not work on this machine, without any fault: {first}",
            hint="minidock doctor     says what this machine can and cannot do",
        )
    session.note["kept"] = session.shop.save_names()
    session.save()
    session.shop.sh(session.fault.inject)
    return _find_symptoms(session)


def _check(store: Store, seed: str, is_allowed: Callable[[], bool]) -> None:
    """Raise UsageError or NotFound if a fault cannot be set up; prepare the store."""
    shared = choose(FAULTS, seed).shared
    if shared and not is_allowed():
        raise UsageError(
            f"the fault of {seed} touches more than its set-up ({shared}), and this is not a "
            "virtual machine",
            hint="use a VM (vagrant up), another seed, or --yes-in-a-vm",
        )
    if len(store.root.split()) != 1:
        raise UsageError(
            f"the store {store.root!r} has a blank in its path, which the set-up's scripts split",
            hint="MINIDOCK_ROOT names another place for the store",
        )
    prepare(store)
    try:
        ImageStore(store).resolve("busybox")
    except NotFound as error:
        error.hint = "minidock image make busybox     makes the image that the set-up needs"
        raise


def _check_names(session: Session) -> None:
    """Raise Conflict if the set-up's names are taken: `end` would remove these objects."""
    for kind, names in session.shop.list_parts().items():
        for name in names:
            raise Conflict(
                f"there is {kind} {name} already, and the set-up needs that name",
                hint="remove or rename it; or use another store: MINIDOCK_ROOT",
            )
    for path in (session.shop.image, session.shop.disk):
        if os.path.lexists(path):
            raise Conflict(
                f"there is {path} already, and the set-up needs that name",
                hint="minidock system check --repair     removes what an earlier set-up has left, "
                "once no container has it mounted",
            )


def _find_symptoms(session: Session) -> dict[str, str]:
    """Find the promises that the fault breaks, and confirm unexpected ones by a second test.

    Raises MinidockError if the fault has no effect.
    """
    fault = session.fault
    for _ in range(_TRIES):
        seen = find_broken(session.shop)
        doubtful = {*seen} - {*fault.breaks, *fault.also}
        confirmed = find_broken(session.shop, doubtful) if doubtful else {}
        if {*fault.breaks} <= {*seen}:
            return {name: seen[name] for name in seen if name not in doubtful or name in confirmed}
    raise MinidockError(
        f"the fault of {session.seed} has no effect on this machine",
        hint="another seed has another fault",
    )


def current(store: Store) -> Session:
    """The current set-up. Raises NoFault, DamagedFile."""
    try:
        return Session(store, document.read(store.lab_note, NOTE_SHAPE))
    except FileNotFoundError:
        raise NoFault(
            "no fault is set up",
            hint="minidock lab fault SEED     sets one up: a number or a name",
        ) from None


def describe_broken(seen: dict[str, str]) -> list[str]:
    """A sentence for each broken promise, with what was seen."""
    return [f"{sentence(name)}\n{text}" for name, text in seen.items()]


def sentence(name: str) -> str:
    """The text of a promise."""
    return next(promise.text for promise in PROMISES if promise.name == name)


def substitute_names(script: str, names: dict[str, str]) -> str:
    """Substitute a script's variables by the names of the set-up's parts."""
    for name in sorted(names, key=len, reverse=True):
        script = script.replace(f"${name}", names[name])
    return script


def _write_first_note(session: Session) -> None:
    """Write the first note, if the set-up's names are free; the caller has the lock."""
    if os.path.lexists(session.store.lab_note):
        raise _already_set_up()
    _check_names(session)
    session.save()


def _already_set_up() -> Conflict:
    return Conflict(
        "a fault is set up already",
        hint="minidock lab check            shows what is still wrong\n"
        "minidock lab fault --end      ends it",
    )
