"""Parse and format Go durations: "1h30m", "1.5s", "300ms"."""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.word_expansion import go_quote

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_MAX_NS = (1 << 63) - 1
_DIGITS = "0123456789"


def parse_go_duration(text: str) -> int:
    """Parse a duration to nanoseconds. Raises DockerfileError with Go's message."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total = 0
    if not rest:
        raise DockerfileError(f"time: invalid duration {go_quote(text)}")
    while rest:
        number = _leading(rest, digits=True)
        rest = rest[len(number) :]
        unit = _leading(rest, digits=False)
        rest = rest[len(unit) :]
        whole, _, fraction = number.partition(".")
        if not (whole + fraction) or "." in fraction:
            raise DockerfileError(f"time: invalid duration {go_quote(text)}")
        if not unit:
            raise DockerfileError(f"time: missing unit in duration {go_quote(text)}")
        if unit not in _UNITS_NS:
            raise DockerfileError(
                f"time: unknown unit {go_quote(unit)} in duration {go_quote(text)}"
            )
        unit_ns = _UNITS_NS[unit]
        total += int(whole or 0) * unit_ns + int(fraction or 0) * unit_ns // 10 ** len(fraction)
        if total > _MAX_NS:
            raise DockerfileError(f"time: invalid duration {go_quote(text)}")
    return sign * total


def format_go_duration(duration_ns: int) -> str:
    """Format a duration as Go does: 1m30s, 1.5s, 300ms, 0s."""
    if duration_ns < 1_000_000_000:
        for unit in ("ms", "µs", "ns"):
            if duration_ns >= _UNITS_NS[unit]:
                return _decimal(duration_ns, _UNITS_NS[unit]) + unit
        return "0s"
    minutes, seconds_ns = divmod(duration_ns, _UNITS_NS["m"])
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if hours or minutes else ""
    return text + _decimal(seconds_ns, _UNITS_NS["s"]) + "s"


def _decimal(number: int, unit: int) -> str:
    whole, rest = divmod(number, unit)
    fraction = f"{rest:0{len(str(unit)) - 1}}".rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def _leading(text: str, *, digits: bool) -> str:
    """The leading digits and points of a text, or its leading other characters."""
    at = 0
    while at < len(text) and (text[at] in _DIGITS + ".") is digits:
        at += 1
    return text[:at]
