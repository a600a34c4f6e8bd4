"""Acts that are not done: the ops of a run that has not taken place, as a journal would tell them.

An act knows its actor, its op with all arguments, and its phase: the function of the engine or the
runtime that would call the op. What only the run can know (a pid, a descriptor, a port of the
kernel's choice) is a slot, written `$pid`, as in init's program (runtime/program.py).
"""

from __future__ import annotations

from minidock.kernel.op import Op, describe
from minidock.runtime.program import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from minidock.runtime.program import Step

PID = Slot("pid")
PLACE = f"/proc/{PID}/ns/net"  # the container's network namespace
_SLOTS = (
    "pid", "control", "channel", "fifo", "namespace", "home", "cgroup", "program", "port",
    "udp_port", "tcp_port", "console", "keeper", "command", "layer",
    "random", "subpath",
)  # fmt: skip


class Act:
    """One op that would be performed.

    actor: "engine", "monitor" or "init". arguments: by name, with their Python values.
    """

    def __init__(
        self, actor: str, op: Op, arguments: dict[str, Any], phase: str, line: int
    ) -> None:
        self.actor = actor
        self.op = op
        self.arguments = arguments
        self.phase = phase
        self.line = line

    def record(self, number: int) -> dict[str, Any]:
        """What the journal would say at its beginning, but for the time and the actor's pid."""
        return {
            "begin": number,
            "actor": self.actor,
            **self.op.record(self.arguments),
            "phase": self.phase,
            "line": self.line,
        }

    def described(self, number: int) -> dict[str, Any]:
        """The record with its why, man page, source and twin, in which slots are variables."""
        record = self.record(number)
        marked = describe({**record, "args": _mark(record["args"])})
        return {**marked, "args": record["args"], "twin": variables(marked["twin"])}


class Acts:
    """The acts of a run, in the order of its journal.

    foresee: asked about each act; raises where the run would end with it.
    """

    def __init__(self, foresee: Callable[[Act], None] | None = None) -> None:
        self.all: list[Act] = []
        self._foresee = foresee
        self.actor = "engine"
        self._slots: dict[str, Any] = {}

    def add(
        self, author: Callable[..., Any], act: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        """One more act. author: the function that would call it. act: a function that is an op."""
        op: Op = act.op  # type: ignore[attr-defined]
        arguments = dict(zip(op.parameters, args, strict=False)) | kw
        code = getattr(author, "__wrapped__", author).__code__
        phase = f"{author.__module__[9:]}.{author.__qualname__}"
        self._append(Act(self.actor, op, arguments, phase, code.co_firstlineno))

    def _append(self, act: Act) -> None:
        self.all.append(act)
        if self._foresee is not None:
            self._foresee(act)

    def perform(self, program: Iterable[Step], find: Callable[[Step], Any]) -> None:
        """The steps of a program that are ops. find: what any other step would fill a slot with."""
        for step in program:
            op: Op | None = getattr(step.act, "op", None)
            if step.into:
                self._slots[step.into] = Slot(step.into) if op else find(step)
            if op is None:
                continue
            arguments = dict(zip(op.parameters, step.args, strict=False)) | step.kwargs
            filled = {
                name: self._slots.get(value.name, value) if isinstance(value, Slot) else value
                for name, value in arguments.items()
            }
            self._append(Act(self.actor, op, filled, step.phase, step.line))

    def records(self) -> list[dict[str, Any]]:
        """All of them as the journal would have them; each actor counts its own."""
        return [act.record(number) for number, act in self.numbered()]

    def numbered(self) -> list[tuple[int, Act]]:
        """All of them, each with its number: each actor counts its own."""
        last: dict[str, int] = {}
        found = []
        for act in self.all:
            last[act.actor] = last.get(act.actor, 0) + 1
            found.append((last[act.actor], act))
        return found


def variables(text: str) -> str:
    """A twin whose slots were marked, with the slots as a shell's variables."""
    for name in _SLOTS:
        text = text.replace(f"@{name}@", f"${name}")
    return text


def _mark(value: Any) -> Any:
    """Slots as words that a shell would not need to quote."""
    if isinstance(value, dict):
        return {name: _mark(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_mark(each) for each in value]
    if isinstance(value, str) and "$" in value:
        for name in _SLOTS:
            value = value.replace(f"${name}", f"@{name}@")
    return value
