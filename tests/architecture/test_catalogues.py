"""Each language's catalogue has all that explain says, nothing else, and the same facts.

A message is missing where a docstring was added or changed since: `python -m support.catalogue`
(with PYTHONPATH=src:tests) adds it to the catalogue, and somebody translates it.
"""

from __future__ import annotations

import gettext
import io
import re

import pytest

from minidock.teach.language import LOCALE, compile_catalogue, language, parse_catalogue
from support.catalogue import messages

CATALOGUES = {path.stem: path for path in LOCALE.glob("*.po")}
FACTS = re.compile(
    r"\b(?:E[A-Z0-9]{3,}|CAP_\w+|SIG[A-Z]+|CVE-[\d-]+|[A-Z]+_[A-Z_]+)\b"  # names of the kernel's
    r"|[\w-]+\(\d\)|/(?:proc|sys|dev|etc)[\w/.-]*\w|\{\w+\}|`[^`]+`"
)

each_language = pytest.mark.parametrize("name", CATALOGUES)


def test_there_is_russian() -> None:
    assert "ru" in CATALOGUES


@each_language
def test_every_message_is_translated(name: str) -> None:
    catalogue = parse_catalogue(CATALOGUES[name].read_text(encoding="utf-8"))
    missing = {origin: text for text, origin in messages().items() if not catalogue.get(text)}
    assert not missing, "PYTHONPATH=src:tests python -m support.catalogue, then translate"


@each_language
def test_no_message_is_stale(name: str) -> None:
    catalogue = parse_catalogue(CATALOGUES[name].read_text(encoding="utf-8"))
    stale = set(catalogue) - set(messages()) - {""}
    assert not stale, "PYTHONPATH=src:tests python -m support.catalogue takes them out"


@each_language
def test_a_translation_names_what_its_message_names(name: str) -> None:
    catalogue = parse_catalogue(CATALOGUES[name].read_text(encoding="utf-8"))
    different = {
        text: set(FACTS.findall(text)) ^ set(FACTS.findall(translated))
        for text, translated in catalogue.items()
        if text and set(FACTS.findall(text)) != set(FACTS.findall(translated))
    }
    assert not different


def test_russian_is_in_russian() -> None:
    catalogue = parse_catalogue(CATALOGUES["ru"].read_text(encoding="utf-8"))
    plain = [t for m, t in catalogue.items() if m and not re.search("[а-яё]", t.partition(":")[2])]
    words = {"cgroup v1", "seccomp"}
    assert not [t for t in plain if not re.search("[а-яё]{2}", t) and t not in words]


@pytest.mark.slow
def test_a_gap_and_a_leftover_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail."""
    from minidock.kernel.pivot_root import pivot_root

    monkeypatch.setattr(pivot_root.op.act, "__doc__", "Something new.")  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="then translate"):
        test_every_message_is_translated("ru")
    with pytest.raises(AssertionError, match="takes them out"):
        test_no_message_is_stale("ru")


def test_a_catalogue_is_compiled_as_gettext_reads_it() -> None:
    """The standard library's reader of .mo files against what the .po file says."""
    plural = "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 ? 1 : 2);"
    text = f"""
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: {plural}\\n"

# a comment
#: somewhere.py:1
msgid "one \\"two\\" "
"three"
msgstr "ein \\"zwei\\" "
"drei ü"

msgid "{{n}} op"
msgid_plural "{{n}} ops"
msgstr[0] "{{n}} операция"
msgstr[1] "{{n}} операции"
msgstr[2] "{{n}} операций"

#, fuzzy
msgid "perhaps"
msgstr "vielleicht"

msgid "not yet"
msgstr ""
"""
    messages = parse_catalogue(text)
    assert messages["perhaps"] == messages["not yet"] == ""
    told = gettext.GNUTranslations(io.BytesIO(compile_catalogue(messages)))
    assert told.gettext('one "two" three') == 'ein "zwei" drei ü'
    assert told.gettext("perhaps") == "perhaps" and told.gettext("not yet") == "not yet"
    forms = [told.ngettext("{n} op", "{n} ops", n)[4:] for n in (1, 2, 5, 21)]
    assert forms == ["операция", "операции", "операций", "операция"]


@pytest.mark.parametrize("number", (1, 2, 5, 11, 12, 21, 22, 25, 101, 111, 112, 183))
def test_russian_counts_as_russians_do(number: int) -> None:
    last, teens = number % 10, number % 100 // 10 == 1
    right = "операций" if teens or last in (0, *range(5, 10)) else "операция" if last == 1 else ""
    said = language("ru").ngettext("{n} operation", "{n} operations", number)
    assert said.split()[1] == (right or "операции")
