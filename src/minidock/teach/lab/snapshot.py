"""What there is in a place at one moment, to see later what was left behind.

Mounts, links and processes are read from /proc, cgroups from their trees, rules by iptables-save.
"""

from __future__ import annotations

from dataclasses import dataclass

from minidock.teach.lab.lost import Lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.lab.place import Place


@dataclass(frozen=True)
class Snapshot:
    """mounts: of the place's own mount namespace. links: network devices. rules: of iptables, with
    "nat: " or "filter: " before them. cgroups: that were made in the place. processes: pid ->
    command line; what is about to end (a zombie) counts."""

    mounts: tuple[str, ...]
    links: tuple[str, ...]
    rules: tuple[str, ...]
    cgroups: tuple[str, ...]
    processes: dict[int, str]

    def left_over(self, before: Snapshot) -> list[str]:
        """What is here and was not before, one sentence each: "mount /run/x (tmpfs)"."""
        found = []
        for kind in ("mounts", "links", "rules", "cgroups"):
            old = list(getattr(before, kind))
            for name in getattr(self, kind):
                if name in old:
                    old.remove(name)
                else:
                    found.append(f"{kind[:-1]} {name}")
        for pid, command in self.processes.items():
            if pid not in before.processes:
                found.append(f"process {pid} ({command})")
        return found


def take(place: Place) -> Snapshot:
    """What is in a place now."""
    return Snapshot(
        tuple(f"{mount.target} ({mount.fstype})" for mount in place.init.mounts()),
        tuple(_links(place.init.read("net/dev"))),
        tuple(_rules(place)),
        tuple(place.cgroups()),
        _processes(place),
    )


def _processes(place: Place) -> dict[int, str]:
    found = {}
    for process in place.processes():
        try:
            ended = process.status()["State"][0] in "ZX"
            words = "" if ended else " ".join(process.argv())
        except Lost:  # it has ended since they were listed, and its parent has taken its exit code
            continue
        found[process.pid] = words[:80] or "a zombie, or a part of the kernel"
    return found


def _links(text: str) -> list[str]:
    return [line.partition(":")[0].strip() for line in text.splitlines()[2:]]


def _rules(place: Place) -> list[str]:
    """The rules of both kinds of iptables that a machine may have, each with its table's name."""
    found = []
    table = ""
    for line in place.look("iptables-save").splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A") or (line.startswith(":") and " - [" in line):
            found.append(f"{table}: {line.partition(' [')[0]}")
    return found
