"""Signals by name and number, as `kill -s` and `--stop-signal` take them."""

from __future__ import annotations

from minidock.errors import UsageError
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from minidock.document_types.container import ContainerConfig
else:
    import _signal as signal  # without the enums, whose import costs 5 ms


SIGKILL: int = signal.SIGKILL
SIGCHLD: int = signal.SIGCHLD


def stop_signal(config: ContainerConfig) -> int:
    """Return the number of a container's stop signal, from its Config."""
    return signal_number(config.get("StopSignal") or "SIGTERM")


def signal_number(text: str) -> int:
    """Return the number of "SIGTERM", "term", "15" or "RTMIN+3".

    Raises UsageError for an unknown signal.
    """
    if is_decimal(text):
        if int(text) in signal.valid_signals():
            return int(text)
        raise UsageError(f"Invalid signal: {text}", hint="`kill -l` lists them")
    name = text.upper()
    name = name if name.startswith("SIG") else "SIG" + name
    base, plus, offset = name.partition("+")
    if not plus:
        base, plus, offset = name.partition("-")
    known = getattr(signal, base, None)
    if not base.startswith("SIG") or not isinstance(known, int) or "_" in base:
        raise UsageError(f"Invalid signal: {text}", hint="`kill -l` lists them")
    number = known
    if plus:
        if base not in ("SIGRTMIN", "SIGRTMAX") or not is_decimal(offset):
            raise UsageError(f"Invalid signal: {text}", hint="`kill -l` lists them")
        number += int(offset) if plus == "+" else -int(offset)
    if number not in signal.valid_signals():
        raise UsageError(f"Invalid signal: {text}", hint="`kill -l` lists them")
    return number
