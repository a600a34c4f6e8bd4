"""Text of others on one line: file names, arguments, names of processes."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text with "?" for each character that would command a terminal, or hide or reorder text."""
    return "".join(character if character.isprintable() else "?" for character in text)
