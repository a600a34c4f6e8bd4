"""explain: a container's journal, told to a student.

    journal  ->  Reader (told.py)  ->  Story, for a terminal or a pipe; or JSON, a line an op

Each op says who did it (engine, monitor, init), in which phase, what it did, why, how a shell
would do the same, which man page tells more, and how long it took. A *chapter* is what one process
does in the functions of one module; it opens with the module's first line, and each of its phases
with the function's. The words are docstrings: nothing is written twice. What an op is: op_page.py.

Long paths are shortened to $C, $STORE and $ID, which a legend on top explains; JSON has them whole.
"""

from __future__ import annotations

import json
import os
import sys

from minidock.errors import NotFound, errno_name
from minidock.kernel.op import REGISTRY
from minidock.teach.op_page import OUTCOME, names_of, ops_named, pieces
from minidock.teach.page import WIDTH, Page, cut, fold_shell, short_ids, time_text
from minidock.teach.told import (
    Reader,
    Told,
    purpose_of_function,
    purpose_of_module,
    split_phase,
)
from minidock.teach.told import load_ops as load_ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    from minidock.engine.container.containers import Container
    from minidock.teach.language import Language

_COLOURS = {"engine": "34", "monitor": "33", "init": "32", "stage": "35", "exec": "36"}
_VALUE_WIDTH = 30
_SLOWEST = 3
_INDENT = " " * 9


class Story:
    """Tells ops to people, as they come.

    shortened: long path -> the name that stands for it, longer paths first. began: the moment from
    which time is told, in nanoseconds; by default that of the first op.
    """

    def __init__(self, page: Page, shortened: dict[str, str], began: int | None = None) -> None:
        self._page = page
        self._shortened = shortened
        self._chapter = ("", "")
        self._began = began
        self._known: set[str] = set()  # phases whose purpose was told
        self._told: set[str] = set()  # phases and ops that this chapter has told already

    def title(self, text: str) -> None:
        """The container, and what stands for its long paths."""
        self._page.line(self._page.paint("1", text))
        for path, name in reversed(self._shortened.items()):
            others = {p: n for p, n in self._shortened.items() if n != name}
            legend = f"    {name[1:]}={_replaced(path, others)}"
            self._page.line(self._page.paint("2", legend))

    def write(self, told: Told) -> None:
        """One op: a heading where a new chapter begins, then what, why, how, and how long."""
        record = told.record
        page = self._page
        colour = _COLOURS.get(record["actor"], "0")
        if self._began is None:
            self._began = record["t"]
        if told.chapter != self._chapter:
            self._open_chapter(told, colour)
        self._phase(record["phase"])
        self._head_line(told, colour)
        if record["op"] not in self._told:
            page.fold(page.language.gettext(record["why"]), _INDENT)
            self._told.add(record["op"])
        self._twin(record["twin"])
        if told.errno is not None:
            self._refused(told)
        elif told.made is not None:
            page.line(_INDENT + page.paint("2", cut(f"-> {self._made(told.made)}", WIDTH - 9)))

    def _open_chapter(self, told: Told, colour: str) -> None:
        """A rule with who and where, and how long after the story's beginning."""
        page = self._page
        self._chapter = told.chapter
        self._told = set()
        name = " · ".join(told.chapter)
        moment = f"+{time_text(max(0, told.record['t'] - (self._began or 0)) // 1000)}"
        page.line("")
        rule = "─" * (WIDTH - len(name) - len(moment) - 2)
        page.line(page.paint(f"1;{colour}", f"{name} {rule} {moment}"))
        if purpose := purpose_of_module(told.chapter[1]):
            page.fold(page.language.gettext(purpose), "  ")

    def _phase(self, phase: str) -> None:
        """A phase's function, and at its first time what it is for."""
        page = self._page
        module, function = split_phase(phase)
        if (key := f"{module}.{function}") in self._told:
            return
        self._told.add(key)
        purpose = "" if key in self._known else purpose_of_function(module, function)
        self._known.add(key)
        page.line("")
        if purpose:
            page.fold(f"{function}: {page.language.gettext(purpose)}", "  ", paint="1")
        else:
            page.line("  " + page.paint("1", function))

    def _head_line(self, told: Told, colour: str) -> None:
        """Number, op with its arguments; man page and time at the right."""
        page, record = self._page, told.record
        time = "" if told.us is None else time_text(told.us)
        right = f"{record['man']:>20}{time:>10}"
        arguments = (f"{name}={self._value(value)}" for name, value in record["args"].items())
        what = cut(f"({', '.join(arguments)})", WIDTH - 9 - len(record["op"]) - len(right) - 1)
        left = f"{record['begin']:>6}   "
        gap = " " * (WIDTH - len(left) - len(record["op"]) - len(what) - len(right))
        op = page.paint(f"1;{colour}", record["op"])
        page.line(left + op + page.paint("2", what + gap + right))

    def _refused(self, told: Told) -> None:
        page = self._page
        _ = page.language.gettext
        failed = _("failed: {reason}").format(reason=reason(told))
        page.line(_INDENT + page.paint("1;31", failed))
        _hint(told, page, _INDENT)

    def _made(self, made: Any) -> str:
        """What the kernel made; or the op's word for having found nothing to do ("absent")."""
        if isinstance(made, dict):
            made = json.dumps(made)
        return self._page.language.gettext(self._short(made))

    def _value(self, value: Any) -> str:
        """An argument, short enough for its line; of a path, the end is what matters."""
        if not isinstance(value, str) or not value.isprintable():
            value = json.dumps(value, ensure_ascii=False)
        shown = self._short(value)
        if len(shown) <= _VALUE_WIDTH:
            return shown
        if shown.startswith(("/", "$")):
            return "…" + shown[1 - _VALUE_WIDTH :]
        return cut(shown, _VALUE_WIDTH)

    def _twin(self, twin: str) -> None:
        prompt = "$ "
        for line in self._short(twin).splitlines():
            for piece in fold_shell(line, WIDTH - 11):
                self._page.line(_INDENT + self._page.paint("36", prompt + piece))
                prompt = "  "

    def _short(self, text: object) -> str:
        return short_ids(_replaced(str(text), self._shortened))


