"""What a journal tells: its records of begin and end, put together to ops and how they went.

    journal (lines)  ->  Reader  ->  Told: who, where, what, why, how a shell would, how long

The words are the docstrings of the ops; kernel/op.py says what stands in a record.
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
    from typing import Any


def load_ops() -> None:
    """Import every module that declares ops, so that their whys and twins are known."""
    for package in (minidock.kernel, minidock.runtime):
        for module in iter_modules(package.__path__):
            if not module.name.startswith("_"):
                import_module(f"{package.__name__}.{module.name}")


class JournalEntry:
    """One op of a journal, with how it went.

    record: its begin record with why, twin, man and source. number: its place in the story. us:
    microseconds, None where it did not come back (execve, a crash). made: the kernel object that
    came to be. errno: None where it went well; said, hint: the error's own words.
    """

    def __init__(self, begin: dict[str, Any]) -> None:
        self.record = _describe(begin)
        self.number = 0
        self.us: int | None = None
        self.made: Any = None
        self.errno: int | None = None
        self.said = ""
        self.hint = ""

    def finish(self, end: dict[str, Any]) -> None:
        """Take over what the end record says."""
        self.us = end["us"]
        self.made = end.get("made")
        self.errno = end.get("errno")
        self.said = end.get("said", "")
        self.hint = end.get("hint", "")

    @property
    def waits(self) -> bool:
        """Whether what it took was waiting for another process."""
        return bool(self.record.get("wait"))

    @property
    def work_us(self) -> int:
        """How long it worked: nothing, where it waited."""
        return 0 if self.waits else self.us or 0

    @property
    def returns(self) -> bool:
        """Whether the call returns when it succeeds; execve(2) does not."""
        return not self.record["man"].startswith("execve")

    @property
    def executes_command(self) -> bool:
        """Whether init becomes the container's command here."""
        ours = self.record["actor"] == "init" and self.record["op"] == "process.execute"
        return ours and self.errno is None

    @property
    def chapter(self) -> tuple[str, str]:
        """Who did it, and the module in which it was written: ("init", "runtime.rootfs")."""
        return self.record["actor"], split_phase(self.record["phase"])[0]

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        outcome = {"us": self.us, "made": self.made, "errno": self.errno}
        words = {"said": self.said or None, "hint": self.hint or None}
        known = {n: value for n, value in {**outcome, **words}.items() if value is not None}
        return {**self.record, "number": self.number, **known}


def _describe(begin: dict[str, Any]) -> dict[str, Any]:
    """A begin record with its op's words; without them where another version of us has written it.

    Such a journal may name an op that is called otherwise now, or has other arguments; a twin does
    not expect these, and finds fault with them in whatever way.
    """
    try:
        return describe(begin)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return {**begin, "why": "", "man": "", "twin": "", "source": ""}


class JournalReader:
    """Turns a journal's lines into ops, each as soon as it is known how it went."""

    def __init__(self) -> None:
        self._open: dict[
            str, JournalEntry
        ] = {}  # what each process is in the middle of, by its stem
        self._count = 0

    def read(self, line: str) -> list[JournalEntry]:
        """The ops that are over with this line."""
        record = json.loads(line)
        process = _process_of(record)
        before = self._open.pop(process, None)
        over = [] if before is None else [before]
        if "begin" not in record:
            if before is not None:
                before.finish(record)
        elif (entry := JournalEntry(record)).returns:
            self._open[process] = entry
        else:
            over.append(entry)
        return self._numbered(over)

    def rest(self) -> list[JournalEntry]:
        """The ops that never ended."""
        return self._numbered(list(self._open.values()))

    def _numbered(self, over: list[JournalEntry]) -> list[JournalEntry]:
        """Each op gets its number in the story, in the order in which they are told."""
        for entry in over:
            self._count += 1
            entry.number = self._count
        return over


def _process_of(record: dict[str, Any]) -> str:
    """What tells the process that wrote a record; versions before this one had no ids."""
    if "id" in record:
        return str(record["id"]).rpartition(".")[0]
    return f"{record['actor']} {record['pid']}"


@cache
def split_phase(phase: str) -> tuple[str, str]:
    """A phase as its module and function: "runtime.rootfs", "enter_steps".

    What stands in a comprehension or an inner function belongs to the function around it.
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
    """The first line of a function's docstring: a method's may stand in the class above its own.

    __init__, __enter__ and the like are told by their class.
    """
    try:
        found: Any = import_module(f"minidock.{module}")
    except ModuleNotFoundError:
        return ""
    for name in function.split("."):
        if name.startswith("__"):  # what Python itself says of it tells nothing
            break
        found = getattr(found, name, None)
    return "" if found is None else _first_line(getdoc(found))


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().partition("\n")[0]
