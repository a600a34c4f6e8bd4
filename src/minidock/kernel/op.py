"""Ops and their journal: every act on the kernel says what it is, and is written down.

An *op* is one function that changes kernel state, declared with its man page and with a *twin*: a
function of the same signature that returns the same act as a shell command. Calling an op writes
two records to the journal in force, one before the act and one after it:

    {"begin": SEQ, "actor": "init", "pid": 71, "t": NS, "op": "mount.pivot_root",
     "args": {...}, "phase": "runtime.rootfs.enter_rootfs", "line": 57}
    {"end": SEQ, ..., "us": 12}                done; with "made": what the kernel made, where it
    {"end": SEQ, ..., "us": 9, "errno": 22,    says (a pid, an inode, an index); or refused, with
     "said": "...", "hint": "..."}             the error's own words

An end belongs to the begin of the same actor, pid and number: several processes may write to one
journal, each with numbers of its own.

The first is written before the act because execve(2) and kill(2) may never return. What is fixed
(why, twin, man page) is not repeated in each record: `describe` finds it by the op's name, from the
docstrings, which are the narration.

This module knows nothing of files or sockets: a Journal writes through the function it is given.
Where no journal is in force (tests, the bare OCI runtime), an op is just its function.
"""

from __future__ import annotations

import os
import sys
from _contextvars import ContextVar
from time import monotonic_ns

from minidock import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")

REGISTRY: dict[str, Op] = {}
_journal: ContextVar[Journal | None] = ContextVar("journal", default=None)


class Op:
    """What is fixed about one op.

    name: module and function, such as "mount.pivot_root".
    man: its man page, such as "pivot_root(2)".
    why: the first line of its docstring.
    twin: returns the shell command that does the same, given the same arguments.
    """

    def __init__(self, act: Callable[..., Any], man: str, twin: Callable[..., str]) -> None:
        self.name = f"{act.__module__.rpartition('.')[2]}.{act.__name__}"
        self.act = act
        self.man = man
        self.twin = twin
        self.why = (act.__doc__ or "").partition("\n")[0]
        code = act.__code__
        self.parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


class Journal:
    """Writes an actor's records, each as one line of JSON, through `write`.

    actor: "engine", "monitor" or "init".
    gate: called with each record, when set (how fault tests end the world between two acts).
    turn: called before each act, once its begin record is written; returns when it may be done, and
    raises where it may not (how a debugger goes through them one by one).
    after: the number of the last record, which the next follows.
    """

    def __init__(self, write: Callable[[str], None], *, actor: str, after: int = 0) -> None:
        self.write = write
        self.actor = actor
        self.gate: Callable[[dict[str, Any]], None] | None = None
        self.turn: Callable[[], None] | None = None
        self.last = after

    def of_child(
        self,
        write: Callable[[str], None],
        *,
        actor: str,
        turn: Callable[[], None] | None = None,
    ) -> Journal:
        """The journal of a process that this one bears: its own actor and numbers.

        turn: how it asks us for its turn, where we ask for ours.
        """
        journal = Journal(write, actor=actor)
        journal.gate = self.gate
        journal.turn = turn if self.turn is not None else None
        return journal

    def relay(self, record: str) -> None:
        """Write down what another actor tells: init holds no file, and sends its records."""
        self.write(record)

    def await_turn(self) -> None:
        """Wait until the act that was written down last may be done, where somebody watches."""
        if self.turn is not None:
            self.turn()

    def begin(self, op: Op, arguments: dict[str, Any], phase: str, line: int) -> int:
        """Write down what is about to be done; returns the number that `end` wants."""
        self.last += 1
        number = self.last
        record = {
            "begin": number,
            "actor": self.actor,
            "pid": os.getpid(),
            "t": monotonic_ns(),
            "op": op.name,
            "args": shown(arguments),
            "phase": phase,
            "line": line,
        }
        self.write(jsontext.dumps(record) + "\n")
        if self.gate is not None:
            self.gate(record)
        self.await_turn()
        return number

    def end(self, number: int, started: int, **outcome: Any) -> None:
        """Write down how it went: `made` (what the kernel made), or `errno`, `said` and `hint`."""
        record = {
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
    """Put a journal in force for this thread and what it forks; None writes nothing."""
    _journal.set(journal)


def current_journal() -> Journal | None:
    """The journal in force, if any."""
    return _journal.get()


def op(man: str, *, twin: Callable[P, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a function to be an op: journalled, with its man page and its shell twin."""

    def declare(act: Callable[P, R]) -> Callable[P, R]:
        this = Op(act, man, twin)
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
    this: Op, args: Sequence[Any], kwargs: dict[str, Any], *, phase: str, line: int
) -> Any:
    """Perform an op on behalf of a phase: the function in whose text the act was written."""
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
        journal.end(number, started, **_refusal(error))
        raise
    outcome = {} if made is None else {"made": _shown(made)}
    journal.end(number, started, **outcome)
    return made


def describe(record: dict[str, Any]) -> dict[str, Any]:
    """A begin record with what is fixed about its op: why, man, twin, source.

    Needs the op's module to have been imported. Secrets stay masked in the twin as in the record.
    """
    known = REGISTRY[record["op"]]
    code = known.act.__code__
    return {
        **record,
        "why": known.why,
        "man": known.man,
        "twin": known.twin(**record["args"]),
        "source": f"{code.co_filename}:{code.co_firstlineno}",
    }


def _refusal(error: BaseException) -> dict[str, Any]:
    """What the journal keeps of an error: its errno (0 for none), its words and its hint."""
    told: dict[str, Any] = {"errno": getattr(error, "errno", None) or 0, "said": str(error)}
    if hint := getattr(error, "hint", ""):
        told["hint"] = hint
    return told


def shown(arguments: dict[str, Any]) -> dict[str, Any]:
    """An op's arguments as the journal has them: JSON, and no value of an environment."""
    return {
        name: _masked(value) if name == "environment" else _shown(value)
        for name, value in arguments.items()
    }


def _masked(environment: list[str]) -> list[str]:
    """Environment entries without their values, which may be passwords."""
    return [entry.partition("=")[0] + "=…" for entry in environment]


def _shown(value: Any) -> Any:
    """The form in which a value stands in the journal: JSON as it is, the rest by its str()."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return str(value)


def quote(text: str) -> str:
    """A word as a POSIX shell takes it."""
    plain = text and all(c.isalnum() or c in "@%+=:,./-_" for c in text)
    return text if plain else "'" + text.replace("'", "'\"'\"'") + "'"
