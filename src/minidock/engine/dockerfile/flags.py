"""Parse the flags of instructions: "--name=value" between keyword and text."""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.suggest import did_you_mean
from minidock.engine.dockerfile.word_expansion import SPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

BOOLEAN = "boolean"
ONCE = "once"
REPEATABLE = "often"


def split_flags(line: str) -> tuple[list[str], str]:
    """Split off the words that begin with "--", unquoted; returns them and the rest of the line.

    A single "--" ends the flags.
    """
    flags: list[str] = []
    at = 0
    while True:
        while at < len(line) and line[at] in SPACES:
            at += 1
        if not line.startswith("--", at):
            return flags, line[at:]
        word, at = _word(line, at)
        if word == "--":
            return flags, line[at:]
        flags.append(word)


def _word(line: str, at: int) -> tuple[str, int]:
    """The unquoted word at a position, and its end."""
    word: list[str] = []
    quote = ""
    while at < len(line):
        character = line[at]
        if not quote and character in SPACES:
            break
        at += 1
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character == "\\":
            word.append(line[at : at + 1])
            at += 1
        else:
            word.append(character)
    return "".join(word), at


def read_flags(words: list[str], known: Mapping[str, str]) -> list[tuple[str, str]]:
    """Parse flags to names and values. known: name -> BOOLEAN, ONCE or REPEATABLE.

    Raises DockerfileError for an unknown or repeated flag, or a missing value.
    """
    flags: list[tuple[str, str]] = []
    for word in words:
        name, equals, value = word[2:].partition("=")
        if name not in known:
            raise DockerfileError(f"unknown flag: {name}{did_you_mean(name, known)}")
        if known[name] != REPEATABLE and name in dict(flags):
            raise DockerfileError(f"duplicate flag specified: {name}")
        if known[name] == BOOLEAN:
            value = value.lower() if equals else "true"
            if not value:
                raise DockerfileError(f"missing a value on flag: {name}")
            if value not in ("true", "false"):
                raise DockerfileError(f"expecting boolean value for flag {name}, not: {value}")
        elif not equals:
            raise DockerfileError(f"missing a value on flag: {name}")
        flags.append((name, value))
    return flags
