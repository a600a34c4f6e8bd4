"""Suggest a known word for a misspelled one."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_DISTANCE_MAX = 2


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ " (did you mean X?)" with the nearest of the known words, or "" if none is near."""
    candidates = [
        (distance, sorted(k.lower()) != sorted(word.lower()), k)
        for k in known
        if 0 < (distance := _distance(word.lower(), k.lower())) <= _DISTANCE_MAX
    ]
    if not candidates:
        return ""
    nearest = min(candidates)[-1]
    is_upper = word == word.upper() != word.lower()
    return f" (did you mean {nearest.upper() if is_upper else nearest.lower()}?)"


def _distance(one: str, other: str) -> int:
    """The Levenshtein distance: the number of inserted, deleted and substituted characters."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
