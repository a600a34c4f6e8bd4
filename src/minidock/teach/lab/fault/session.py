"""From `lab fault SEED` to its end: one set-up with one fault in a store, and a note about it.

lab/fault.json   {"id", "seed", "kept", "hints"}: written before anything is made, gone after the
                 rest. Which fault it is follows from the seed. Each set-up has another id.

A set-up is made, ended and written about under one lock (`locked`, engine/leftovers/lab.py). Under
it, the note's id says whether the set-up is still the one that was meant: somebody may have ended
it, and begun another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from secrets import token_hex
from typing import Any

from minidock import document, jsontext
from minidock.engine.image.images import ImageStore
from minidock.engine.leftovers.lab import NOTE_SHAPE, locked
from minidock.engine.store.store import prepare
from minidock.errors import Conflict, MinidockError, NotFound, UsageError
from minidock.paths import Store
from minidock.teach.lab.fault import faults_files, faults_network, faults_processes
from minidock.teach.lab.fault.fault import choose
from minidock.teach.lab.fault.promises import PROMISES, broken
from minidock.teach.lab.fault.shop import Shop

KINDS = {
    "on a packet's way": faults_network.FAULTS,
    "of files and mounts": faults_files.FAULTS,
    "of processes and limits": faults_processes.FAULTS,
}
FAULTS = tuple(fault for faults in KINDS.values() for fault in faults)
_LOOKS = 2
_TRIES = 3  # a signal, for one, takes its time


class NoFault(MinidockError):
    """No fault is set up, and something was asked of one."""

    exit_code = 1


class Session:
    """A set-up with a fault in it."""

    def __init__(self, store: Store, note: dict[str, Any]) -> None:
        self.store = store
        self.note = note
        self.seed: str = note["seed"]
        self.fault = choose(FAULTS, self.seed)
        self.shop = Shop(store)
        self.shop.kept = note["kept"]

    def save(self) -> None:
        """Write the note; the caller has the lock."""
        document.write(self.store.lab_note, jsontext.dumps(self.note), durable=True)

    def check_current(self) -> None:
        """Raise NoFault, or Conflict, where this set-up is gone; the caller has the lock."""
        now = current(self.store).note
        if (now.get("id"), now["seed"]) != (self.note.get("id"), self.seed):
            raise Conflict(
                f"the set-up of {self.seed} has been taken away, and another one has been made",
                hint="minidock lab fault     says how that one stands",
            )

    def broken(self) -> dict[str, str]:
        """What is still wrong: promise -> what was seen. What was not so at each of a few looks
        was the machine's slowness, and is not told."""
        found = broken(self.shop)
        for _ in range(_LOOKS - 1):
            if found:
                found = broken(self.shop, found)
        return found

    def looks(self) -> list[str]:
        """What shows the fault: commands, with the names filled in."""
        return [filled(line, self.shop.names()) for line in self.fault.look]

    def hint(self) -> str:
        """The next thing to look at; the last one again when there are no more."""
        number: int = min(self.note["hints"], len(self.fault.look) - 1)
        self.note["hints"] = number + 1
        with locked(self.store):
            self.check_current()
            self.save()
        return self.looks()[number]

    def reference(self) -> str:
        """The script of the reference's repair, with the names filled in."""
        return filled(self.fault.fix.strip(), self.shop.names())

    def fix(self) -> str:
        """Do what the reference does; returns its script."""
        told = self.reference()
        self.shop.sh(self.fault.fix)
        return told

    def undo(self) -> None:
        """Take away what the fault has put elsewhere than into the set-up, if it is still there."""
        if self.fault.undo and self.note["kept"]:
            then = Shop(self.store)
            then.kept, then.is_as_kept = self.note["kept"], True
            then.sh(self.fault.undo)

    def end(self) -> None:
        """Take the set-up away, repaired or not. Raises Conflict where somebody uses it; then all
        of it is still there."""
        with locked(self.store):
            self.check_current()
            self.shop.check_unused()
            self.take_away()

    def take_away(self) -> None:
        """Remove all that is the set-up's, its note last; the caller has the lock."""
        self.undo()
        self.shop.end()
        os.unlink(self.store.lab_note)


