"""What the chains of iptables do with packets of a container, read as those of nftables are.

iptables-legacy has tables of its own, which `nft list` does not show; every packet passes them as
well. A rule is rewritten in nft's words, conditions that mean nothing here as one that is not read.

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
# Of each chain of the filter table, what has to pass it, and the rule that lets it.
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
    """The chains INPUT and OUTPUT of the filter table that stop what a bridge's containers need.

    saved: what iptables-save printed. tool: the program that changes these tables.
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
    """The chains of the filter table, as nftables' of a table that is named for the program."""
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
    """A rule for nftables.py to read; as two where it asks for a state or for DNAT."""
    conditions: list[list[str]] = []
    negated = ""
    rest = iter(words)
    for word in rest:
        if word == "!":
            negated = "!= "
        elif word in ("-j", "-g"):  # behind it are the target's own options
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
    """One rule for each combination of alternatives."""
    if target in _PASSES_ON:
        return []
    verdict = _TARGETS.get(target, f"{'goto' if goes else 'jump'} {target}")
    return [" ".join([*chosen, verdict]) for chosen in itertools.product(*conditions)]


def _state(value: str, negated: str) -> list[str]:
    """Conditions of which one is enough: of a connection's state, and of its NAT."""
    states = value.lower().split(",")
    nat = [state for state in states if state in ("dnat", "snat")]
    if nat and negated:
        return ["?"]
    plain = [state for state in states if state not in nat]
    found = [f"ct state {negated}{','.join(plain)}"] if plain else []
    return [*found, *(f"ct status {state}" for state in nat)]
