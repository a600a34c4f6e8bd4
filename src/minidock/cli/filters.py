"""--filter: which containers, images, volumes or networks a list shows.

Filters of one name are alternatives, those of different names must all hold. An unknown name is
refused in the words of Docker's daemon.
"""

from __future__ import annotations

from minidock.cli.pflag import Parsed, values
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Test = Callable[[Any, str], bool]


class BadFilter(MinidockError):
    """A filter that this list does not have, or a value that it cannot have."""

    exit_code = 1


def _filter(text: str) -> tuple[str, str]:
    name, equals, wanted = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return name.strip().lower(), wanted.strip()


FILTER = Parsed("filter", _filter)
filter_flag = values("-f", "--filter", type=FILTER, help="Filter output based on conditions")


def chosen(
    things: list[Any], filters: tuple[tuple[str, str], ...], tests: dict[str, Test]
) -> list[Any]:
    """The things for which all filters hold.

    tests: filter's name -> does it hold for this thing and this value? It may raise BadFilter.
    """
    by_name: dict[str, list[str]] = {}
    for name, wanted in filters:
        if name not in tests:
            raise BadFilter(f"invalid filter '{name}'", hint=f"there are {', '.join(tests)}")
        by_name.setdefault(name, []).append(wanted)
    if not things:
        return []
    return [
        thing
        for thing in things
        if all(
            any(tests[name](thing, wanted) for wanted in alternatives)
            for name, alternatives in by_name.items()
        )
    ]


def has_label(labels: dict[str, str] | None, wanted: str) -> bool:
    """label=NAME: has it; label=NAME=VALUE: has it with this value."""
    name, equals, text = wanted.partition("=")
    labels = labels or {}
    return name in labels and (not equals or labels[name] == text)


def truth(name: str, wanted: str) -> bool:
    """The value of a filter that is true or false."""
    if wanted.lower() in ("1", "true", "t"):
        return True
    if wanted.lower() in ("0", "false", "f"):
        return False
    raise BadFilter(f"invalid filter '{name}=[{wanted}]'")


def matches(pattern: str, text: str) -> bool:
    """Does a pattern (a regular expression) occur in a text?"""
    import re

    try:
        return re.search(pattern, text) is not None
    except re.error:
        return pattern in text
