"""What a mistyped word was perhaps meant to be."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_DISTANCE_MAX = 2


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ " (did you mean X?)" with the nearest of the known words, or "" if none is near."""
    distance, _, nearest = min(
        (_distance(word.lower(), k.lower()), sorted(k.lower()) != sorted(word.lower()), k)
        for k in (*known, "")
    )
    if not nearest or not 0 < distance <= _DISTANCE_MAX:
        return ""
    if word == word.lower():
        nearest = nearest.lower()
    return f" (did you mean {nearest}?)"


def _distance(one: str, other: str) -> int:
    """How many characters must be put in, taken out or changed (Levenshtein's distance)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
