"""What there is to translate, read from the source; and a catalogue brought up to date with it.

    PYTHONPATH=src:tests python -m support.catalogue       after a docstring was added or changed

adds to each catalogue the messages that it lacks, untranslated, and takes out those that explain no
longer says. `test_catalogues.py` fails until all are translated.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from minidock.kernel.op import REGISTRY, Op
from minidock.teach.calls import SOURCE, call_sites
from minidock.teach.journal_reader import load_ops, purpose_of_function, purpose_of_module
from minidock.teach.language import LOCALE, parse_catalogue
from minidock.teach.look import rows
from minidock.teach.op_page import pieces
from support.source import parsed

# A phase that no call names: the holder of the undo stack undoes a failed step.
_PHASES = [("undo", "UndoOnError.__exit__")]


def ops() -> list[Op]:
    """minidock's own; a test may have declared others in the same process."""
    load_ops()
    return [op for op in REGISTRY.values() if op.act.__module__.startswith("minidock.")]


def messages() -> dict[str, str]:
    """All that explain says: msgid -> where it comes from. Forms of a plural are joined by NUL."""
    found: dict[str, str] = {}
    modules: dict[str, None] = {}
    phases = dict.fromkeys(_PHASES)
    for op in ops():
        modules[op.act.__module__.partition(".")[2]] = None
        for _, text in pieces(op):
            found.setdefault(text, op.name)
            for word in re.findall(r'[Rr]eturns "(\w+)"', text):
                found.setdefault(word, f"what {op.name} returns")
        phases |= dict.fromkeys((site.module, site.function) for site in call_sites(op))
    for module, function in sorted(phases):
        modules[module] = None
        found.setdefault(purpose_of_function(module, function), f"{module}.{function}")
    for module in sorted(modules):
        found.setdefault(purpose_of_module(module), module)
    teach = SOURCE / "teach"
    for path in sorted([*teach.glob("*.py"), *(teach / "look").glob("*.py")]):
        for text in _own_words(path):
            found.setdefault(text, str(path.relative_to(SOURCE)))
    for text in rows.messages():
        found.setdefault(text, "the isolations, and the probes of --without")
    found.pop("", None)
    return found


def _own_words(path: Path) -> list[str]:
    """The literals that a module hands to gettext."""
    found = []
    for node in ast.walk(parsed(path)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("_", "gettext", "ngettext"):
            words = [a.value for a in node.args if isinstance(a, ast.Constant)]
            texts = [word for word in words if isinstance(word, str)]
            found += ["\0".join(texts)] if texts else []
    return found


def write(path: Path, catalogue: dict[str, str], found: dict[str, str]) -> None:
    """A catalogue file: each message that was found, below where it comes from."""
    blocks = [_entry("", catalogue[""])]
    for text, origin in found.items():
        blocks.append(f"#. {origin}\n{_entry(text, catalogue.get(text, ''))}")
    path.write_text("\n".join(blocks), encoding="utf-8")


def _entry(msgid: str, msgstr: str) -> str:
    one, _, many = msgid.partition("\0")
    lines = [f"msgid {_quoted(one)}"]
    if not many:
        return "\n".join([*lines, f"msgstr {_quoted(msgstr)}"]) + "\n"
    lines.append(f"msgid_plural {_quoted(many)}")
    lines += [f"msgstr[{n}] {_quoted(form)}" for n, form in enumerate(msgstr.split("\0"))]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    for file in LOCALE.glob("*.po"):
        write(file, parse_catalogue(file.read_text(encoding="utf-8")), messages())
