"""A story: prints the entries of a journal as text, as they arrive.

A *chapter* is a sequence of ops that one process calls in one module; it begins with the first line
of the module's docstring, and each of its phases with that of the function. A chapter does not
repeat an explanation. Long paths are shortened to $C, $STORE, $RUN and $ID, which the head defines.
"""

from __future__ import annotations

import json
import os

from minidock.errors import errno_name
from minidock.teach.journal_reader import purpose_of_function, purpose_of_module, split_phase
from minidock.teach.page import WIDTH, fold_shell, short_ids, time_text, truncate
from minidock.teach.subject import paths_of, title_of
from minidock.teach.twin import TOOLS, Twins, needs_tools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container
    from minidock.teach.journal_reader import JournalEntry
    from minidock.teach.page import Page

COLOURS = {
    "engine": "34", "monitor": "33", "task": "33", "init": "32", "stage": "35", "exec": "36",
}  # fmt: skip
_VALUE_WIDTH = 30
_INDENT = " " * 9


class Story:
    """Prints entries.

    shortened: long path -> its variable, longer paths first. began: the start of the story's clock
    in nanoseconds; by default the first op. with_tools: whether the twins use the host's setpriv
    after pivot_root.
    """

    def __init__(
        self,
        page: Page,
        shortened: dict[str, str],
        began: int | None = None,
        *,
        with_tools: bool = False,
    ) -> None:
        self._page = page
        self._shortened = shortened
        names = {path: name[1:] for path, name in shortened.items()}
        self._twins = Twins(names, with_tools=with_tools, gettext=page.language.gettext)
        self._head = TOOLS if with_tools else []
        self._chapter = ("", "")
        self._phase = ("", "")
        self._began = began
        self._known: set[str] = set()  # phases whose purpose was printed
        self._explained: set[str] = set()  # phases and ops that this chapter has explained

    def title(self, text: str) -> None:
        """Print the head: the title, the variables for long paths, and the shell's tools."""
        page = self._page
        page.line(page.paint("1", text))
        lines = []
        for path, name in reversed(self._shortened.items()):
            others = {p: n for p, n in self._shortened.items() if n != name}
            lines.append(f"export {name[1:]}={_replaced(path, others)}")
        for line in [*lines, *self._head]:
            page.line("    " + page.paint("2", f"$ {line}"))

    def write(self, entry: JournalEntry) -> None:
        """Print one entry, after a heading if a new chapter begins."""
        record = entry.record
        page = self._page
        colour = COLOURS.get(record["actor"], "0")
        if self._began is None:
            self._began = record["t"]
        if entry.chapter != self._chapter:
            self._open_chapter(entry, colour)
        if (phase := split_phase(record["phase"])) != self._phase:
            self._open_phase(*phase)
        self._head_line(entry, colour)
        if record["op"] not in self._explained:
            _ = page.language.gettext
            unknown = _("An operation that this version of minidock does not have.")
            page.fold(_(record["why"]) if record["why"] else unknown, _INDENT)
            self._explained.add(record["op"])
        self._twin(self._twins.write(entry))
        if entry.errno is not None:
            self._write_failure(entry)
        elif entry.made is not None:
            page.line(
                _INDENT + page.paint("2", truncate(f"-> {self._made(entry.made)}", WIDTH - 9))
            )

    def _open_chapter(self, entry: JournalEntry, colour: str) -> None:
        """Print a chapter's heading: actor, module, and time since the story began."""
        page = self._page
        self._chapter = entry.chapter
        self._phase = ("", "")
        self._explained = set()
        name = " · ".join(entry.chapter)
        moment = f"+{time_text(max(0, entry.record['t'] - (self._began or 0)) // 1000)}"
        page.line("")
        rule = "─" * (WIDTH - len(name) - len(moment) - 2)
        page.line(page.paint(f"1;{colour}", f"{name} {rule} {moment}"))
        if purpose := purpose_of_module(entry.chapter[1]):
            page.fold(page.language.gettext(purpose), "  ")

    def _open_phase(self, module: str, function: str) -> None:
        """Print a phase's function, and its purpose the first time."""
        page = self._page
        self._phase = (module, function)
        key = f"{module}.{function}"
        if key not in self._explained:
            page.line("")
        purpose = "" if key in self._known else purpose_of_function(module, function)
        self._explained.add(key)
        self._known.add(key)
        if purpose:
            page.fold(f"{function}: {page.language.gettext(purpose)}", "  ", paint="1")
        else:
            page.line("  " + page.paint("1", function))

    def _head_line(self, entry: JournalEntry, colour: str) -> None:
        """Print number, op and arguments; man page and duration at the right."""
        page, record = self._page, entry.record
        time = "" if entry.us is None else time_text(entry.us)
        right = f"{record['man']:>20}{time:>10}"
        arguments = (f"{name}={self._value(value)}" for name, value in record["args"].items())
        what = truncate(f"({', '.join(arguments)})", WIDTH - 9 - len(record["op"]) - len(right) - 1)
        left = f"{entry.number:>6}   "
        gap = " " * (WIDTH - len(left) - len(record["op"]) - len(what) - len(right))
        op = page.paint(f"1;{colour}", record["op"])
        page.line(left + op + page.paint("2", what + gap + right))

    def _write_failure(self, entry: JournalEntry) -> None:
        page = self._page
        _ = page.language.gettext
        failed = _("failed: {reason}").format(reason=reason(entry))
        page.line(_INDENT + page.paint("1;31", failed))
        write_hint(entry, page, _INDENT)

    def _made(self, made: object) -> str:
        """The result of an op; or its word for having had nothing to do ("absent")."""
        if isinstance(made, dict):
            made = json.dumps(made)
        return self._page.language.gettext(self._short(made))

    def _value(self, value: object) -> str:
        """An argument, shortened; a long path keeps its end."""
        if not isinstance(value, str) or not value.isprintable():
            value = json.dumps(value, ensure_ascii=False)
        shown = self._short(value)
        if len(shown) <= _VALUE_WIDTH:
            return shown
        if shown.startswith(("/", "$")):
            return "…" + shown[1 - _VALUE_WIDTH :]
        return truncate(shown, _VALUE_WIDTH)

    def _twin(self, twin: str) -> None:
        """Print a command with a prompt, or a comment without one."""
        page, prompt = self._page, "$ "
        for line in twin.splitlines():
            if line.startswith("#"):
                page.fold(line[2:], f"{_INDENT}# ", paint="2")
                continue
            for piece in fold_shell(line, WIDTH - 11):
                page.line(_INDENT + page.paint("36", prompt + piece))
                prompt = "  "

    def _short(self, text: object) -> str:
        return short_ids(_replaced(str(text), self._shortened))


