"""Ops and their journal: every change of kernel state is a named operation and is recorded.

An *op* is one function that changes kernel state, declared with its man page and with a *twin*: a
function of the same signature that returns the equivalent shell command. Calling an op writes two
records to the current journal, one before the act and one after it (kernel/record.py has all
fields):

    {"id": "9f3c61a2b07e.2.41", "begin": 41, "actor": "monitor", "pid": 71, "t": NS,
     "op": "mount.pivot_root", "args": {...}, "isolation": ["pivot_root"],
     "phase": "runtime.rootfs.enter_rootfs", "line": 57}
    {"id": "9f3c61a2b07e.2.41", "end": 41, ..., "us": 12}
                                               done; with "made": what the kernel created, if known
                                               (a pid, an inode, an index); or refused, with
                                               "errno", "said" and "hint": the error's own text

An *id* is unique across processes, restarts and files, without a central counter: a command starts
with twelve random digits and counts; the ids of a child start with the id of the act that created
it. So `9f3c61a2b07e.2.36.7` is the seventh act of the init that the monitor's act 36 created, and
the command's act 2 created that monitor. begin and end are the last part of the id.

The first record is written before the act because execve(2) and kill(2) may never return. Constant
properties (why, twin, man page) are not repeated in each record: `describe` finds them by the op's
name, from the docstrings.

Every argument needs a text that makes sense to a later reader: `op` refuses a function with an
argument that is not plain data, unless its class has `journal_text` or the op's `shown` converts
it.

This module knows nothing about files or sockets: a Journal writes through the function it is given.
Without a current journal (tests, the OCI runtime on its own), an op is just its function.
"""

from __future__ import annotations

import os
import sys
from _contextvars import ContextVar
from itertools import count
from time import monotonic_ns

from minidock import jsontext
from minidock.kernel.isolation import isolation_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ParamSpec, TypeVar

    from minidock.kernel.record import Begin, Call, End, Outcome, Texts

    P = ParamSpec("P")
    R = TypeVar("R")

REGISTRY: dict[str, Op] = {}
MASK = "…"  # replaces the value of an environment variable
_NO_SECRETS = ("PATH", "HOME", "HOSTNAME", "TERM")
_journal: ContextVar[Journal | None] = ContextVar("journal", default=None)


# Annotations of plain data, which JSON can represent. bytes become their length.
_PLAIN = frozenset({
    "None", "NoReturn", "bool", "int", "str", "bytes", "list[str]", "list[int]", "str | None",
    "int | None", "int | str", "dict[str, object]",
})  # fmt: skip


class Op:
    """The constant properties of an op.

    name: family and function, such as "mount.pivot_root". The family is the module, if not given.
    man: its man page, such as "pivot_root(2)".
    why: the first line of its docstring.
    twin: returns the equivalent shell command, given the arguments as recorded in the journal; a
    line that begins with # is only a comment.
    shown: functions that convert arguments that are not plain data, by their names.
    waits: it waits for another process; its duration is not work.
    """

    def __init__(
        self,
        act: Callable[..., object],
        man: str,
        twin: Callable[..., str],
        shown: dict[str, Callable[..., object]],
        *,
        waits: bool,
        family: str = "",
    ) -> None:
        self.name = f"{family or act.__module__.rpartition('.')[2]}.{act.__name__}"
        self.act = act
        self.man = man
        self.twin = twin
        self.waits = waits
        self.why = (act.__doc__ or "").partition("\n")[0]
        code = act.__code__
        self.parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        self.isolation = isolation_of(self.name)
        self._shown = {"environment": masked, **shown}
        for name, kind in act.__annotations__.items():
            if kind not in _PLAIN and name not in shown:
                self._check(name, act.__globals__.get(kind), kind)

    def _check(self, name: str, declared: object, kind: str) -> None:
        if not hasattr(declared, "journal_text"):
            raise TypeError(
                f"{self.name}: the journal has no text for {name}: {kind}; give the class a method "
                f"journal_text(), or the op shown={{{name!r}: function}}"
            )

    def written(self, arguments: dict[str, object]) -> dict[str, object]:
        """Convert arguments for the journal: plain data, with masked environment values."""
        return {
            name: self._shown[name](value) if name in self._shown else _written(value)
            for name, value in arguments.items()
        }

    def record(self, arguments: dict[str, object]) -> Call:
        """Return the fields of a begin record for this op and its arguments."""
        written = self.written(arguments)
        call: Call = {"op": self.name, "args": written, "isolation": self.isolation(written)}
        if self.waits:
            call["wait"] = True
        return call


