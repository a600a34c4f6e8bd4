"""Read a journal: join its begin and end records into one entry per operation.

    journal (lines)  ->  JournalReader  ->  JournalEntry: actor, phase, op, why, twin, duration

The texts are the docstrings of the ops; kernel/op.py defines the records.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from inspect import getdoc
from pkgutil import iter_modules

import minidock.kernel
import minidock.runtime
from minidock.kernel.op import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.kernel.record import Begin, Described, End


def load_ops() -> None:
    """Import all modules that declare ops, to register them."""
    for package in (minidock.kernel, minidock.runtime):
        for module in iter_modules(package.__path__):
            if not module.name.startswith("_"):
                import_module(f"{package.__name__}.{module.name}")


class JournalEntry:
    """One operation of a journal, with its result.

    record: its begin record with why, twin, man and source. number: its position in the story. us:
    its duration in microseconds, None if it did not return (execve, a crash). made: the result,
    such as a new pid. errno: None for success; said, hint: texts of the error.
    """

    def __init__(self, begin: Begin) -> None:
        self.record = _describe(begin)
        self.number = 0
        self.us: int | None = None
        self.made: object = None
        self.errno: int | None = None
        self.said = ""
        self.hint = ""

    def finish(self, end: End) -> None:
        """Add the result from the end record."""
        self.us = end["us"]
        self.made = end.get("made")
        self.errno = end.get("errno")
        self.said = end.get("said", "")
        self.hint = end.get("hint", "")

    @property
    def waits(self) -> bool:
        """Whether its duration is time spent waiting for another process."""
        return bool(self.record.get("wait"))

    @property
    def work_us(self) -> int:
        """Its duration without waiting for other processes."""
        return 0 if self.waits else self.us or 0

    @property
    def returns(self) -> bool:
        """Whether the call returns when it succeeds; execve(2) does not."""
        return not self.record["man"].startswith("execve")

    @property
    def executes_command(self) -> bool:
        """Whether init executes the container's command here."""
        ours = self.record["actor"] == "init" and self.record["op"] == "process.execute"
        return ours and self.errno is None

    @property
    def chapter(self) -> tuple[str, str]:
        """Its actor, and the module that called it: ("init", "runtime.rootfs")."""
        return self.record["actor"], split_phase(self.record["phase"])[0]

    def plain(self) -> dict[str, object]:
        """The entry as a JSON object."""
        outcome = {"us": self.us, "made": self.made, "errno": self.errno}
        words = {"said": self.said or None, "hint": self.hint or None}
        known = {n: value for n, value in {**outcome, **words}.items() if value is not None}
        return {**self.record, "number": self.number, **known}


def _describe(begin: Begin) -> Described:
    """A begin record with its op's texts; with empty texts if another version wrote it.

    Such a journal may have an op with another name or other arguments, on which a twin may raise
    any of these errors.
    """
    try:
        return {**begin, **describe(begin)}
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return {**begin, "why": "", "man": "", "twin": "", "source": ""}


class JournalReader:
    """Turns journal lines into entries, each as soon as its result is known."""

    def __init__(self) -> None:
        self._open: dict[str, JournalEntry] = {}  # the unfinished op of each process
        self._count = 0

    def read(self, line: str) -> list[JournalEntry]:
        """The entries that this line completes."""
        record = json.loads(line)
        process = _process_of(record)
        before = self._open.pop(process, None)
        done = [] if before is None else [before]
        if "begin" not in record:
            if before is not None:
                before.finish(record)
        elif (entry := JournalEntry(record)).returns:
            self._open[process] = entry
        else:
            done.append(entry)
        return self._numbered(done)

    def unfinished(self) -> list[JournalEntry]:
        """The entries without an end record."""
        return self._numbered(list(self._open.values()))

    def _numbered(self, done: list[JournalEntry]) -> list[JournalEntry]:
        """Number the entries in order."""
        for entry in done:
            self._count += 1
            entry.number = self._count
        return done


def _process_of(record: Begin | End) -> str:
    """A key for the process that wrote a record; earlier versions had no ids."""
    if "id" in record:
        return str(record["id"]).rpartition(".")[0]
    return f"{record['actor']} {record['pid']}"


@cache
def split_phase(phase: str) -> tuple[str, str]:
    """A phase as its module and function: "runtime.rootfs", "enter_steps".

    A comprehension or an inner function belongs to its enclosing function.
    """
    names = phase.partition(".<locals>")[0].split(".")
    for truncate in range(len(names) - 1, 0, -1):
        try:
            import_module("minidock." + ".".join(names[:truncate]))
        except ModuleNotFoundError:
            continue
        return ".".join(names[:truncate]), ".".join(names[truncate:])
    return names[0], ".".join(names[1:])


@cache
def purpose_of_module(module: str) -> str:
    """The first line of a module's docstring: "Mounts: what a container sees as its …"."""
    try:
        return _first_line(import_module(f"minidock.{module}").__doc__)
    except ModuleNotFoundError:
        return ""


@cache
def purpose_of_function(module: str, function: str) -> str:
    """The first line of a function's docstring; a method may inherit it from a base class.

    Special methods such as __init__ and __enter__ have the docstring of their class.
    """
    try:
        target: object = import_module(f"minidock.{module}")
    except ModuleNotFoundError:
        return ""
    for name in function.split("."):
        if name.startswith("__"):  # its own docstring would be Python's
            break
        target = getattr(target, name, None)
    return "" if target is None else _first_line(getdoc(target))


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().partition("\n")[0]
