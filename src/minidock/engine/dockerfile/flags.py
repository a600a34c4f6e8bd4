"""Flags of instructions: "--name=value" between keyword and text, as BuildKit reads them."""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.shell_words import SPACES
from minidock.engine.dockerfile.suggest import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

BOOLEAN = "boolean"
ONCE = "once"
REPEATABLE = "often"


def split_flags(line: str) -> tuple[list[str], str]:
    """The words with "--" at the line's beginning, without their quotes; and the rest of it.

    A word "--" alone ends them.
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
    """The word that begins here, without quotes and backslashes, and where it ends."""
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
    """Names and values of flags. known: name -> BOOLEAN, ONCE or OFTEN.

    Raises DockerfileError for one that is unknown, twice there, or without its value.
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