def _replaced(text: str, shortened: dict[str, str]) -> str:
    for path, name in shortened.items():
        text = text.replace(path, name)
    return text


def _hint(told: Told, page: Page, indent: str) -> None:
    for line in told.hint.splitlines():
        page.fold(page.language.gettext("hint: {hint}").format(hint=line), indent)


def reason(told: Told) -> str:
    """The kernel's word for a refusal; the error's own where the kernel was not asked."""
    if not told.errno:
        return told.said.partition("\n")[0]
    return f"{os.strerror(told.errno)} ({errno_name(told.errno)})"


def narrator(container: Container, *, as_json: bool, language: Language) -> Callable[[str], None]:
    """A function that tells each record of a run as it comes, on stderr."""
    load_ops()
    reader = Reader()
    write = _writer(container, sys.stderr, as_json=as_json, language=language)

    def on_record(line: str) -> None:
        for told in reader.read(line):
            write(told)
        sys.stderr.flush()

    return on_record


def explain(
    container: Container,
    names: tuple[str, ...] = (),
    *,
    as_json: bool,
    only_phases: bool = False,
    language: Language,
) -> None:
    """Tell, on stdout, what was done for a container's last run.

    names: of ops, man pages or modules, to tell of these alone. only_phases: the overview alone.
    Raises NotFound for a container that was never started, and for a name that nothing has.
    """
    everything = read_journal(container)
    if not everything:
        raise NotFound(
            f"container {container.name} has no journal: it was never started",
            hint=f"minidock start {container.name}",
        )
    wanted = _wanted(names)
    ops = [told for told in everything if not names or told.record["op"] in wanted]
    out = sys.stdout
    told_in_full = [] if only_phases else ops
    began = everything[0].record["t"]
    write = _writer(
        container, out, as_json=as_json, language=language, began=began, ops=told_in_full
    )
    if not only_phases or as_json:
        for told in ops:
            write(told)
    if not as_json:
        page = Page(out, language)
        if not names:
            overview(ops, page)
        totals(ops, everything, page)
        if not names:
            ending(container, everything, page)


def _wanted(names: tuple[str, ...]) -> set[str]:
    """The ops that are meant."""
    load_ops()
    for name in names:
        if not ops_named(name):
            raise NotFound(f"No such operation: {name}", hint="`minidock explain` lists them all")
    asked = {name.partition("(")[0] for name in names}
    return {op.name for op in REGISTRY.values() if asked & set(names_of(op))}


