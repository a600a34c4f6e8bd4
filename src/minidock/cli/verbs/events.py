"""`events`: print events of containers, images, volumes and networks, as they happen."""

from __future__ import annotations

import time

from minidock.cli.flags.filters import FILTER
from minidock.cli.flags.since_until import parse_timestamp
from minidock.cli.frame.command import command
from minidock.cli.frame.error_output import FormatSyntaxError
from minidock.cli.frame.pflag import value, values
from minidock.cli.output.go_types import typed
from minidock.errors import UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.document_types.store import Event

_NOTHING: Event = {
    "Type": "", "Action": "", "Actor": {"ID": "", "Attributes": {}}, "scope": "local", "time": 0,
    "timeNano": 0,
}  # fmt: skip
_COMPOUND = ("exec_create", "exec_start", "health_status")  # "health_status: healthy" is one too


@command()
@values("-f", "--filter", type=FILTER, help="Show only objects that match a filter (NAME=VALUE)")
@value("--format", default="", help="Format output: 'json' or a Go template")
@value(
    "--since",
    help='Show events since a time ("2013-01-02T13:23:37Z", or relative: "42m")',
)
@value("--until", help="Stop at a time (same format as --since)")
def events(
    arguments: tuple[str, ...],
    *,
    filter: tuple[tuple[str, str], ...],
    format: str,
    since: str | None,
    until: str | None,
) -> None:
    """Print the events of the store as they happen

    Without --until, it runs until it is interrupted. The store keeps the last twenty thousand
    events, approximately.
    """
    from minidock.engine.store.event_log import read

    said = _line if not format else _templated("{{json .}}" if format == "json" else format)
    end = _moment(until)
    begin = _moment(since)
    follow = end is None or end > time.time()
    if begin is None and end is not None:
        begin = 0.0
    for event in read(Store(), since=begin, until=end, follow=follow):
        if _is_wanted(event, filter):
            print(said(event), flush=True)


def _moment(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise BadTimestamp(str(error)) from None


class BadTimestamp(UsageError):
    """An invalid timestamp."""

    exit_code = 1


def _line(event: Event) -> str:
    """Format an event as text."""
    seconds, rest = divmod(event["timeNano"], 1_000_000_000)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    shown = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    attributes = event["Actor"]["Attributes"]
    about = ", ".join(f"{name}={attributes[name]}" for name in sorted(attributes))
    return (
        f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{rest:09d}{shown} {event['Type']} "
        f"{event['Action']} {event['Actor']['ID']}{f' ({about})' if about else ''}"
    )


def _templated(format: str) -> Callable[[Event], str]:
    """Return a function that renders an event; raises at once if it cannot render any."""
    from minidock.cli.output.inspect_output import parsed_template
    from minidock.cli.output.template.template import TemplateError

    template = parsed_template(format)

    def said(event: Event) -> str:
        return template.render(typed("*events.Message", event))

    try:
        said(_NOTHING)
    except TemplateError as error:
        raise FormatSyntaxError(f"Error parsing format: {error}") from None
    return said


def _is_wanted(event: Event, filters: tuple[tuple[str, str], ...]) -> bool:
    """Whether all filters match; filters of one name are alternatives, unknown ones are ignored."""
    by_name: dict[str, list[str]] = {}
    for name, wanted in filters:
        if name in _TESTS:
            by_name.setdefault(name, []).append(wanted)
    return all(
        any(_TESTS[name](event, wanted) for wanted in alternatives)
        for name, alternatives in by_name.items()
    )


def _has_action(event: Event, wanted: str) -> bool:
    action: str = event["Action"]
    return action == wanted or (wanted in _COMPOUND and action.startswith(f"{wanted}:"))


def _is_about(kind: str) -> Callable[[Event, str], bool]:
    """Return a test whether an event concerns the object of that kind with a name or ID."""

    def test(event: Event, wanted: str) -> bool:
        actor = event["Actor"]
        if event["Type"] != kind:
            return bool(actor["Attributes"].get(kind) == wanted)
        name = actor["Attributes"].get("name", "")
        return bool(actor["ID"].startswith(wanted) or name == wanted)

    return test


def _is_of_image(event: Event, wanted: str) -> bool:
    attributes = event["Actor"]["Attributes"]
    names = [attributes.get("name" if event["Type"] == "image" else "image", "")]
    names += [name.rpartition(":")[0] for name in names if ":" in name]
    return wanted in (*names, event["Actor"]["ID"])


def _has_label(event: Event, wanted: str) -> bool:
    from minidock.cli.flags.filters import has_label

    return has_label(event["Actor"]["Attributes"], wanted)


_TESTS: dict[str, Callable[[Event, str], bool]] = {
    "container": _is_about("container"),
    "event": _has_action,
    "image": _is_of_image,
    "label": _has_label,
    "network": _is_about("network"),
    "scope": lambda event, wanted: event["scope"] == wanted,
    "type": lambda event, wanted: event["Type"] == wanted,
    "volume": _is_about("volume"),
}
