"""--filter: which containers, images, volumes or networks a list shows.

Filters of one name are alternatives, those of different names must all hold; of labels, all must be
there. An unknown name is refused in the words of Docker's daemon.
"""

from __future__ import annotations

from minidock.cli.frame.pflag import Parsed, values
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Test = Callable[[Any, str], bool]

_SECONDS = 1.0  # of the processor, for one pattern and one name


class BadFilter(MinidockError):
    """A filter that this list does not have, or a value that it cannot have."""

    exit_code = 1


def _filter(text: str) -> tuple[str, str]:
    if not text:
        return "", ""
    name, equals, wanted = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return name.strip().lower(), wanted.strip()


FILTER = Parsed("filter", _filter)
filter_flag = values(
    "-f", "--filter", type=FILTER, help="Show only objects that match a filter (NAME=VALUE)"
)


def check_names(filters: tuple[tuple[str, str], ...], tests: dict[str, Test]) -> None:
    """Refuse a filter that there is not: before a question is asked, or anything is done."""
    chosen([], filters, tests)


def chosen(
    things: list[Any], filters: tuple[tuple[str, str], ...], tests: dict[str, Test]
) -> list[Any]:
    """The things for which all filters hold.

    tests: filter's name -> does it hold for this thing and this value? It may raise BadFilter.
    """
    by_name: dict[str, list[str]] = {}
    for name, wanted in filters:
        if (name, wanted) == ("", ""):
            continue  # --filter "" asks for nothing
        if name not in tests:
            raise BadFilter(f"invalid filter '{name}'", hint=f"there are {', '.join(tests)}")
        by_name.setdefault(name, []).append(wanted)
    if not things:
        return []
    return [
        thing
        for thing in things
        if all(
            (all if name == "label" else any)(tests[name](thing, text) for text in texts)
            for name, texts in by_name.items()
        )
    ]


def has_label(labels: dict[str, str] | None, wanted: str) -> bool:
    """label=NAME: has it; label=NAME=VALUE: has it with this value."""
    name, equals, text = wanted.partition("=")
    labels = labels or {}
    return name in labels and (not equals or labels[name] == text)


def glob(pattern: str, text: str) -> bool:
    """Does a pattern of Go's path.Match fit a text? "*" and "?" stop at a "/".

    Raises BadFilter for a pattern that is none.
    Source: https://pkg.go.dev/path#Match.
    """
    from minidock.wildcards import Malformed, path_pattern

    try:
        return path_pattern(pattern).matches(text)
    except Malformed as error:
        raise BadFilter(str(error)) from None


def truth(name: str, wanted: str) -> bool:
    """The value of a filter that is true or false."""
    if wanted.lower() in ("1", "true", "t"):
        return True
    if wanted.lower() in ("0", "false", "f"):
        return False
    raise BadFilter(f"invalid filter '{name}=[{wanted}]'")


def matches(pattern: str, text: str) -> bool:
    """Does a pattern (a regular expression of Go's) occur in a text? What is none is in none.

    Raises BadFilter for one that is not supported, and for one that takes too long: Python's
    matcher may try very many ways.
    """
    import signal

    from minidock.cli.flags.go_regexp import Unsupported, compile_expression

    def expire(number: int, frame: object) -> None:
        raise BadFilter(
            f"the pattern takes more than {_SECONDS:.0f} second: {pattern}",
            hint="repeat no part that has a repetition in itself, such as (a*)*",
        )

    if pattern == text:
        return True
    before = signal.signal(signal.SIGVTALRM, expire)
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
    try:
        return compile_expression(pattern).search(text) is not None
    except Unsupported as error:
        raise BadFilter(f"the pattern {pattern}: {error}") from None
    except (ValueError, RecursionError):
        return False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
