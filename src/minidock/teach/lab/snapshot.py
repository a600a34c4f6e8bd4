"""The state of a sandbox at one moment, to find later what was left behind.

Mounts, links and processes come from /proc, cgroups from their hierarchies, rules from
iptables-save.
"""

from __future__ import annotations

from dataclasses import dataclass

from minidock.teach.lab.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.teach.lab.sandbox_process import Process


@dataclass(frozen=True)
class Snapshot:
    """The state of a sandbox.

    mounts: of its mount namespace. links: network devices. rules: of iptables, with "nat: " or
    "filter: " before them. cgroups: created in the sandbox. processes: pid -> command line;
    zombies included.
    """

    mounts: tuple[str, ...]
    links: tuple[str, ...]
    rules: tuple[str, ...]
    cgroups: tuple[str, ...]
    processes: dict[int, str]

    def list_new_since(self, before: Snapshot) -> list[str]:
        """What exists now and did not before: "mount /run/x (tmpfs)"."""
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


def take_snapshot(
    init: Process, *, iptables: str, cgroups: Sequence[str], processes: Sequence[Process]
) -> Snapshot:
    """Record the state of a sandbox.

    init: its PID 1. iptables: the output of iptables-save in it.
    """
    return Snapshot(
        tuple(f"{mount.target} ({mount.fstype})" for mount in init.mounts()),
        tuple(_links(init.read("net/dev"))),
        tuple(_rules(iptables)),
        tuple(cgroups),
        _commands(processes),
    )


def _commands(processes: Sequence[Process]) -> dict[int, str]:
    found = {}
    for process in processes:
        try:
            is_zombie = process.status()["State"][0] in "ZX"
            words = "" if is_zombie else " ".join(process.argv())
        except (
            Failure
        ):  # it has ended since they were listed, and its parent has taken its exit code
            continue
        found[process.pid] = words[:80] or "a zombie, or a part of the kernel"
    return found


def _links(text: str) -> list[str]:
    return [line.partition(":")[0].strip() for line in text.splitlines()[2:]]


def _rules(saved: str) -> list[str]:
    """The rules of both kinds of iptables that a machine may have, each with its table's name."""
    found = []
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A") or (line.startswith(":") and " - [" in line):
            found.append(f"{table}: {line.partition(' [')[0]}")
    return found
