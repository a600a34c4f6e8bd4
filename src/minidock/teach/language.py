"""The language of explain: the docstrings' English, or a gettext catalogue.

A catalogue is locale/LANGUAGE.po. Its msgids are docstrings: an op's sentences, the first lines of
phases and modules, and explain's own words. The .po file is compiled at run time, which takes a few
milliseconds: a checkout, an installed package and a translator all use the same file.
tests/architecture/test_catalogues.py finds missing and stale messages.

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
_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")  # in the order of gettext(3)


def language(wanted: str = "", environment: Mapping[str, str] = os.environ) -> Language:
    """Load a language: the wanted one, or that of the environment, else English.

    wanted: such as "ru" or "ru_RU.UTF-8". Raises UsageError if it has no catalogue. An unknown
    language in the environment is not an error.
    """
    return _load(language_name(wanted, environment))


def language_name(wanted: str = "", environment: Mapping[str, str] = os.environ) -> str:
    """The name of a language, such as "en" or "ru". Arguments and errors: as `language`."""
    if wanted:
        name = _short(wanted)
        if name not in available():
            raise UsageError(
                f"no texts in language {wanted!r}", hint=f"available: {', '.join(available())}"
            )
        return name
    asked = next((environment[name] for name in _VARIABLES if environment.get(name)), "")
    known = (name for name in map(_short, asked.split(":")) if name in available())
    return next(known, "en")


def available() -> list[str]:
    """The available languages."""
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
    """Parse a .po file: msgid -> msgstr; plural forms are joined by NUL, as in a .mo file.

    Untranslated and fuzzy messages have an empty msgstr.
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
    """Compile messages to a .mo file: header, two tables of lengths and offsets, strings."""
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
