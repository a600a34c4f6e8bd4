"""A finding: one line of the doctor's report.

It has a check, a verdict, what was seen, and a fix if there is one.

    ok        nothing to do
    warning   something does not work here, or differs from what users expect; `minidock run` works
    problem   `minidock run` fails
    unknown   could not be determined without root

Each finding also *predicts*: `can` maps features to True, False, or None for unknown.
tests/e2e/test_doctor.py compares the predictions with the machine:

    run          a container without a network            memory swap cpu "cpu shares" cpuset pids
    network      a container on the bridge                io "io weight"    these limits
    out          ... reaches other machines               devices           a device is refused
    publish      ... a published port answers             pause             it can be frozen
    userns       user namespaces, for root                "unprivileged userns" for others
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

OK, WARNING, PROBLEM, UNKNOWN = "ok", "warning", "problem", "unknown"
NEEDS_ROOT = "needs root to test"
ARCHITECTURES = ("x86_64", "aarch64")

Can = dict[str, bool | None]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    topic: its heading. check: what was examined. seen: the result.
    fix: one line, a command if there is one; "" if nothing needs to be done.
    """

    topic: str
    check: str
    verdict: str
    seen: str
    fix: str = ""
    can: Can = field(default_factory=dict)


def failed(parts: dict[str, str], wanted: Iterable[str]) -> dict[str, str]:
    """Return those parts of a probe's answer that failed, with the reason; also "probe"."""
    return {part: parts[part] for part in (*wanted, "probe") if parts.get(part)}
