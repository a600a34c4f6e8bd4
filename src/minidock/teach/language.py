"""The language in which explain tells: English as the docstrings have it, or a catalogue's.

A catalogue is a file of gettext's, locale/LANGUAGE.po. Its messages are the docstrings themselves:
an op's sentences, a phase's and a module's first line, and the few words of explain's own. It is
read as it stands; that a checkout, an installed package and a translator have one and the same file
is worth a few milliseconds. tests/architecture/test_catalogues.py says what is missing or stale.

Source: GNU gettext manual, "The Format of PO Files" and "The Format of GNU MO Files".
"""

from __future__ import annotations

import ast
import gettext
import os
import struct
from io import BytesIO
from pathlib import Path

from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Language = gettext.NullTranslations

LOCALE = Path(__file__).with_name("locale")
_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")  # the order that gettext(3) looks in


def language(wanted: str = "", environment: Mapping[str, str] = os.environ) -> Language:
    """The language to tell in: the wanted one, or that of the environment, else English.

    wanted: such as "ru" or "ru_RU.UTF-8". Raises UsageError where there is no such catalogue. What
    the environment asks for is what all programs are asked; one that we have not is no error.
    """
    if wanted:
        name = _short(wanted)
        if name not in available():
            raise UsageError(
                f"no texts in language {wanted!r}", hint=f"there are: {', '.join(available())}"
            )
        return _load(name)
    asked = next((environment[name] for name in _VARIABLES if environment.get(name)), "")
    for name in map(_short, asked.split(":")):
        if name in available():
            return _load(name)
    return gettext.NullTranslations()


def available() -> list[str]:
    """The languages that there are."""
    return ["en", *sorted(path.stem for path in LOCALE.glob("*.po"))]


def _short(name: str) -> str:
    """ "ru" of "ru_RU.UTF-8"; "en" of "C" and "POSIX"."""
    short = name.partition(".")[0].partition("@")[0].partition("_")[0].lower()
    return "en" if short in ("c", "posix") else short


def _load(name: str) -> Language:
    if name == "en":
        return gettext.NullTranslations()
    messages = parse_catalogue((LOCALE / f"{name}.po").read_text(encoding="utf-8"))
    return gettext.GNUTranslations(BytesIO(compile_catalogue(messages)))


def parse_catalogue(text: str) -> dict[str, str]:
    """A .po file's messages: msgid -> msgstr; forms of the plural are joined by NUL, as in a .mo.

    Messages that are not translated yet, or marked fuzzy, have an empty msgstr.
    """
    messages: dict[str, str] = {}
    for block in text.split("\n\n"):
        parts: dict[str, str] = {}
        keyword = ""
        for line in block.splitlines():
            if line.startswith(("#", " ")) or not line:
                continue
            if not line.startswith('"'):
                keyword, _, line = line.partition(" ")
            parts[keyword] = parts.get(keyword, "") + str(ast.literal_eval(line))
        if "msgid" not in parts:
            continue
        ids = [parts[key] for key in ("msgid", "msgid_plural") if key in parts]
        forms = [value for key, value in parts.items() if key.startswith("msgstr")]
        fuzzy = "#, fuzzy" in block
        messages["\0".join(ids)] = "" if fuzzy or not all(forms) else "\0".join(forms)
    return messages


def compile_catalogue(messages: dict[str, str]) -> bytes:
    """The .mo file of messages: a header, two tables of lengths and offsets, the strings."""
    done = sorted((i.encode(), s.encode()) for i, s in messages.items() if s)
    ids_at = 7 * 4
    texts_at = ids_at + 8 * len(done)
    at = texts_at + 8 * len(done)
    tables = [b"", b""]
    strings = b""
    for column in (0, 1):
        for pair in done:
            tables[column] += struct.pack("<2I", len(pair[column]), at + len(strings))
            strings += pair[column] + b"\0"
    header = struct.pack("<7I", 0x950412DE, 0, len(done), ids_at, texts_at, 0, at)
    return header + tables[0] + tables[1] + strings
