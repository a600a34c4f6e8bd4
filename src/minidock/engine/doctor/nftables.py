"""What nftables does with packets of a container, read from the rules: which base chain stops them.

A packet passes every base chain of its hook, of all tables; an accept is final in its own chain
only, so a rule of ours in iptables helps nobody past another table. Here a *flow* (the few facts
about a packet that matter) walks through each chain as the kernel would. A rule with conditions
that are not read here may match or not: its drop counts, its accept does not.

Sources: nft(8) "VERDICT STATEMENTS", "CHAINS"; wiki.nftables.org "Configuring chains".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Flow = dict[str, str]

# What a published or calling container needs of each hook, as rules of nft; {br} is its bridge.
_NEEDED: dict[tuple[str, str], tuple[tuple[Flow, str], ...]] = {
    ("ip", "forward"): (
        ({"iifname": "{br}", "ct state": "new"}, "iifname {br} accept"),
        (
            {"oifname": "{br}", "ct state": "established"},
            "oifname {br} ct state established,related accept",
        ),
        (
            {"oifname": "{br}", "ct state": "new", "ct status": "dnat"},
            "oifname {br} ct status dnat accept",
        ),
    ),
    # The host's own calls of a published port are answered from the bridge.
    ("ip", "input"): (
        (
            {"iifname": "{br}", "ct state": "established"},
            "iifname {br} ct state established,related accept",
        ),
    ),
    # Between two ports of a bridge.
    ("bridge", "forward"): (({"meta ibrname": "{br}"}, "meta ibrname {br} accept"),),
}
_BASE = re.compile(r"type filter hook (\w+) .*?(?:policy (\w+))?;?$")
_CONDITION = re.compile(
    r"(iifname|oifname|iif|oif|meta ibrname|meta obrname|ct state|ct status) (!= )?"
    r"(\{[^}]*\}|\"[^\"]*\"|[^\s{@]\S*)\s*"
)
_VMAP = re.compile(r"^(iifname|oifname|ct state) vmap \{(.*)\}")
_NOISE = re.compile(
    r"counter packets [0-9]+ bytes [0-9]+|comment \"[^\"]*\"|log( prefix \"[^\"]*\")?"
)
_VERDICT = re.compile(r"(accept|drop|return|continue|reject\b.*|queue\b.*|(?:jump|goto) \S+)$")
_SAME = {"iif": "iifname", "oif": "oifname"}
_DEEPEST = 16  # the kernel's own limit of jumps


@dataclass
class Chain:
    """One chain: its table ("inet filter"), hook and policy ("" where it has none), and rules."""

    table: str
    name: str
    hook: str = ""
    policy: str = ""
    rules: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Stop:
    """A base chain that stops what containers need, and the rules that let it through there."""

    chain: Chain
    rules: list[str]

    def __str__(self) -> str:
        policy = f"policy {self.chain.policy or 'accept'}"
        return f"{self.chain.table} {self.chain.name} ({policy})"


def stops(ruleset: str, bridge: str) -> list[Stop]:
    """The base chains that stop packets of this bridge's containers.

    ruleset: what `nft list ruleset` printed.
    """
    chains = parse(ruleset)
    found = []
    for chain in chains.values():
        family = "bridge" if chain.table.startswith("bridge ") else "ip"
        if not chain.hook or not chain.table.startswith(("ip ", "inet ", "bridge ")):
            continue
        missing = []
        for flow, rule in _NEEDED.get((family, chain.hook), ()):
            packet = {key: value.format(br=bridge) for key, value in flow.items()}
            end = _walk(chains, chain, packet) or chain.policy or "accept"
            if end == "drop":
                missing.append(rule.format(br=bridge))
        if missing:
            found.append(Stop(chain, missing))
    return found


def parse(ruleset: str) -> dict[tuple[str, str], Chain]:
    """Every chain, by its table and name."""
    chains: dict[tuple[str, str], Chain] = {}
    table, chain, text = "", None, ""
    for line in ruleset.splitlines():
        text = f"{text} {line.strip()}".strip()
        if line.startswith("table "):
            table, text = " ".join(line.split()[1:3]), ""  # a comment may follow the brace
        elif opened := re.match(r"chain (\S+) \{", text):
            chain, text = Chain(table, opened[1]), ""
            chains[table, chain.name] = chain
        elif chain is None:
            text = ""
        elif text == "}":
            chain, text = None, ""
        elif text.count("{") == text.count("}"):  # a set may take several lines
            if base := _BASE.match(text):
                chain.hook, chain.policy = base[1], base[2] or ""
            elif not text.startswith("type "):
                chain.rules.append(text)
            text = ""
    return chains


def _walk(chains: dict[tuple[str, str], Chain], chain: Chain, flow: Flow, depth: int = 0) -> str:
    """What a chain decides about a packet: "accept", "drop" or, if nothing, ""."""
    for rule in chain.rules:
        for verdict, surely in _verdicts(rule, flow):
            kind, _, target = verdict.partition(" ")
            if kind in ("jump", "goto"):
                there = chains.get((chain.table, target))
                end = _walk(chains, there, flow, depth + 1) if there and depth < _DEEPEST else ""
                if end == "drop" or end and surely:
                    return end
                if kind == "goto" and surely:
                    return ""
            elif kind in ("drop", "reject", "queue"):
                return "drop"
            elif kind == "accept" and surely:
                return "accept"
            elif kind == "return" and surely:
                return ""
    return ""


def _verdicts(rule: str, flow: Flow) -> list[tuple[str, bool]]:
    """The verdicts that a rule may have for a packet, each with whether it surely has."""
    text = " ".join(_NOISE.sub("", rule).split())
    if mapped := _VMAP.match(text):
        return _mapped(mapped[1], mapped[2], flow)
    if " vmap " in f" {text}":
        return [(each.strip(), False) for each in re.findall(r": ([^,}]+)", text)]
    found = _VERDICT.search(text)
    if found is None:
        return []
    conditions = text[: found.start()]
    for name, negated, values in _CONDITION.findall(conditions):
        known = flow.get(_SAME.get(name, name))
        if known is not None and _among(known, values) == bool(negated):
            return []
    unread = _CONDITION.sub(lambda c: "" if _SAME.get(c[1], c[1]) in flow else "?", conditions)
    surely = not unread.strip()
    return [(found[1], surely)]


def _mapped(name: str, elements: str, flow: Flow) -> list[tuple[str, bool]]:
    found = []
    for element in elements.split(","):
        key, _, verdict = element.partition(" : ")
        known = flow.get(name)
        if known is None or _among(known, key.strip()):
            found.append((verdict.strip(), known is not None))
    return found


def _among(known: str, values: str) -> bool:
    """Whether a value is among those of a rule: one, several with commas, or a set in braces."""
    for value in re.split(r"[,|]\s*", values.strip("{} ")):
        value = value.strip('" ')
        if value == known or value.endswith("*") and known.startswith(value[:-1]):
            return True
    return False
