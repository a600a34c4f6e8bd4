"""Evaluates chains of iptables for a container's packets, in the same way as nftables.

iptables-legacy has its own tables, which `nft list` does not show; every packet passes them as
well. A rule is translated to nft's syntax; conditions that are irrelevant here become one unknown
condition.

    -A INPUT -i br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iifname "br0" ct state related,established accept

Sources: iptables(8), iptables-extensions(8) "conntrack", "state".
"""

from __future__ import annotations

import itertools
import re
import shlex

from minidock.engine.doctor.nftables import Chain, Flow, Stop, stopped

_HOOKS = {"INPUT": "input", "OUTPUT": "output"}
# For each chain of the filter table: what must pass it, and the rule that accepts it.
_NEEDED: dict[str, tuple[tuple[Flow, str], ...]] = {
    "INPUT": (
        (
            {"iifname": "{br}", "ct state": "established"},
            "-i {br} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ),
    ),
    "OUTPUT": (
        ({"oifname": "{br}", "ct state": "new"}, "-o {br} -j ACCEPT"),
        (
            {"oifname": "lo", "ct state": "new", "ct status": "dnat"},
            "-m conntrack --ctstate DNAT -j ACCEPT",
        ),
    ),
}
_WORDS = {"-i": "iifname", "-o": "oifname"}
_TARGETS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
_PASSES_ON = ("LOG", "NFLOG", "MARK", "CONNMARK", "TRACE")


def stops(saved: str, bridge: str, *, tool: str) -> list[Stop]:
    """Find those of the filter table's chains INPUT and OUTPUT that drop needed packets.

    saved: the output of iptables-save. tool: the program that changes these tables.
    """
    chains = _parse(saved, tool)
    found = []
    for name, needed in _NEEDED.items():
        if (chain := chains.get((tool, name))) is None:
            continue
        missing = []
        for flow, rule in needed:
            packet = {key: value.format(br=bridge) for key, value in flow.items()}
            if stopped(chains, chain, packet):
                missing.append(rule.format(br=bridge))
        if missing:
            found.append(Stop(chain, missing, tool=tool))
    return found


def _parse(saved: str, tool: str) -> dict[tuple[str, str], Chain]:
    """Parse the filter table's chains, as nftables chains of a table named after the program."""
    chains: dict[tuple[str, str], Chain] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif table != "filter":
            continue
        elif opened := re.match(r":(\S+) (\S+)", line):
            policy = "" if opened[2] == "-" else opened[2].lower()
            chain = Chain(tool, opened[1], _HOOKS.get(opened[1], ""), policy)
            chains[tool, opened[1]] = chain
        elif line.startswith("-A "):
            _, name, *words = shlex.split(line)
            chains[tool, name].rules += _in_words_of_nft(words)
    return chains


def _in_words_of_nft(words: list[str]) -> list[str]:
    """Translate a rule for nftables.py; to two rules if it matches a state or DNAT."""
    conditions: list[list[str]] = []
    negated = ""
    rest = iter(words)
    for word in rest:
        if word == "!":
            negated = "!= "
        elif word in ("-j", "-g"):  # the target's own options follow
            return _rules(conditions, next(rest, ""), goes=word == "-g")
        elif word in ("--ctstate", "--state"):
            conditions.append(_state(next(rest, ""), negated))
            negated = ""
        elif word in _WORDS:
            conditions.append([f"{_WORDS[word]} {negated}{next(rest, '').replace('+', '*')}"])
            negated = ""
        elif word not in ("-m", "conntrack", "state"):
            conditions.append(["?"])
            negated = ""
    return []


def _rules(conditions: list[list[str]], target: str, *, goes: bool) -> list[str]:
    """Build one rule for each combination of alternatives."""
    if target in _PASSES_ON:
        return []
    verdict = _TARGETS.get(target, f"{'goto' if goes else 'jump'} {target}")
    return [" ".join([*chosen, verdict]) for chosen in itertools.product(*conditions)]


def _state(value: str, negated: str) -> list[str]:
    """Return alternative conditions: of a connection's state, and of its NAT."""
    states = value.lower().split(",")
    nat = [state for state in states if state in ("dnat", "snat")]
    if nat and negated:
        return ["?"]
    plain = [state for state in states if state not in nat]
    found = [f"ct state {negated}{','.join(plain)}"] if plain else []
    return [*found, *(f"ct status {state}" for state in nat)]
