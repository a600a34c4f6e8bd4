"""Patterns with wildcards, matched in linear time: no pattern can make a match slow.

    path_pattern("*.lo[gk]")         Go's path.Match: COPY, image filters
    Pattern([...])                   any other syntax, parsed to `Item`s by the caller

A pattern is a sequence of items: each matches one character, or is a loop over any number of them.
A match keeps the set of all items that may come next as the bits of one integer (an NFA), and reads
each character of the text once: it never backtracks.

Source: https://pkg.go.dev/path#Match; R. Cox, "Regular Expression Matching Can Be Simple And Fast".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Malformed(ValueError):
    """A text that is not a pattern."""


class Item:
    """A part of a pattern, which matches one character.

    fits: whether a character matches. loops: any number of them, also none. ends_with_slash: for a
    loop, the last of them is a slash ("**/": any directories, also none).
    """

    def __init__(
        self, fits: Callable[[str], bool], *, loops: bool = False, ends_with_slash: bool = False
    ) -> None:
        self.fits = fits
        self.loops = loops
        self.ends_with_slash = ends_with_slash


class Pattern:
    """A sequence of items. A state is the number of items already matched.

    A loop can be left at once for the next state. One that ends with a slash has two states: the
    first matches nothing, and continues to the second or past it; a slash leaves the second.
    """

    def __init__(self, items: list[Item]) -> None:
        self._items: list[Item | None] = []  # None: matches no character
        self._free_by_one = self._free_by_two = 0
        for item in items:
            here = 1 << len(self._items)
            if item.ends_with_slash:
                self._items.append(None)
                self._free_by_two |= here
            if item.loops:
                self._free_by_one |= here
            self._items.append(item)
        self._end = 1 << len(self._items)
        self._steps: dict[str, tuple[int, int]] = {}

    def matches(self, text: str) -> bool:
        """Whether the pattern matches the whole text."""
        states = self._settled(1)
        for character in text:
            steps = self._steps.get(character)
            if steps is None:
                steps = self._steps[character] = self._step(character)
            forward, staying = steps
            states = self._settled((states & forward) << 1 | states & staying)
            if not states:
                return False
        return bool(states & self._end)

    def _settled(self, states: int) -> int:
        """Add the states that are reached without a character."""
        while True:
            more = (states & self._free_by_one) << 1 | (states & self._free_by_two) << 2
            if not more & ~states:
                return states
            states |= more

    def _step(self, character: str) -> tuple[int, int]:
        """Return the states that a character advances, and those in which it stays."""
        forward = staying = 0
        for at, item in enumerate(self._items):
            if item is None:
                continue
            if not item.loops:
                forward |= item.fits(character) << at
            else:
                staying |= item.fits(character) << at
                forward |= (item.ends_with_slash and character == "/") << at
        return forward, staying


def is_no_slash(character: str) -> bool:
    return character != "/"


def is_any(character: str) -> bool:
    return True


def is_same(wanted: str) -> Callable[[str], bool]:
    return wanted.__eq__


def path_pattern(text: str) -> Pattern:
    r"""Parse a pattern of Go's path.Match: * ? [a-z] [^a] \x, none of which matches a slash.

    Raises Malformed.
    """
    items: list[Item] = []
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "*":
            if not (items and items[-1].loops):
                items.append(Item(is_no_slash, loops=True))
        elif character == "?":
            items.append(Item(is_no_slash))
        elif character == "[":
            fits, at = _class(text, at)
            items.append(Item(fits))
        elif character == "\\":
            if at == len(text):
                raise Malformed("syntax error in pattern")
            items.append(Item(is_same(text[at])))
            at += 1
        else:
            items.append(Item(is_same(character)))
    return Pattern(items)


def _class(text: str, at: int) -> tuple[Callable[[str], bool], int]:
    """Parse a character class after its "["; returns a test and the end."""
    negated = text.startswith("^", at)
    at += negated
    ranges: list[tuple[str, str]] = []
    while not (text.startswith("]", at) and ranges):
        low, at = _class_character(text, at)
        high = low
        if text.startswith("-", at):
            high, at = _class_character(text, at + 1)
        ranges.append((low, high))

    def fits(character: str) -> bool:
        is_inside = any(low <= character <= high for low, high in ranges)
        return is_inside != negated and character != "/"

    return fits, at + 1


def _class_character(text: str, at: int) -> tuple[str, int]:
    if text.startswith(("-", "]"), at):
        raise Malformed("syntax error in pattern")
    at += text.startswith("\\", at)
    if at + 1 >= len(text):  # nothing can close the class
        raise Malformed("syntax error in pattern")
    return text[at], at + 1
