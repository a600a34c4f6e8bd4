"""explain: a container's journal, told to a student.

    journal (records of begin and end)  ->  Reader -> Told: an op, and how it went
                                        ->  Text, for a terminal or a pipe; or JSON, a line an op

Each op says who did it (engine, monitor, init), in which phase, what it did, why, how a shell would
do the same, which man page tells more, and how long it took. The words are the docstrings of the
ops and of the functions that call them: nothing is written twice.

Long paths are shortened to $C, $STORE and $ID, which a legend on top explains; JSON has them whole.
"""

from __future__ import annotations

import json
import os
import re
import sys
from importlib import import_module
from pkgutil import iter_modules

import minidock.kernel
import minidock.runtime
from minidock.errors import NotFound, errno_name
from minidock.kernel.op import REGISTRY, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TextIO

    from minidock.engine.container.containers import Container

WIDTH = 100
_COLOURS = {"engine": "34", "monitor": "33", "init": "32", "stage": "35", "exec": "36"}
_VALUE_WIDTH = 30
_SLOWEST = 3


def load_ops() -> None:
    """Import every module that declares ops, so that their whys and twins are known."""
    for package in (minidock.kernel, minidock.runtime):
        for module in iter_modules(package.__path__):
            if not module.name.startswith("_"):
                import_module(f"{package.__name__}.{module.name}")


class Told:
    """One op of a journal, with how it went.

    record: its begin record with why, twin, man and source. us: microseconds, None where it did
    not come back (execve, a crash). made: the kernel object that came to be. errno: None where it
    went well.
    """

    def __init__(self, begin: dict[str, Any]) -> None:
        self.record = describe(begin)
        self.us: int | None = None
        self.made: Any = None
        self.errno: int | None = None

    def finish(self, end: dict[str, Any]) -> None:
        """Take over what the end record says."""
        self.us = end["us"]
        self.made = end.get("made")
        self.errno = end.get("errno")

    @property
    def comes_back(self) -> bool:
        """Whether the call returns when it succeeds; execve(2) does not."""
        return not self.record["man"].startswith("execve")

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        outcome = {"us": self.us, "made": self.made, "errno": self.errno}
        return {**self.record, **{n: value for n, value in outcome.items() if value is not None}}


