"""What the doctor says of a machine: findings, and what follows from them.

A finding is one line: what was looked at, a verdict, what was seen, and the fix where there is one.

    ok        nothing to do
    warning   something does not work here, or will surprise; `minidock run` works
    problem   `minidock run` fails
    unknown   could not be found out: it takes root

Each finding also *predicts*: `can` names what can be done here, as True, False, or None for "not
known". The predictions are held against reality by tests/e2e/test_doctor.py:

    run          a container without a network            memory swap cpu "cpu shares" cpuset pids
    network      a container on the bridge                io "io weight"    these limits
    out          ... reaches other machines               devices           a device is refused
    publish      ... a published port answers             pause             it can be frozen
    userns       user namespaces, for root                "userns of users" for others
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from minidock.engine.doctor.machine import Machine

OK, WARNING, PROBLEM, UNKNOWN = "ok", "warning", "problem", "unknown"
NEEDS_ROOT = "only root can try it"
ARCHITECTURES = ("x86_64", "aarch64")

Can = dict[str, bool | None]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    topic: the heading that it stands under. check: what was looked at. seen: what was found.
    fix: one line, a command where there is one; "" where nothing is to be done.
    """

    topic: str
    check: str
    verdict: str
    seen: str
    fix: str = ""
    can: Can = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """All findings about a machine."""

    findings: list[Finding]

    @property
    def can(self) -> Can:
        """Every prediction; where findings differ the worst counts. No network without a run."""
        merged: Can = {"run": True, "network": True, "publish": True, "out": True}
        for finding in self.findings:
            for what, verdict in finding.can.items():
                merged[what] = _worse(merged.get(what, True), verdict)
        for what in merged:
            if not what.startswith("userns"):
                merged[what] = _worse(merged[what], merged["run"])
        for what in ("publish", "out"):
            merged[what] = _worse(merged[what], merged["network"])
        return merged

    @property
    def works(self) -> bool:
        """Whether a plain `minidock run` does, as far as is known."""
        return not self.count(PROBLEM)

    def count(self, verdict: str) -> int:
        """How many findings have this verdict."""
        return sum(finding.verdict == verdict for finding in self.findings)

    def document(self) -> dict[str, Any]:
        """The whole report as plain data, for JSON."""
        return {
            "works": self.works,
            "can": self.can,
            "findings": [asdict(finding) for finding in self.findings],
        }


def examine(machine: Machine) -> Report:
    """Look at everything, in the order in which a person would repair it."""
    from minidock.engine.doctor import host

    findings = host.findings(machine)
    if machine.tell("architecture")[0] in ARCHITECTURES:  # else nothing more can be asked
        from minidock.engine.doctor import cgroups, kernel, network, store, surroundings

        for theme in (kernel, store, cgroups, network, surroundings):
            findings += theme.findings(machine)
    return Report(findings)


def failed(parts: dict[str, str], wanted: Iterable[str]) -> dict[str, str]:
    """Of a probe's answer, the wanted parts that do not work, with the reason; also "probe"."""
    return {part: parts[part] for part in (*wanted, "probe") if parts.get(part)}


def _worse(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True
