"""The parsed Dockerfile: its instructions and parser directives.

Source: docs.docker.com/reference/dockerfile "Format".
"""

from __future__ import annotations

from minidock import jsontext
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.flags import split_flags
from minidock.engine.dockerfile.word_expansion import SPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.dockerfile.heredoc import Heredoc

_JSON_OR_TEXT = ("ADD", "CMD", "COPY", "ENTRYPOINT", "HEALTHCHECK", "RUN", "SHELL", "VOLUME")
_BLANKS = "\t\v\f\r "


class Instruction:
    """One instruction.

    keyword: in capitals. flags: ("from", "x") for "--from=x", ("link", "true") for "--link".
    text: what follows keyword and flags, with continued lines joined.
    json: the strings of the exec form (of HEALTHCHECK: of its command), None for the shell form.
    first_line, last_line: counted from 1, here-documents included.
    source: the instruction on one line, for progress and messages; line: with surrounding blanks.
    escape: the escape character.
    """

    def __init__(self, source: str, lines: tuple[int, int], escape: str) -> None:
        self.line = source
        self.source = source.strip(SPACES)
        self.first_line, self.last_line = lines
        self.escape = escape
        self.heredocs: list[Heredoc] = []
        self.written_keyword, rest = _first_word(self.source)
        self.keyword = self.written_keyword.upper()
        self.raw_flags, text = split_flags(rest)
        self.text = text.strip(SPACES)
        self.flags: list[tuple[str, str]] = []
        self.json: list[str] | None = None
        if self.keyword in _JSON_OR_TEXT:
            is_health = self.keyword == "HEALTHCHECK"
            self.json = exec_form(_first_word(self.text)[1] if is_health else self.text)

    def words(self) -> list[str]:
        """The strings of the exec form, or the text split at blanks, quotes ignored."""
        return split_words(self.text) if self.json is None else self.json

    def flag(self, name: str, default: str = "") -> str:
        """The value of a flag."""
        return dict(self.flags).get(name, default)

    def __repr__(self) -> str:
        return f"<{self.source}>"


class Dockerfile:
    """A parsed Dockerfile.

    escape, syntax, check: its directives, "" by default (escape: a backslash).
    lines: as written, for messages. empty_continuations: numbers of blank lines within
    instructions, for Docker's warning.
    """

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self.lines = [line.rstrip("\r\n") for line in lines]
        self.escape = "\\"
        self.syntax = ""
        self.check = ""
        self.instructions: list[Instruction] = []
        self.empty_continuations: list[int] = []


def exec_form(text: str) -> list[str] | None:
    """Parse a JSON array of strings; None if the text is not JSON, and thus the shell form.

    Raises DockerfileError for an array with other items.
    """
    text = text.lstrip(SPACES)
    if not text.startswith("["):
        return None
    try:
        value = jsontext.loads(text)
    except (ValueError, RecursionError):
        return None
    if all(isinstance(item, str) for item in value):
        return [_without_surrogates(item) for item in value]
    raise DockerfileError("when using JSON array syntax, arrays must be comprised of strings only")


def _without_surrogates(text: str) -> str:
    """Replace lone surrogates by U+FFFD, as Go's JSON decoder does."""
    if text.isascii():
        return text
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def split_words(text: str) -> list[str]:
    """Split at blanks; quotes are ordinary characters."""
    for blank in _BLANKS:
        text = text.replace(blank, " ")
    return [word for word in text.split(" ") if word]


def _first_word(text: str) -> tuple[str, str]:
    """The first word of a text, and the text after the following blanks."""
    for at, character in enumerate(text):
        if character in _BLANKS:
            return text[:at], text[at:].lstrip(_BLANKS)
    return text, ""