class Reader:
    """Turns a journal's lines into ops, each as soon as it is known how it went."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], Told] = {}  # what each process is in the middle of

    def read(self, line: str) -> list[Told]:
        """The ops that are over with this line."""
        record = json.loads(line)
        process = (record["actor"], record["pid"])
        before = self._open.pop(process, None)
        if "begin" not in record:
            if before is not None:
                before.finish(record)
            return [before] if before is not None else []
        told = Told(record)
        if told.comes_back:
            self._open[process] = told
            return [before] if before is not None else []
        return [before, told] if before is not None else [told]

    def rest(self) -> list[Told]:
        """The ops that never ended."""
        return list(self._open.values())


class Text:
    """Writes ops for people.

    shortened: long path -> the name that stands for it, longer paths first.
    """

    def __init__(self, out: TextIO, shortened: dict[str, str]) -> None:
        self._out = out
        self._colours = out.isatty() and "NO_COLOR" not in os.environ
        self._shortened = shortened
        self._phase = ""
        self._known: set[str] = set()  # phases whose purpose was told
        self._op = ""

    def title(self, text: str) -> None:
        """The container, and what stands for its long paths."""
        self._line(self._paint("1", text))
        for path, name in reversed(self._shortened.items()):
            others = {p: n for p, n in self._shortened.items() if n != name}
            self._line(self._paint("2", f"    {name[1:]}={_replaced(path, others)}"))

    def write(self, told: Told) -> None:
        """One op: a heading where a new phase begins, then what, why, how, and how long."""
        record = told.record
        colour = _COLOURS.get(record["actor"], "0")
        if record["phase"] != self._phase:
            self._heading(record, colour)
            self._op = ""
        self._head_line(told, colour)
        if record["op"] != self._op:
            self._fold(record["why"], "         ")
        self._op = record["op"]
        self._twin(record["twin"])
        if told.errno is not None:
            failed = f"failed: {os.strerror(told.errno)} ({errno_name(told.errno)})"
            self._line("         " + self._paint("1;31", failed))
        elif told.made is not None:
            made = self._short(json.dumps(told.made) if isinstance(told.made, dict) else told.made)
            self._line("         " + self._paint("2", _cut(f"-> {made}", WIDTH - 9)))

    def _heading(self, record: dict[str, Any], colour: str) -> None:
        self._phase = record["phase"]
        self._line("")
        name = f"{record['actor']} · {record['phase']} "
        self._line(self._paint(f"1;{colour}", name + "─" * (WIDTH - len(name))))
        if self._phase not in self._known and (purpose := _purpose(self._phase)):
            self._fold(purpose, "  ", paint="1")
        self._known.add(self._phase)

    def _head_line(self, told: Told, colour: str) -> None:
        """Number, op with its arguments; man page and time at the right."""
        record = told.record
        time = "" if told.us is None else _time(told.us)
        right = f"{record['man']:>20}{time:>10}"
        arguments = (f"{name}={self._value(value)}" for name, value in record["args"].items())
        what = _cut(f"({', '.join(arguments)})", WIDTH - 9 - len(record["op"]) - len(right) - 1)
        left = f"{record['begin']:>6}   "
        gap = " " * (WIDTH - len(left) - len(record["op"]) - len(what) - len(right))
        op = self._paint(f"1;{colour}", record["op"])
        self._line(left + op + self._paint("2", what + gap + right))

    def _value(self, value: Any) -> str:
        """An argument, short enough for its line; of a path, the end is what matters."""
        if not isinstance(value, str) or not value.isprintable():
            value = json.dumps(value, ensure_ascii=False)
        shown = self._short(value)
        if len(shown) <= _VALUE_WIDTH:
            return shown
        if shown.startswith(("/", "$")):
            return "…" + shown[1 - _VALUE_WIDTH :]
        return _cut(shown, _VALUE_WIDTH)

    def _twin(self, twin: str) -> None:
        prompt = "$ "
        for line in self._short(twin).splitlines():
            for piece in _fold_shell(line, WIDTH - 11):
                self._line("         " + self._paint("36", prompt + piece))
                prompt = "  "

    def _short(self, text: object) -> str:
        shown = _replaced(str(text), self._shortened)
        return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}", r"\1…", shown)

    def _fold(self, text: str, indent: str, *, paint: str = "0") -> None:
        from textwrap import wrap

        for line in wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent):
            self._line(self._paint(paint, line) if paint != "0" else line)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text

    def _line(self, text: str) -> None:
        self._out.write(text.rstrip() + "\n")


def _replaced(text: str, shortened: dict[str, str]) -> str:
    for path, name in shortened.items():
        text = text.replace(path, name)
    return text


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _time(us: int) -> str:
    if us < 1000:
        return f"{us} µs"
    return f"{us / 1000:.1f} ms" if us < 1_000_000 else f"{us / 1_000_000:.2f} s"


def _fold_shell(line: str, width: int) -> Iterator[str]:
    """A shell command on lines of a width, each but the last ending in a backslash."""
    indent = ""
    while len(line) > width:
        at = line.rfind(" ", 0, width - 1)
        if at <= len(indent):
            yield _cut(line, width)  # one word that is longer than the page
            return
        yield line[:at] + " \\"
        indent = "    "
        line = indent + line[at + 1 :]
    yield line


def _purpose(phase: str) -> str:
    """The first line of the docstring of the function in which an op was called."""
    names = phase.split(".")
    for cut in range(len(names) - 1, 0, -1):
        try:
            found: Any = import_module("minidock." + ".".join(names[:cut]))
        except ModuleNotFoundError:
            continue
        for name in names[cut:]:
            found = getattr(found, name, None)
        return (getattr(found, "__doc__", "") or "").strip().partition("\n")[0]
    return ""


def narrator(container: Container, *, as_json: bool) -> Callable[[str], None]:
    """A function that tells each record of a run as it comes, on stderr."""
    load_ops()
    reader = Reader()
    write = _writer(container, sys.stderr, as_json=as_json)

    def on_record(line: str) -> None:
        for told in reader.read(line):
            write(told)
        sys.stderr.flush()

    return on_record


def explain(container: Container, *, as_json: bool) -> None:
    """Tell, on stdout, what was done for a container's last run.

    Raises NotFound for one that was never started.
    """
    lines = _journal(container)
    if not lines:
        raise NotFound(
            f"container {container.name} has no journal: it was never started",
            hint=f"minidock start {container.name}",
        )
    load_ops()
    reader = Reader()
    ops = [told for line in lines for told in reader.read(line)] + reader.rest()
    write = _writer(container, sys.stdout, as_json=as_json)
    for told in ops:
        write(told)
    if not as_json:
        sys.stdout.write(_summary(ops))


def _journal(container: Container) -> list[str]:
    try:
        with open(container.paths.journal, encoding="utf-8") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def _writer(container: Container, out: TextIO, *, as_json: bool) -> Callable[[Told], None]:
    """What writes an op to `out`, as JSON or as text below a title."""
    if as_json:
        return lambda told: _write_line(out, told)
    paths = {
        container.paths.home: "$C",
        container.paths.run: "$RUN",
        container.store.root: "$STORE",
        container.id: "$ID",
    }
    text = Text(out, paths)
    text.title(f"{container.name}: {container.document['Path']} in {container.config['Image']}")
    return text.write


def _write_line(out: TextIO, told: Told) -> None:
    out.write(json.dumps(told.plain(), ensure_ascii=False) + "\n")


def _summary(ops: list[Told]) -> str:
    """How many operations, by whom, and what took longest."""
    actors: dict[str, int] = {}
    for told in ops:
        actors[told.record["actor"]] = actors.get(told.record["actor"], 0) + 1
    whole = (ops[-1].record["t"] - ops[0].record["t"]) // 1000 + (ops[-1].us or 0) if ops else 0
    by_time = sorted(ops, key=lambda told: told.us or 0, reverse=True)[:_SLOWEST]
    slowest = " · ".join(f"{told.record['op']} {_time(told.us or 0)}" for told in by_time)
    counts = " · ".join(f"{actor} {count}" for actor, count in actors.items())
    return (
        f"\n{len(ops)} operations, {_time(whole)} from the first to the last: {counts}\n"
        f"longest: {slowest}\n"
    )


def explain_op(name: str, out: TextIO) -> bool:
    """Tell about an op, or all ops of a man page ("mount", "overlay.mount_overlay").

    Returns whether there is one.
    """
    load_ops()
    wanted = name.partition("(")[0]
    found = [
        op
        for op in REGISTRY.values()
        if wanted in (op.name, op.name.rpartition(".")[2], op.man.partition("(")[0])
    ]
    for op in found:
        code = op.act.__code__
        out.write(f"{op.name}({', '.join(op.parameters)}) · {op.man}\n")
        for line in (op.act.__doc__ or "").strip().splitlines():
            out.write(f"    {line.strip()}\n".rstrip() + "\n")
        out.write(f"    {code.co_filename}:{code.co_firstlineno}\n\n")
    return bool(found)
