"""Planned operations: the ops of a run in the form of the journal, not performed.

A planned op has its actor, its op with all arguments, and its phase: the function of the engine or
the runtime that would call the op. A value that only the run has (a pid, a descriptor, a port that
the kernel chooses) is a slot, written `$pid`, as in init's program (runtime/program.py).
"""

from __future__ import annotations

from minidock.kernel.op import Op, describe
from minidock.runtime.program import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any  # arguments: of the types that the op declares

    from minidock.kernel.record import DescribedPlan, Planned
    from minidock.runtime.program import Step

PID = Slot("pid")
PLACE = f"/proc/{PID}/ns/net"  # the container's network namespace
_SLOTS = (
    "pid", "control", "channel", "fifo", "namespace", "home", "cgroup", "program", "port",
    "udp_port", "tcp_port", "console", "main_process", "command", "layer",
    "random", "subpath",
)  # fmt: skip


class PlannedOp:
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

    def record(self, number: int) -> Planned:
        """The begin record of the journal, without the time and the actor's pid."""
        return {
            "begin": number,
            "actor": self.actor,
            **self.op.record(self.arguments),
            "phase": self.phase,
            "line": self.line,
        }

    def described(self, number: int) -> DescribedPlan:
        """The record with why, man page, source and twin, with slots as variables."""
        record = self.record(number)
        marked: Planned = {**record, "args": {n: _mark(v) for n, v in record["args"].items()}}
        texts = describe(marked)
        return {**record, **texts, "twin": variables(texts["twin"])}


class PlannedOps:
    """The planned ops of a run, in the order of its journal.

    foresee: called with each op; raises if the run would fail with it.
    """

    def __init__(self, foresee: Callable[[PlannedOp], None] | None = None) -> None:
        self.all: list[PlannedOp] = []
        self._check_op = foresee
        self.actor = "engine"
        self._slots: dict[str, object] = {}

    def add(
        self,
        caller: Callable[..., object],
        act: Callable[..., object],
        *args: object,
        **kw: object,
    ) -> None:
        """Add an op. caller: the function that would call it. act: the op's function."""
        op: Op = act.op  # type: ignore[attr-defined]
        arguments = dict(zip(op.parameters, args, strict=False)) | kw
        code = getattr(caller, "__wrapped__", caller).__code__
        phase = f"{caller.__module__[9:]}.{caller.__qualname__}"
        self._append(PlannedOp(self.actor, op, arguments, phase, code.co_firstlineno))

    def _append(self, act: PlannedOp) -> None:
        self.all.append(act)
        if self._check_op is not None:
            self._check_op(act)

    def perform(self, program: Iterable[Step], find: Callable[[Step], object]) -> None:
        """Add the ops of a program. find: returns the result of a step that is not an op."""
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
            self._append(PlannedOp(self.actor, op, filled, step.phase, step.line))

    def records(self) -> list[Planned]:
        """All as journal records; each actor has its own numbers."""
        return [act.record(number) for number, act in self.numbered()]

    def numbered(self) -> list[tuple[int, PlannedOp]]:
        """All with their numbers; each actor has its own."""
        last: dict[str, int] = {}
        found = []
        for act in self.all:
            last[act.actor] = last.get(act.actor, 0) + 1
            found.append((last[act.actor], act))
        return found


def variables(text: str) -> str:
    """A twin with its marked slots as shell variables."""
    for name in _SLOTS:
        text = text.replace(f"@{name}@", f"${name}")
    return text


def _mark(value: object) -> object:
    """Replace slots by marks that need no shell quoting."""
    if isinstance(value, dict):
        return {name: _mark(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_mark(each) for each in value]
    if isinstance(value, str) and "$" in value:
        for name in _SLOTS:
            value = value.replace(f"${name}", f"@{name}@")
    return value
