"""A program: a list of steps as data, for a process that enters a container.

`init_program` (runtime/init.py) is a pure function of the bundle's config; its result can be
printed, filtered and tested without root. `perform` runs it in the container. A value known only
at run time (a descriptor, a path found in the container's PATH) is a slot: one step fills it, later
steps use it.
"""

from __future__ import annotations

import sys

from minidock.kernel.op import perform_in_phase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Slot:
    """A placeholder for the result of an earlier step."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"${self.name}"

    def journal_text(self) -> str:
        """The text of the slot in a plan."""
        return f"${self.name}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slot) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


class Step:
    """One step: a function, its arguments, and the slot that its result fills.

    phase, line: the function that created the step, such as runtime.rootfs.enter_steps, and where
    in it; so the journal names the part of the code that asked for an operation.
    """

    __slots__ = ("act", "args", "kwargs", "into", "phase", "line")

    def __init__(
        self, act: Callable[..., object], *args: Any, into: str = "", **kwargs: Any
    ) -> None:
        self.act = act
        self.args = args
        self.kwargs = kwargs
        self.into = into
        author = sys._getframe(1)
        module = author.f_globals["__name__"].removeprefix("minidock.")
        self.phase = f"{module}.{author.f_code.co_qualname}"
        self.line = author.f_lineno

    def __repr__(self) -> str:
        words = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        filled = f"${self.into} = " if self.into else ""
        return f"{filled}{self.act.__name__}({', '.join(words)})"


def perform(program: list[Step], slots: dict[str, object]) -> None:
    """Perform the steps in order, up to the first error, which is raised."""
    for step in program:
        args = [slots[a.name] if isinstance(a, Slot) else a for a in step.args]
        kwargs = {k: slots[v.name] if isinstance(v, Slot) else v for k, v in step.kwargs.items()}
        op = getattr(step.act, "op", None)
        if op is None:  # a plain function: it changes nothing in the kernel, or calls ops itself
            result = step.act(*args, **kwargs)
        else:
            result = perform_in_phase(op, args, kwargs, phase=step.phase, line=step.line)
        if step.into:
            slots[step.into] = result
