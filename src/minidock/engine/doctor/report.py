"""The doctor's report about a machine: all findings, and their predictions (finding.py)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from minidock.engine.doctor import host
from minidock.engine.doctor.finding import ARCHITECTURES, PROBLEM, Can, Finding
from minidock.engine.doctor.machine import Machine


@dataclass(frozen=True)
class Report:
    """All findings about a machine."""

    findings: list[Finding]

    @property
    def can(self) -> Can:
        """Combine all predictions; the worst one counts. Without `run` there is no network."""
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
        """Whether a plain `minidock run` works, as far as is known."""
        return not self.count(PROBLEM)

    def count(self, verdict: str) -> int:
        """Count the findings with this verdict."""
        return sum(finding.verdict == verdict for finding in self.findings)

    def document(self) -> dict[str, object]:
        """Return the whole report as plain data, for JSON."""
        return {
            "works": self.works,
            "can": self.can,
            "findings": [asdict(finding) for finding in self.findings],
        }


def examine(machine: Machine) -> Report:
    """Check everything, in the order in which one would fix it."""
    findings = host.findings(machine)
    if machine.tell("architecture")[0] in ARCHITECTURES:
        # Their imports fail on a machine whose system call numbers are unknown.
        from minidock.engine.doctor import cgroups, devices, kernel, network, other_software, store

        for theme in (devices, kernel, store, cgroups, network, other_software):
            findings += theme.findings(machine)
    return Report(findings)


def _worse(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True