def _replaced(text: str, shortened: dict[str, str]) -> str:
    for path, name in shortened.items():
        text = text.replace(path, name)
    return text


def write_hint(entry: JournalEntry, page: Page, indent: str) -> None:
    """Print the hint of a failed op, if it has one."""
    for line in entry.hint.splitlines():
        page.fold(page.language.gettext("hint: {hint}").format(hint=line), indent)


def reason(entry: JournalEntry) -> str:
    """The error as text: of the errno, or of minidock itself."""
    if not entry.errno:
        return entry.said.partition("\n")[0]
    return f"{os.strerror(entry.errno)} ({errno_name(entry.errno)})"


def story_of(
    container: Container,
    page: Page,
    began: int | None = None,
    ops: list[JournalEntry] | None = None,
) -> Story:
    """A container's story, with its head printed; arguments as for story_about."""
    return story_about(title_of(container), paths_of(container), page, began, ops)


def story_about(
    title: str,
    paths: dict[str, str],
    page: Page,
    began: int | None = None,
    ops: list[JournalEntry] | None = None,
) -> Story:
    """A story, with its head printed.

    paths, began: as for Story. ops: the entries to come, if known: the head then defines only the
    variables that they need.
    """
    if ops is not None:
        paths = _needed(paths, "\n".join(json.dumps(entry.plain()) for entry in ops))
    with_tools = ops is not None and needs_tools(ops)
    story = Story(page, paths, began, with_tools=with_tools)
    story.title(title)
    return story


def _needed(paths: dict[str, str], text: str) -> dict[str, str]:
    """The long paths in a text, longer ones first, and the paths of which they consist."""
    needed: dict[str, str] = {}
    for path, name in paths.items():
        if path in text or any(path in longer for longer in needed):
            needed[path] = name
        text = text.replace(path, "")
    return needed