def begin(store: Store, seed: str, *, is_allowed: Callable[[], bool]) -> tuple[Session, list[str]]:
    """Make the set-up, see that it works, and put in the fault that a seed names.

    is_allowed: whether this machine may be changed for others too; asked only for such faults.
    Returns it with what is seen now, of each promise that is broken a sentence.
    Raises Conflict where one is set up already, UsageError where the fault is not allowed. On an
    error nothing is left.
    """
    _check(store, seed, is_allowed)
    if os.path.exists(store.lab_note):
        raise _there_already()
    with locked(store):
        session = Session(store, {"id": token_hex(8), "seed": seed, "kept": {}, "hints": 0})
        _claim(session)
        try:
            return session, told(_make(session))
        except BaseException:
            session.take_away()
            raise


def _make(session: Session) -> dict[str, str]:
    """Make the set-up, and break it; returns what is seen: promise -> what."""
    session.shop.make()
    if wrong := told(session.broken()):
        first = wrong[0].replace("\n", ": ")
        raise MinidockError(
            f"the set-up does not work on this machine, without any fault: {first}",
            hint="minidock doctor     says what this machine can and cannot do",
        )
    session.note["kept"] = session.shop.keep()
    session.save()
    session.shop.sh(session.fault.inject)
    return _symptom(session)


def _check(store: Store, seed: str, is_allowed: Callable[[], bool]) -> None:
    """Raise UsageError or NotFound for what keeps a fault from being set up; make the store."""
    shared = choose(FAULTS, seed).shared
    if shared and not is_allowed():
        raise UsageError(
            f"the fault of {seed} touches more than its set-up ({shared}), and this is no virtual "
            "machine",
            hint="use one that may break (vagrant up), another seed, or say --yes-in-a-vm",
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
    """Raise Conflict where somebody has things of the set-up's names, which its end would take."""
    for kind, names in session.shop.things().items():
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


def _symptom(session: Session) -> dict[str, str]:
    """What is broken by the fault: all that it says, and nothing that a second look does not see.

    Raises MinidockError where it does not come to that.
    """
    fault = session.fault
    for _ in range(_TRIES):
        seen = broken(session.shop)
        doubtful = {*seen} - {*fault.breaks, *fault.also}
        confirmed = broken(session.shop, doubtful) if doubtful else {}
        if {*fault.breaks} <= {*seen}:
            return {name: seen[name] for name in seen if name not in doubtful or name in confirmed}
    raise MinidockError(
        f"the fault of {session.seed} has no effect on this machine",
        hint="another seed has another fault",
    )


def current(store: Store) -> Session:
    """The fault that is set up. Raises NoFault where there is none, DamagedFile."""
    try:
        return Session(store, document.read(store.lab_note, NOTE_SHAPE))
    except FileNotFoundError:
        raise NoFault(
            "no fault is set up",
            hint="minidock lab fault SEED     sets one up: a number or a name",
        ) from None


def told(seen: dict[str, str]) -> list[str]:
    """Each broken promise as a sentence, with what was seen."""
    return [f"{sentence(name)}\n{text}" for name, text in seen.items()]


def sentence(name: str) -> str:
    """What a promise says."""
    return next(promise.text for promise in PROMISES if promise.name == name)


def filled(script: str, names: dict[str, str]) -> str:
    """A script with the names of the set-up's parts in the place of its variables."""
    for name in sorted(names, key=len, reverse=True):
        script = script.replace(f"${name}", names[name])
    return script


def _claim(session: Session) -> None:
    """Write the note, where nobody has the set-up's names; the caller has the lock."""
    if os.path.lexists(session.store.lab_note):
        raise _there_already()
    _check_names(session)
    session.save()


def _there_already() -> Conflict:
    return Conflict(
        "a fault is set up already",
        hint="minidock lab check            says what is still wrong\n"
        "minidock lab fault --end      gives it up",
    )
