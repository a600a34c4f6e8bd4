"""A plan on paper: each act with its reason, its man page, and the shell's way to do it.

Long paths are shortened to $C, $STORE and $ID, which the head explains. As JSON it is whole: one
object an act, as the journal would begin it, with why, man page, twin and source.
"""

from __future__ import annotations

import json
import os
from importlib import import_module
from textwrap import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from minidock.teach.plan.acts import Act
    from minidock.teach.plan.plan import Plan

WIDTH = 100
_COLOURS = {"engine": "34", "monitor": "33", "init": "32"}


def write_json(plan: Plan, out: TextIO) -> None:
    """One object a line; what had to be supposed comes first, as {"note": ...}."""
    lines = [{"note": note} for note in plan.notes]
    lines += [act.described(number) for number, act in plan.acts.numbered()]
    for line in lines:
        out.write(json.dumps(line, ensure_ascii=False) + "\n")


def write_text(plan: Plan, out: TextIO) -> None:
    """For people."""
    container = plan.container
    names = {
        container.paths.home: "$C",
        container.paths.run: "$RUN",
        container.store.root: "$STORE",
        container.id: "$ID",
    }
    page = _Page(out, names)
    command = " ".join(plan.config["process"]["args"])
    page.line(f"what run would do for `{command}` in {container.config['Image']}", paint="1")
    page.line("none of it is done; what only a run can know is a variable, such as $pid", paint="2")
    for path, name in reversed(names.items()):
        page.line(f"    {name[1:]}={page.short(path, but=name)}", paint="2")
    for note in plan.notes:
        page.fold(f"supposed: {note}", "  ", paint="33")
    for number, act in plan.acts.numbered():
        page.act(number, act)
    counts = " · ".join(f"{actor} {_count(plan, actor)}" for actor in _COLOURS)
    page.line(f"\n{len(plan.acts.all)} operations: {counts}")


def _count(plan: Plan, actor: str) -> int:
    return sum(act.actor == actor for act in plan.acts.all)


class _Page:
    """Writes lines of a width, in colours on a terminal. names: long path -> what stands for it."""

    def __init__(self, out: TextIO, names: dict[str, str]) -> None:
        self._out = out
        self._colours = out.isatty() and "NO_COLOR" not in os.environ
        self._names = names
        self._phase = self._op = ""

    def act(self, number: int, act: Act) -> None:
        """One act, below its phase's heading where a new phase begins."""
        told, colour = act.described(number), _COLOURS[act.actor]
        if (phase := f"{act.actor} · {act.phase}") != self._phase:
            self.line("")
            self.line(f"{phase} ".ljust(WIDTH, "─"), paint=f"1;{colour}")
            if purpose := purpose_of(act.phase):
                self.fold(purpose, "  ", paint="1")
            self._phase, self._op = phase, ""
        self.line(f"{number:>6}   {act.op.name:<{WIDTH - 29}}{told['man']:>20}", paint=colour)
        if act.op.name != self._op:
            self.fold(told["why"], " " * 9)
        self._op = act.op.name
        self._shell(told["twin"])

    def line(self, text: str, *, paint: str = "") -> None:
        """One line."""
        text = text.rstrip()
        painted = f"\x1b[{paint}m{text}\x1b[0m" if paint and text and self._colours else text
        self._out.write(painted + "\n")

    def fold(self, text: str, indent: str, *, paint: str = "") -> None:
        """Text on as many lines as it needs."""
        for line in wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent):
            self.line(line, paint=paint)

    def short(self, text: str, *, but: str = "") -> str:
        """Text with names in the place of long paths. but: a name that is not used."""
        for path, name in self._names.items():
            if name != but:
                text = text.replace(path, name)
        return text

    def _shell(self, twin: str) -> None:
        prompt = "$ "
        for line in self.short(twin).splitlines():
            text = line
            while len(text) > WIDTH - 11 and (at := text.rfind(" ", 5, WIDTH - 12)) > 0:
                self.line(f"         {prompt}{text[:at]} \\", paint="36")
                prompt, text = "  ", "    " + text[at + 1 :]
            self.line(f"         {prompt}{text}", paint="36")
            prompt = "  "


def purpose_of(phase: str) -> str:
    """The first line of the docstring of the function that would call the op."""
    names: list[Any] = phase.partition(".<locals>")[0].split(".")
    for cut in range(len(names) - 1, 0, -1):
        try:
            found: Any = import_module("minidock." + ".".join(names[:cut]))
        except ModuleNotFoundError:
            continue
        for name in names[cut:]:
            found = getattr(found, name, None)
        return (getattr(found, "__doc__", "") or "").strip().partition("\n")[0]
    return ""
