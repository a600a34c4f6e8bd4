r"""Match the patterns of ${X#p}, ${X%p} and ${X/p/r}.

"*" matches any text, "?" any character; neither matches a line break. "\" escapes "*", "?", "\",
"}" and "/"; before any other character it is an error.

The matcher simulates a nondeterministic finite automaton (NFA): it keeps the set of all possible
states, so that no pattern takes exponential time. State n means that n tokens have matched.

Source: BuildKit's frontend/dockerfile/shell, whose expressions are greedy or lazy as a whole.
"""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError

_WORK_MAX = 4_000_000  # characters times tokens: a match takes seconds at most
_ANY_TEXT = ("*",)  # a tuple: equals no character of the text
_ANY_CHARACTER = ("?",)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Token = str | tuple[str]

GROWTH_MAX = 1 << 20  # bytes by which a value may grow


def remove_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """The value without its shortest or longest matching prefix."""
    end = _match_end(value, _tokens(pattern), longest=longest)
    return value if end is None else value[end:]


def remove_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """The value without its shortest or longest matching suffix."""
    end = _match_end(value[::-1], _tokens(pattern)[::-1], longest=longest)
    return value if end is None else value[: len(value) - end]


def replace(value: str, pattern: str, replacement: str, *, everywhere: bool) -> str:
    """The value with the first match, or all, replaced; matches are as long as possible."""
    tokens = _tokens(pattern)
    _check_size(value, tokens)
    result: list[str] = []
    size = at = copied_to = 0
    while (found := _find(value, tokens, at)) is not None:
        start, end = found
        if start == end == copied_to and result:
            at += 1  # Go ignores an empty match adjacent to the previous one
            continue
        result += [value[copied_to:start], replacement]
        size += len(replacement)
        if size > GROWTH_MAX:
            raise DockerfileError(f"the replaced text is longer than {GROWTH_MAX >> 20} MiB")
        copied_to = end
        at = end + (start == end)
        if not everywhere:
            break
    return "".join([*result, value[copied_to:]])


def _check_size(value: str, tokens: Sequence[Token]) -> None:
    """Raise DockerfileError if the match would take too long: O(characters * tokens)."""
    if len(value) * len(tokens) > _WORK_MAX:
        raise DockerfileError("value and pattern of a substitution are too long")


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
            token = {"*": _ANY_TEXT, "?": _ANY_CHARACTER}.get(character, character)
            if not (token == _ANY_TEXT and tokens and tokens[-1] == _ANY_TEXT):  # "**" equals "*"
                tokens.append(token)
    return tokens


def _find(text: str, tokens: Sequence[Token], start: int) -> tuple[int, int] | None:
    """Find the first match at or after `start`; returns its begin and the end of the longest.

    Each state stores the earliest begin from which it was reached, so one pass finds both.
    """
    found: tuple[int, int] | None = None
    states: dict[int, int] = {}
    for at in range(start, len(text) + 1):
        if found is None:
            for state in _epsilon_closure({0}, tokens):
                states.setdefault(state, at)
        begin = states.get(len(tokens))
        if begin is not None and (found is None or begin <= found[0]):
            found = begin, at
        if found is not None:
            states = {state: begin for state, begin in states.items() if begin <= found[0]}
            if not states:
                break
        if at < len(text):
            states = _step(text[at], states, tokens)
    return found


def _step(character: str, states: dict[int, int], tokens: Sequence[Token]) -> dict[int, int]:
    """The states after one more character, each with its earliest begin."""
    stepped: dict[int, int] = {}
    for state, begin in states.items():
        for reached in _epsilon_closure(_next_states(character, state, tokens), tokens):
            stepped[reached] = min(begin, stepped.get(reached, begin))
    return stepped


def _next_states(character: str, state: int, tokens: Sequence[Token]) -> tuple[int, ...]:
    """The states that a character leads to from a state."""
    token = tokens[state] if state < len(tokens) else None
    if token == _ANY_TEXT:
        return (state,) if character != "\n" else ()
    if token == character or (token == _ANY_CHARACTER and character != "\n"):
        return (state + 1,)
    return ()


def _match_end(text: str, tokens: Sequence[Token], *, longest: bool) -> int | None:
    """The end of the shortest or longest match at the start of the text; None for no match."""
    _check_size(text, tokens)
    states = _epsilon_closure({0}, tokens)
    found = 0 if len(tokens) in states else None
    for at, character in enumerate(text, 1):
        if not states or (found is not None and not longest):
            break
        reached = {after for state in states for after in _next_states(character, state, tokens)}
        states = _epsilon_closure(reached, tokens)
        if len(tokens) in states:
            found = at
    return found


def _epsilon_closure(states: Iterable[int], tokens: Sequence[Token]) -> set[int]:
    """The states, and those reachable by letting "*" match the empty string."""
    reached: set[int] = set()
    for state in states:
        reached.add(state)
        while state < len(tokens) and tokens[state] == _ANY_TEXT:
            state += 1
            reached.add(state)
    return reached
