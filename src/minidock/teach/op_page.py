"""explain OP: why a container needs an op, what goes wrong without it, and its call sites.

All of it comes from the source: the op's docstring, parsed here, and its callers (calls.py).
"""

from __future__ import annotations

import inspect
import re

from minidock.kernel.op import REGISTRY
from minidock.teach.calls import SOURCE, call_sites
from minidock.teach.journal_reader import load_ops, purpose_of_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.kernel.op import Op
    from minidock.teach.language import Language
    from minidock.teach.page import Page

WHY, TEXT, WITHOUT, ARGUMENT, OUTCOME = "why", "text", "without", "argument", "outcome"
_ORDER = (WHY, TEXT, WITHOUT, ARGUMENT, OUTCOME)
_WITHOUT = "Without it: "
_OUTCOMES = ("Returns ", "Raises ", "Source: ")


def pieces(op: Op) -> list[tuple[str, str]]:
    """Parse an op's docstring into pieces, each (kind, text on one line).

    why: its first line. without: what goes wrong without the op. argument: the meaning of a
    parameter. outcome: what it returns and raises, and its source. text: the rest.
    """
    found: list[tuple[str, str]] = []
    for number, paragraph in enumerate(inspect.cleandoc(op.act.__doc__ or "").split("\n\n")):
        kind = WHY if number == 0 else TEXT
        lines: list[str] = []
        for line in paragraph.splitlines():
            new = _kind(line, op)
            if new and lines:
                found.append((kind, " ".join(lines)))
                lines = []
            kind = new or kind
            lines.append(line)
        found.append((kind, " ".join(lines)))
    return found


def _kind(line: str, op: Op) -> str:
    """The kind of the piece that a line begins; "" if it continues one."""
    if line.startswith(_WITHOUT):
        return WITHOUT
    if line.startswith(_OUTCOMES):
        return OUTCOME
    names = re.match(r"([a-z_]+(?:, [a-z_]+)*): ", line)
    if names and set(names[1].split(", ")) <= set(op.parameters):
        return ARGUMENT
    return ""


def ops_named(name: str) -> list[Op]:
    """The ops of that name ("pivot_root", "mount.pivot_root"), man page or module; "" for all."""
    load_ops()
    wanted = name.partition("(")[0]
    return [op for op in REGISTRY.values() if not wanted or wanted in names_of(op)]


def names_of(op: Op) -> tuple[str, ...]:
    """The names of an op: full name, function, man page, module."""
    module, _, function = op.name.rpartition(".")
    return op.name, function, op.man.partition("(")[0], module


def explain_ops(ops: list[Op], page: Page, *, as_json: bool) -> None:
    """Explain one op in detail, or list several."""
    if as_json:
        for op in ops:
            page.json(_plain(op, page.language))
    elif len(ops) == 1:
        _write_op(ops[0], page)
    else:
        _write_list(ops, page)


def _write_op(op: Op, page: Page) -> None:
    _ = page.language.gettext
    page.line(page.paint("1", f"{op.name}({', '.join(op.parameters)})") + f" · {op.man}")
    before = ""
    for kind, text in sorted(pieces(op), key=lambda piece: _ORDER.index(piece[0])):
        if not (kind == before and kind in (ARGUMENT, OUTCOME)):
            page.line("")
        paint = {WHY: "1", WITHOUT: "33", ARGUMENT: "2", OUTCOME: "2"}.get(kind, "0")
        page.fold(_(text), "    ", paint=paint)
        before = kind
    page.line("")
    if twin := _twin(op):
        page.row(_("in a shell"), page.paint("36", twin))
    for label, site in zip(_labels(_("called in")), call_sites(op), strict=False):
        location = f"{site.file.relative_to(SOURCE)}:{site.line}  {site.function}"
        page.row(label, location)
        if site.purpose:
            page.fold(_(site.purpose), " " * 16, paint="2")
    code = op.act.__code__
    page.row(_("defined in"), f"{code.co_filename}:{code.co_firstlineno}")
    page.row(_("read on"), _man_command(op))


def _labels(first: str) -> Iterator[str]:
    yield first
    while True:
        yield ""


def _man_command(op: Op) -> str:
    name, _, section = op.man.rstrip(")").partition("(")
    return f"man {section} {name}"


def _twin(op: Op) -> str:
    """The op as a shell command with its parameters' names; "" if not all are strings.

    A command with a number or a set of flags needs their values, as in a container's story.
    """
    hints = {n: str(p.annotation) for n, p in inspect.signature(op.act).parameters.items()}
    if set(hints.values()) - {"str"}:
        return ""
    twin = op.twin(**{name: name.upper() for name in hints})
    return "" if "\n" in twin else twin


def _write_list(ops: list[Op], page: Page) -> None:
    """List ops below the purpose of their module."""
    _ = page.language.gettext
    module = ""
    for op in ops:
        if op.act.__module__ != module:
            if module:
                page.line("")
            module = op.act.__module__
            page.fold(_(purpose_of_module(module.partition(".")[2])), "", paint="1")
        page.line(f"    {page.paint('36', op.name)} · {op.man}")
        page.fold(_(op.why), "        ")
    page.line("")
    page.fold(_("`minidock explain NAME` tells more about each of them."), "")


def _plain(op: Op, language: Language) -> dict[str, object]:
    """An op as a JSON object."""
    _ = language.gettext
    entry: dict[str, object] = {"op": op.name, "parameters": list(op.parameters), "man": op.man}
    lists: dict[str, list[str]] = {}
    for kind, text in pieces(op):
        if kind in (WHY, WITHOUT):
            entry[kind] = _(text)
        else:
            entry[kind] = lists.setdefault(kind, [])
            lists[kind].append(_(text))
    entry["twin"] = _twin(op)
    entry["called_in"] = [
        {
            "phase": f"{site.module}.{site.function}",
            "source": f"{site.file}:{site.line}",
            "purpose": _(site.purpose) if site.purpose else "",
        }
        for site in call_sites(op)
    ]
    code = op.act.__code__
    return {**entry, "source": f"{code.co_filename}:{code.co_firstlineno}"}