class Numbers:
    """The ids of one process's acts: a stem and a counter.

    stem: the id of the act that created the process; twelve random digits where none is known.
    """

    def __init__(self, stem: str = "") -> None:
        self.stem = stem or os.urandom(6).hex()
        self.last = 0
        self._count = count(1)

    def take(self) -> int:
        """The next number; no two threads get the same."""
        self.last = next(self._count)
        return self.last

    @property
    def id(self) -> str:
        """The id of the last act."""
        return f"{self.stem}.{self.last}"


class Journal:
    """Writes the records of an actor, each as one line of JSON, through `write`.

    actor: "engine", "monitor", "task", "init", "stage", "exec", "copy" or "runtime".
    numbers: those of the process, if it has written to another journal before.
    story: what the records belong to, if a file has several stories ("exec 4f1c…").
    gate: called with each record, if set (fault tests use it to kill processes between two acts).
    turn: called before each act, once its begin record is written; returns when the act may
    proceed, and raises if it must not (a debugger steps with it).
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        actor: str,
        numbers: Numbers | None = None,
        story: str = "",
    ) -> None:
        self.write = write
        self.actor = actor
        self.numbers = numbers or Numbers()
        self.story = story
        self.gate: Callable[[Begin | End], None] | None = None
        self.turn: Callable[[], None] | None = None

    def of_child(
        self,
        write: Callable[[str], None],
        *,
        actor: str,
        turn: Callable[[], None] | None = None,
    ) -> Journal:
        """Return the journal of a process that our last act created: its own actor and numbers.

        turn: how it waits for its turn, if we wait for ours.
        """
        journal = Journal(write, actor=actor, numbers=Numbers(self.numbers.id), story=self.story)
        journal.gate = self.gate
        journal.turn = turn if self.turn is not None else None
        return journal

    def aside(self, write: Callable[[str], None], *, story: str) -> Journal:
        """Return a journal of this process for another story, without `turn`."""
        journal = Journal(write, actor=self.actor, numbers=self.numbers, story=story)
        journal.gate = self.gate
        return journal

    def relay(self, record: str) -> None:
        """Write a record that another actor has sent: init has no file open."""
        self.write(record)

    def await_turn(self) -> None:
        """Wait until the last recorded act may proceed, if a debugger steps."""
        if self.turn is not None:
            self.turn()

    def begin(self, op: Op, arguments: dict[str, object], phase: str, line: int) -> int:
        """Write a begin record; returns the number for `end`."""
        number = self.numbers.take()
        record: Begin = {
            "id": f"{self.numbers.stem}.{number}",
            "begin": number,
            "actor": self.actor,
            "pid": os.getpid(),
            "t": monotonic_ns(),
            **op.record(arguments),
            "phase": phase,
            "line": line,
        }
        if self.story:
            record["story"] = self.story
        self.write(jsontext.dumps(record) + "\n")
        if self.gate is not None:
            self.gate(record)
        self.await_turn()
        return number

    def end(self, number: int, started: int, outcome: Outcome) -> None:
        """Write an end record: `made` (what the kernel created), or `errno`, `said` and `hint`."""
        record: End = {
            "id": f"{self.numbers.stem}.{number}",
            "end": number,
            "actor": self.actor,
            "pid": os.getpid(),
            "us": (monotonic_ns() - started) // 1000,
            **outcome,
        }
        self.write(jsontext.dumps(record) + "\n")
        if self.gate is not None:
            self.gate(record)


def use_journal(journal: Journal | None) -> None:
    """Set the current journal of this thread and its forked children; None writes nothing."""
    _journal.set(journal)


def current_journal() -> Journal | None:
    """Return the current journal, if any."""
    return _journal.get()


def op(
    man: str,
    *,
    twin: Callable[..., str],
    shown: dict[str, Callable[..., object]] | None = None,
    waits: bool = False,
    family: str = "",
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a function to be an op: journalled, with its man page and its shell twin.

    shown, waits, family: see Op. Raises TypeError for an argument that has no text for the journal.
    """

    def declare(act: Callable[P, R]) -> Callable[P, R]:
        this = Op(act, man, twin, shown or {}, waits=waits, family=family)
        REGISTRY[this.name] = this

        def perform(*args: P.args, **kwargs: P.kwargs) -> R:
            if _journal.get() is None:
                return act(*args, **kwargs)
            caller = sys._getframe(1)
            phase = f"{caller.f_globals['__name__'][9:]}.{caller.f_code.co_qualname}"
            result: R = perform_in_phase(this, args, kwargs, phase=phase, line=caller.f_lineno)
            return result

        perform.__name__ = act.__name__
        perform.__qualname__ = act.__qualname__
        perform.__doc__ = act.__doc__
        perform.__module__ = act.__module__
        perform.__wrapped__ = act  # type: ignore[attr-defined]
        perform.op = this  # type: ignore[attr-defined]
        return perform

    return declare


