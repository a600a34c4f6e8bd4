"""The rules that a probe matched, found by their counters: for iptables-legacy, which cannot trace.

The chains of kernel/nftrace.py still show which hooks the packet passed, and its addresses there.
The rules between two hooks are those whose counters increased. Counters count every packet: on a
busy machine another packet may have matched the rule; the output says so.

Sources: iptables-save(8) "-c".
"""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple

from minidock.engine.network.veth_pair import NetworkNamespace
from minidock.errors import MinidockError
from minidock.kernel import iptables
from minidock.teach.packet.firewall_trace import ChainTrace, PacketTrace, Rule, Rules

# (whose network namespace, table, rule or policy) -> (packets, bytes)
Counts = dict[tuple[str, str, str], tuple[int, int]]
_LIMIT_SECONDS = 10.0
_FINAL = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "DNAT": "accept"}
_FINAL |= {"MASQUERADE": "accept", "SNAT": "accept", "RETURN": ""}


class Counted(NamedTuple):
    """A rule of legacy iptables, or a policy, and the increase of its packet counter."""

    table: str
    text: str
    packets: int


def read_now(pid: int, netns: set[str]) -> Counts:
    """The counters of all rules and policies of iptables, in some network namespaces.

    netns: "host", "container" (that of process pid); others are left out. Raises KernelError.
    """
    found: Counts = {}
    if "host" in netns:
        found |= {("host", *rule): count for rule, count in _counters().items()}
    if "container" in netns:
        with NetworkNamespace(pid):
            found |= {("container", *rule): count for rule, count in _counters().items()}
    return found


def read(rules: Rules) -> dict[tuple[str, str], int]:
    """(table, rule) -> packets so far; empty if the firewall can trace instead."""
    return {} if rules.is_nft else _counts()


def count_risen(before: dict[tuple[str, str], int]) -> list[Counted]:
    """The rules whose counters increased since then."""
    return [
        Counted(table, text, now - before[table, text])
        for (table, text), now in _counts().items()
        if now > before.get((table, text), now)
    ]


def add_counted_rules(
    trace: PacketTrace | None, counted: list[Counted], *, other_way: str
) -> PacketTrace | None:
    """Add the tables of legacy iptables to a trace, between the hooks that it contains.

    other_way: marks the rules for the opposite direction, whose counters increased too, such as
    "-i br0" for a packet that leaves on br0.
    """
    if trace is None:
        return None
    rules = [_rule(each) for each in counted if f"{other_way} " not in f"{each.text} "]
    found: list[ChainTrace] = []
    for number, chain_trace in enumerate(trace.chains):
        is_last = number == len(trace.chains) - 1
        if chain_trace.chain == "postrouting" and found:
            before = _chain_trace(rules, "nat", "POSTROUTING", found[-1], is_end=False)
            if before.packet and chain_trace.packet:  # only the sender can change there
                before.packet = chain_trace.packet._replace(
                    source=before.packet.source, source_port=before.packet.source_port
                )
            found.append(before)
        found.append(chain_trace)
        if chain_trace.chain in ("output", "prerouting"):
            chain = chain_trace.chain.upper()
            found.append(_chain_trace(rules, "raw", chain, chain_trace, is_end=is_last))
            found.append(_chain_trace(rules, "nat", chain, chain_trace, is_end=False))
        elif chain_trace.chain == "forward":
            found.append(_chain_trace(rules, "filter", "FORWARD", chain_trace, is_end=is_last))
    return PacketTrace(found)


def _chain_trace(
    rules: list[Rule], table: str, chain: str, at: ChainTrace, *, is_end: bool
) -> ChainTrace:
    """One built-in chain: the deciding rule and the jump to it. is_end: look for a drop."""
    verdict = "drop" if is_end else "accept"
    here = [rule for rule in rules if rule.table == table]
    decided: list[Rule] = []
    for rule in (each for each in here if each.verdict == verdict and not decided):
        jumps = [each for each in here if each.chain == chain and each.to == rule.chain]
        if rule.chain == chain or jumps:
            decided = [*jumps[:1], rule]
    return ChainTrace(table, chain, at.packet, at.came_by, at.leaves_by, decided)


def _rule(counted: Counted) -> Rule:
    words = counted.text.split()
    chain, is_policy = words[1], words[0] == "-P"
    target = words[2] if is_policy else words[words.index("-j") + 1] if "-j" in words else ""
    verdict = _FINAL.get(target, "jump")
    to = target if verdict == "jump" else ""
    return Rule(counted.table, chain, counted.text, verdict, to, is_policy)


def _counts() -> dict[tuple[str, str], int]:
    return {rule: packets for rule, (packets, _) in _counters().items()}


def _counters() -> dict[tuple[str, str], tuple[int, int]]:
    """(table, rule or policy) -> (packets, bytes), in the network namespace of this process."""
    try:
        done = subprocess.run(
            [iptables.find("iptables-save"), "-c"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
            timeout=_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise MinidockError(f"iptables-save -c: no answer within {_LIMIT_SECONDS:.0f} s") from None
    if done.returncode:
        raise MinidockError(f"iptables-save -c failed: {done.stderr.strip()}")
    found: dict[tuple[str, str], tuple[int, int]] = {}
    table = ""
    for line in done.stdout.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("["):
            count, _, rule = line.partition("] ")
            found[table, rule.rstrip()] = _numbers(count[1:])
        elif line.startswith(":") and line.split()[1] != "-":
            chain, policy, count = line[1:].split()
            found[table, f"-P {chain} {policy}"] = _numbers(count[1:-1])
    return found


def _numbers(counter: str) -> tuple[int, int]:
    """Parse "PACKETS:BYTES"."""
    packets, _, size = counter.partition(":")
    return int(packets), int(size)
