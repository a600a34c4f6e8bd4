"""Which rules a probe has met, by their counters: for iptables-legacy, which tells no more.

Counters count everybody's packets. On a busy machine a rule may have been another packet's; the
text says so. Sources: iptables-save(8) "-c".
"""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple

from minidock.errors import MinidockError
from minidock.kernel import iptables
from minidock.teach.packet.ways import Rules


class Counted(NamedTuple):
    """A rule of legacy iptables, or a policy, and by how many packets its counter rose."""

    table: str
    text: str
    packets: int


def read(rules: Rules) -> dict[tuple[str, str], int]:
    """(table, rule) -> packets so far; nothing where the firewall keeps a trace instead."""
    return {} if rules.is_nft else _counts()


def risen(before: dict[tuple[str, str], int]) -> list[Counted]:
    """The rules that have met packets since then."""
    return [
        Counted(table, text, now - before[table, text])
        for (table, text), now in _counts().items()
        if now > before.get((table, text), now)
    ]


def _counts() -> dict[tuple[str, str], int]:
    program = iptables.find("iptables-save")
    done = subprocess.run(
        [program, "-c"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode:
        raise MinidockError(f"iptables-save -c failed: {done.stderr.strip()}")
    found, table = {}, ""
    for line in done.stdout.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("["):
            count, _, rule = line.partition("] ")
            found[table, rule.rstrip()] = int(count[1:].partition(":")[0])
        elif line.startswith(":") and not line.split()[1] == "-":
            chain, policy, count = line[1:].split()
            found[table, f"-P {chain} {policy}"] = int(count[1:].partition(":")[0])
    return found