def read_journal(container: Container) -> list[Told]:
    """What was done for a container since it was last started, each op with how it went."""
    load_ops()
    try:
        with open(container.paths.journal, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    reader = Reader()
    return [told for line in lines for told in reader.read(line)] + reader.rest()


def _writer(
    container: Container,
    out: TextIO,
    *,
    as_json: bool,
    language: Language,
    began: int | None = None,
    ops: list[Told] | None = None,
) -> Callable[[Told], None]:
    """What writes an op to `out`, as JSON or as text below a title."""
    if as_json:
        return lambda told: _write_line(out, told, language)
    return story_of(container, Page(out, language), began, ops).write


def story_of(
    container: Container, page: Page, began: int | None = None, ops: list[Told] | None = None
) -> Story:
    """A container's story, of which the title is told.

    began: as for Story. ops: those that will come, where they are known: the legend has no name
    that they do not need.
    """
    paths = {
        container.paths.home: "$C",
        container.paths.run: "$RUN",
        container.store.root: "$STORE",
        container.id: "$ID",
    }
    if ops is not None:
        paths = _needed(paths, "\n".join(json.dumps(told.plain()) for told in ops))
    story = Story(page, paths, began)
    story.title(f"{container.name}: {container.document['Path']} · {container.config['Image']}")
    return story


def _needed(paths: dict[str, str], text: str) -> dict[str, str]:
    """Those of the long paths that a text has, longer paths first, and what these are made of."""
    needed: dict[str, str] = {}
    for path, name in paths.items():
        if path in text or any(path in longer for longer in needed):
            needed[path] = name
        text = text.replace(path, "")
    return needed


def _write_line(out: TextIO, told: Told, language: Language) -> None:
    plain = told.plain()
    plain["why"] = language.gettext(plain["why"])
    out.write(json.dumps(plain, ensure_ascii=False) + "\n")


def overview(ops: list[Told], page: Page) -> None:
    """The chapters in the order of their beginnings: how many operations each, and how long."""
    chapters: dict[tuple[str, str], list[Told]] = {}
    for told in ops:
        chapters.setdefault(told.chapter, []).append(told)
    page.line("")
    width = max((len(module) for _, module in chapters), default=0)
    for (actor, module), its in chapters.items():
        time = time_text(sum(told.us or 0 for told in its))
        purpose = page.language.gettext(purpose_of_module(module)).partition(":")[0]
        who = page.paint(f"1;{_COLOURS.get(actor, '0')}", f"{actor:<8}")
        left = f"{module:<{width}} {len(its):>5} {time:>9}  "
        page.line(who + left + page.paint("2", cut(purpose, WIDTH - 8 - len(left))))


def totals(ops: list[Told], everything: list[Told], page: Page) -> None:
    """How many operations, by whom, and what took longest."""
    language = page.language
    actors: dict[str, int] = {}
    for told in ops:
        actors[told.record["actor"]] = actors.get(told.record["actor"], 0) + 1
    by_time = sorted(ops, key=lambda told: told.us or 0, reverse=True)[:_SLOWEST]
    slowest = " · ".join(f"{told.record['op']} {time_text(told.us or 0)}" for told in by_time)
    counts = " · ".join(f"{actor} {count}" for actor, count in actors.items())
    count = language.ngettext("{n} operation", "{n} operations", len(ops)).format(n=len(ops))
    page.line("")
    if len(ops) < len(everything):
        of_all = language.gettext("{count} of {all}").format(count=count, all=len(everything))
        page.fold(f"{of_all}: {counts}" if counts else of_all, "")
        return
    last = max(told.record["t"] // 1000 + (told.us or 0) for told in ops)
    whole = time_text(last - ops[0].record["t"] // 1000)
    line = language.gettext("{count}, {time} from the first to the last: {actors}")
    page.fold(line.format(count=count, time=whole, actors=counts), "")
    page.fold(language.gettext("longest: {ops}").format(ops=slowest), "")


def ending(container: Container, ops: list[Told], page: Page) -> None:
    """How the story ended where its command was not started: at which op, why, and what to do."""
    error = container.state.get("Error", "")
    if not error:
        return
    _ = page.language.gettext
    page.line("")
    page.fold(_("The command was not started: {error}").format(error=error), "", paint="1;31")
    culprit = next((t for t in reversed(ops) if t.errno is not None and t.said in error), None)
    if culprit is None:
        return
    record = culprit.record
    number, actor, op = record["begin"], record["actor"], record["op"]
    place = _("It failed in operation {number} of {actor}, {op}; all before it was unmade again.")
    page.fold(place.format(number=number, actor=actor, op=op), "  ")
    _hint(culprit, page, "  ")
    for kind, text in pieces(REGISTRY[op]):
        if kind == OUTCOME and text.startswith("Raises") and not culprit.hint:
            page.fold(_(text), "  ")
    page.fold(_("see: {command}").format(command=f"minidock explain {op}"), "  ")
