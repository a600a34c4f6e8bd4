r"""Patterns of ${X#p}, ${X%p} and ${X/p/r}: "*" any text, "?" any character, neither a line break.

A "\" takes the meaning of "*", "?" and "\"; before "}" and "/" it only hides these from who looks
for the end of the substitution. Before any other character it is an error.

The match runs through all states of the pattern at once, so that no pattern is slow.

Source: BuildKit's frontend/dockerfile/shell, whose expressions are greedy or lazy as a whole.
"""

from __future__ import annotations

from minidock.engine.dockerfile.errors import DockerfileError

_ANY_TEXT = ("*",)  # tokens that no character of a text equals
_ANY_CHARACTER = ("?",)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Token = str | tuple[str]


def without_start(value: str, pattern: str, *, longest: bool) -> str:
    """The value without its shortest or longest beginning that matches."""
    end = _match_end(value, _tokens(pattern), longest=longest)
    return value if end is None else value[end:]


def without_end(value: str, pattern: str, *, longest: bool) -> str:
    """The value without its shortest or longest end that matches."""
    end = _match_end(value[::-1], _tokens(pattern)[::-1], longest=longest)
    return value if end is None else value[: len(value) - end]


def replace(value: str, pattern: str, replacement: str, *, everywhere: bool) -> str:
    """The value with the first match replaced, or each; a match is as long as it can be."""
    tokens = _tokens(pattern)
    result: list[str] = []
    at = behind_last = 0
    while at <= len(value):
        end = _match_end(value[at:], tokens, longest=True)
        if end is None or (end == 0 and result and at == behind_last):
            at += 1  # no match, or an empty one right behind another: not a match for Go
            continue
        result += [value[behind_last:at], replacement]
        behind_last = at + end
        at = behind_last + (end == 0)
        if not everywhere:
            break
    return "".join([*result, value[behind_last:]])


def _tokens(pattern: str) -> list[Token]:
    tokens: list[Token] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            if following not in ("*", "?", "\\", "}", "/"):
                raise DockerfileError(
                    f"invalid pattern ({pattern}) in substitution: invalid escape '\\{following}'"
                )
            tokens.append(following)
        else:
            tokens.append({"*": _ANY_TEXT, "?": _ANY_CHARACTER}.get(character, character))
    return tokens


def _match_end(text: str, tokens: Sequence[Token], *, longest: bool) -> int | None:
    """Where the shortest or longest match that begins with the text ends; None without one."""
    states = _through_stars({0}, tokens)
    found = 0 if len(tokens) in states else None
    for at, character in enumerate(text, 1):
        if not states or (found is not None and not longest):
            break
        stepped: set[int] = set()
        for state in states:
            token = tokens[state] if state < len(tokens) else None
            if token == _ANY_TEXT and character != "\n":
                stepped.add(state)
            elif token == character or (token == _ANY_CHARACTER and character != "\n"):
                stepped.add(state + 1)
        states = _through_stars(stepped, tokens)
        if len(tokens) in states:
            found = at
    return found


def _through_stars(states: Iterable[int], tokens: Sequence[Token]) -> set[int]:
    """The states, and those behind the stars that may match nothing."""
    reached: set[int] = set()
    for state in states:
        reached.add(state)
        while state < len(tokens) and tokens[state] == _ANY_TEXT:
            state += 1
            reached.add(state)
    return reached
