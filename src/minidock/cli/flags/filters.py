"""--filter: select containers, images, volumes or networks.

Filters with the same name are alternatives (or); filters with different names, and all label
filters, must match together (and). The error for an unknown name is that of Docker's daemon.
"""

from __future__ import annotations

from minidock.cli.frame.pflag import FlagType, values
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")
    M = TypeVar("M", str, float)
    Test = Callable[[T], bool]
    Reader = Callable[[str], Test[T]]  # reads a filter's value; may raise BadFilter

_SECONDS = 1.0  # of the processor, for one pattern and one name


class BadFilter(MinidockError):
    """An unknown filter, or an invalid value of a filter."""

    exit_code = 1


def _filter(text: str) -> tuple[str, str]:
    if not text:
        return "", ""
    name, equals, wanted = text.partition("=")
    if not equals:
        raise ValueError("bad format of filter (expected name=value)")
    return name.strip().lower(), wanted.strip()


FILTER = FlagType("filter", _filter)
filter_flag = values(
    "-f", "--filter", type=FILTER, help="Show only objects that match a filter (NAME=VALUE)"
)


def read_filters(filters: tuple[tuple[str, str], ...], readers: dict[str, Reader[T]]) -> Test[T]:
    """Read the values of all filters; returns whether an item matches them.

    readers: name of a filter -> what reads its value and returns the test of an item.
    Raises BadFilter for an unknown name or an invalid value: also where there is nothing to filter.
    """
    by_name: dict[str, list[Test[T]]] = {}
    for name, wanted in filters:
        if (name, wanted) == ("", ""):
            continue  # --filter "" asks for nothing
        if name not in readers:
            raise BadFilter(
                f"invalid filter '{name}'", hint=f"supported filters: {', '.join(readers)}"
            )
        by_name.setdefault(name, []).append(readers[name](wanted))
    return lambda item: all(
        (all if name == "label" else any)(test(item) for test in tests)
        for name, tests in by_name.items()
    )


def apply_filters(
    items: list[T], filters: tuple[tuple[str, str], ...], readers: dict[str, Reader[T]]
) -> list[T]:
    """Return the items that match all filters. Raises BadFilter, as `read_filters` does."""
    matches = read_filters(filters, readers)
    return [item for item in items if matches(item)]


def has_label(labels: dict[str, str] | None, wanted: str) -> bool:
    """Match label=NAME (any value) or label=NAME=VALUE."""
    name, equals, text = wanted.partition("=")
    labels = labels or {}
    return name in labels and (not equals or labels[name] == text)


def matches_glob(pattern: str, text: str) -> bool:
    """Match a pattern of Go's path.Match: "*" and "?" do not match "/".

    Raises BadFilter for a malformed pattern.
    Source: https://pkg.go.dev/path#Match.
    """
    from minidock.wildcards import Malformed, path_pattern

    try:
        return path_pattern(pattern).matches(text)
    except Malformed as error:
        raise BadFilter(str(error)) from None


def parse_filter_bool(name: str, wanted: str) -> bool:
    """Parse the boolean value of a filter."""
    if wanted.lower() in ("1", "true", "t"):
        return True
    if wanted.lower() in ("0", "false", "f"):
        return False
    raise BadFilter(f"invalid filter '{name}=[{wanted}]'")


def label_filters(labels: Callable[[T], dict[str, str] | None]) -> dict[str, Reader[T]]:
    """The filters `label` and `label!` of the prune commands. labels: an item's."""
    return {
        "label": lambda wanted: lambda item: has_label(labels(item), wanted),
        "label!": lambda wanted: lambda item: not has_label(labels(item), wanted),
    }


def compared(compare: Callable[[M, M], bool], key: Callable[[T], M], limit: M) -> Test[T]:
    """Test a value of an item against a limit. compare: of the module operator, such as lt."""
    return lambda item: compare(key(item), limit)


def boolean(name: str, holds: Test[T]) -> Reader[T]:
    """A filter of true or false: an item matches where `holds` says the same."""

    def read(wanted: str) -> Test[T]:
        expected = parse_filter_bool(name, wanted)
        return lambda item: holds(item) == expected

    return read


def until(wanted: str) -> float:
    """Parse the timestamp of a filter "until"; raises BadFilter."""
    from minidock.cli.flags.since_until import parse_timestamp

    try:
        return parse_timestamp(wanted)
    except ValueError as error:
        raise BadFilter(str(error)) from None


def matches_regexp(pattern: str, text: str) -> bool:
    """Search a text for a Go regular expression; an invalid one matches nothing.

    Raises BadFilter for an unsupported expression, and after a second: Python's matcher backtracks,
    which may take exponential time.
    """
    import signal

    from minidock.cli.flags.go_regexp import Unsupported, compile_expression

    def expire(number: int, frame: object) -> None:
        raise BadFilter(
            f"the pattern takes more than {_SECONDS:.0f} second: {pattern}",
            hint="avoid nested repetition, such as (a*)*",
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
