"""Which rules a probe has met, by their counters: for iptables-legacy, which tells no more.

The trace still tells where the packet was, and what it looked like there (kernel/nftrace.py's own
chains). Between two such places, the rules are those whose counters rose. Counters count packets of
everybody: on a busy machine a rule may have been another packet's; the text says so.

Sources: iptables-save(8) "-c".
"""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple

from minidock.errors import MinidockError
from minidock.kernel import iptables
from minidock.teach.packet.firewall_trace import Rule, Rules, Station, Way

_FINAL = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "DNAT": "accept"}
_FINAL |= {"MASQUERADE": "accept", "SNAT": "accept", "RETURN": ""}


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


def filled(way: Way | None, counted: list[Counted], *, other_way: str) -> Way | None:
    """A way with the stations of iptables' tables between those that the trace has told.

    other_way: words of rules for packets in the other direction, which rose as well, such as
    "-i br0" for a packet that leaves by br0.
    """
    if way is None:
        return None
    rules = [_rule(each) for each in counted if f"{other_way} " not in f"{each.text} "]
    found: list[Station] = []
    for number, station in enumerate(way.stations):
        is_last = number == len(way.stations) - 1
        if station.chain == "postrouting" and found:
            before = _station(rules, "nat", "POSTROUTING", found[-1], is_end=False)
            if before.packet and station.packet:  # only the sender can change there
                before.packet = station.packet._replace(
                    source=before.packet.source, source_port=before.packet.source_port
                )
            found.append(before)
        found.append(station)
        if station.chain in ("output", "prerouting"):
            chain = station.chain.upper()
            found.append(_station(rules, "raw", chain, station, is_end=is_last))
            found.append(_station(rules, "nat", chain, station, is_end=False))
        elif station.chain == "forward":
            found.append(_station(rules, "filter", "FORWARD", station, is_end=is_last))
    return Way(found)


def _station(rules: list[Rule], table: str, chain: str, at: Station, *, is_end: bool) -> Station:
    """One built-in chain: the rule that decided, and the jump to it. is_end: a drop is sought."""
    verdict = "drop" if is_end else "accept"
    here = [rule for rule in rules if rule.table == table]
    decided: list[Rule] = []
    for rule in (each for each in here if each.verdict == verdict and not decided):
        jumps = [each for each in here if each.chain == chain and each.to == rule.chain]
        if rule.chain == chain or jumps:
            decided = [*jumps[:1], rule]
    return Station(table, chain, at.packet, at.came_by, at.leaves_by, decided)


def _rule(counted: Counted) -> Rule:
    words = counted.text.split()
    chain, is_policy = words[1], words[0] == "-P"
    target = words[2] if is_policy else words[words.index("-j") + 1] if "-j" in words else ""
    verdict = _FINAL.get(target, "jump")
    to = target if verdict == "jump" else ""
    return Rule(counted.table, chain, counted.text, verdict, to, is_policy)


def _counts() -> dict[tuple[str, str], int]:
    done = subprocess.run(
        [iptables.find("iptables-save"), "-c"],
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
        elif line.startswith(":") and line.split()[1] != "-":
            chain, policy, count = line[1:].split()
            found[table, f"-P {chain} {policy}"] = int(count[1:].partition(":")[0])
    return found