def perform_in_phase(
    this: Op, args: Sequence[object], kwargs: dict[str, object], *, phase: str, line: int
) -> Any:  # what the act returns: only who asks knows its type
    """Perform an op as part of a phase: the function whose source contains the act."""
    journal = _journal.get()
    if journal is None:
        return this.act(*args, **kwargs)
    arguments = dict(zip(this.parameters, args, strict=False))
    arguments.update(kwargs)
    number = journal.begin(this, arguments, phase, line)
    started = monotonic_ns()
    try:
        made = this.act(*args, **kwargs)
    except BaseException as error:
        journal.end(number, started, _refusal(error))
        raise
    outcome: Outcome = {} if made is None else {"made": _written(made)}
    journal.end(number, started, outcome)
    return made


def describe(record: Call) -> Texts:
    """Return the constant properties of the op of a begin record: why, man, twin, source.

    Needs the op's module to have been imported. Secrets stay masked in the twin as in the record.
    """
    known = REGISTRY[record["op"]]
    code = known.act.__code__
    return {
        "why": known.why,
        "man": known.man,
        "twin": known.twin(**record["args"]),
        "source": f"{code.co_filename}:{code.co_firstlineno}",
    }


def _refusal(error: BaseException) -> Outcome:
    """Return what the journal records of an error: its errno (0 for none), message and hint."""
    outcome: Outcome = {"errno": getattr(error, "errno", None) or 0, "said": str(error)}
    if hint := getattr(error, "hint", ""):
        outcome["hint"] = hint
    return outcome


def masked(environment: list[str]) -> list[str]:
    """Mask the values of environment variables, which may be passwords.

    The values of common variables that contain no secret stay.
    """
    return [_masked(entry) for entry in environment]


def _masked(entry: str) -> str:
    name = entry.partition("=")[0]
    return entry if name in _NO_SECRETS else f"{name}={MASK}"


def _written(value: Any) -> object:  # Any: most classes have no journal_text
    """Convert a value for the journal; AttributeError if it has no `journal_text`."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_written(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _written(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return value.journal_text()


def of_descriptor(value: object) -> object:
    """Name an open file for the journal by what it refers to; its number alone would not help.

    Returns the number if /proc is missing, or a seccomp filter forbids the call.
    """
    if not isinstance(value, int):
        return _written(value)
    try:
        return os.readlink(f"/proc/self/fd/{value}")
    except OSError:
        return value


def quote(text: str) -> str:
    """Quote a word for a POSIX shell."""
    plain = text and all(c.isalnum() or c in "@%+=:,./-_" for c in text)
    return text if plain else "'" + text.replace("'", "'\"'\"'") + "'"
