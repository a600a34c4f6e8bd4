"""Parse HEALTHCHECK: NONE, or CMD with its interval, timeout and retries."""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.duration import parse_go_duration
from minidock.engine.dockerfile.word_expansion import SPACES, go_quote
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from minidock.document_types.container import Healthcheck
    from minidock.engine.dockerfile.instruction import Instruction

HEALTH_DURATIONS: dict[str, Literal["Interval", "Timeout", "StartPeriod", "StartInterval"]] = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
_MINIMUM_NS = 1_000_000


def parse_healthcheck(instruction: Instruction) -> Healthcheck:
    """The Healthcheck of an image's config. Raises DockerfileError with Docker's message."""
    words = instruction.words() if instruction.json is None else instruction.text.split()
    kind = words[0].upper()
    command = instruction.text[len(words[0]) :].strip(SPACES)
    if kind == "NONE":
        if command:
            raise DockerfileError("HEALTHCHECK NONE takes no arguments")
        return {"Test": ["NONE"]}
    if kind != "CMD":
        raise DockerfileError(f"Unknown type {go_quote(kind)} in HEALTHCHECK (try CMD)")
    if not command or instruction.json == []:
        raise DockerfileError("Missing command after HEALTHCHECK CMD")
    is_exec = instruction.json is not None
    check: Healthcheck = {
        "Test": ["CMD", *(instruction.json or [])] if is_exec else ["CMD-SHELL", command]
    }
    for flag, field in HEALTH_DURATIONS.items():
        if number := _duration(flag, instruction.flag(flag)):
            check[field] = number
    if retries := _retries(instruction.flag("retries")):
        check["Retries"] = retries
    return check


def _duration(flag: str, text: str) -> int:
    number = parse_go_duration(text) if text else 0
    if number and number < _MINIMUM_NS:
        raise DockerfileError(f'Interval "{flag}" cannot be less than 1ms')
    return number


def _retries(text: str) -> int:
    if not text:
        return 0
    digits = text[1:] if text[0] in "+-" else text
    if not is_decimal(digits):
        raise DockerfileError(f"strconv.ParseInt: parsing {go_quote(text)}: invalid syntax")
    if not -(1 << 31) <= int(text) < 1 << 31:
        raise DockerfileError(f"strconv.ParseInt: parsing {go_quote(text)}: value out of range")
    if int(text) < 0:
        raise DockerfileError(f"--retries cannot be negative ({int(text)})")
    return int(text)
