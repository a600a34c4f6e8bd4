"""Parse the name=value pairs of ENV, LABEL and ARG, before quotes and variables are expanded."""

from __future__ import annotations

from minidock.engine.dockerfile.word_expansion import SPACES

_BLANKS = "\t\v\f\r "


def quoted_words(text: str, *, escape: str) -> list[str]:
    """Split at unquoted, unescaped blanks; quotes and escapes stay."""
    words: list[str] = []
    word: list[str] = []
    quote = ""
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == escape and quote != "'":
            if at < len(text):  # a trailing escape is dropped
                word.append(text[at - 1 : at + 1])
            at += 1
            continue
        if not quote and character in SPACES:
            words.append("".join(word))
            word.clear()
            continue
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        word.append(character)
    return [w for w in [*words, "".join(word)] if w]


def is_legacy_form(words: list[str]) -> bool:
    """Whether the words are in the legacy form: a name, a blank, the value."""
    return bool(words) and "=" not in words[0]


def name_values(text: str, *, escape: str) -> list[tuple[str, str]]:
    """The pairs of ENV or LABEL; words without "=" are skipped."""
    words = quoted_words(text, escape=escape)
    if not is_legacy_form(words):
        return [(w.partition("=")[0], w.partition("=")[2]) for w in words if "=" in w]
    for at, character in enumerate(text):
        if character in _BLANKS:
            return [(text[:at], text[at:].lstrip(_BLANKS))]
    return []
