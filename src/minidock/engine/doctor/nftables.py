"""Evaluates nftables rules for a container's packets: which base chains drop them.

A packet passes every base chain of its hook, of all tables; an accept is final only in its own
chain, so our rule in iptables has no effect on another table. This module evaluates each chain for
a *flow* (the relevant facts about a packet) like the kernel. A rule with conditions that are not
evaluated here may match or not: its drop counts, its accept does not.

Sources: nft(8) "VERDICT STATEMENTS", "CHAINS"; wiki.nftables.org "Configuring chains".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

Flow = dict[str, str]

# What a container needs of each hook, for published ports and outgoing connections, as nft rules;
# {br} is its bridge, whose ports are veths. Not every kernel has `meta ibrname` in bridge hooks.
_PORT = ({"meta ibrname": "{br}", "iifname": "veth0"}, 'iifname "veth*" accept')
_TO_PORT = ({"meta obrname": "{br}", "oifname": "veth0"}, 'oifname "veth*" accept')
_CALLS = ({"iifname": "{br}", "ct state": "new"}, "iifname {br} accept")
_SENT = ({"iifname": "{br}", "ct state": "established"}, "iifname {br} accept")
_TO_BRIDGE = ({"oifname": "{br}", "ct state": "new"}, "oifname {br} accept")
_ANSWERS = (
    {"ct state": "established", "tcp dport": "33333"},
    "ct state established,related accept",
)
_NEEDED: dict[tuple[str, str], tuple[tuple[Flow, str], ...]] = {
    ("ip", "forward"): (
        _CALLS,
        (
            {"oifname": "{br}", "ct state": "established"},
            "oifname {br} ct state established,related accept",
        ),
        (
            {"oifname": "{br}", "ct state": "new", "ct status": "dnat"},
            "oifname {br} ct status dnat accept",
        ),
    ),
    # Replies to the host's own connections to a published port come from the bridge.
    ("ip", "input"): (
        (
            {"iifname": "{br}", "ct state": "established"},
            "iifname {br} ct state established,related accept",
        ),
    ),
    # ... and the requests go to it: by the userland proxy, or by NAT, which keeps the device.
    ("ip", "output"): (
        ({"oifname": "{br}", "ct state": "new"}, "oifname {br} accept"),
        ({"oifname": "lo", "ct state": "new", "ct status": "dnat"}, "ct status dnat accept"),
    ),
    ("ip", "prerouting"): (_CALLS, _ANSWERS),  # and published ports: see _needed
    ("ip", "postrouting"): (_CALLS, _SENT, _TO_BRIDGE),
    # The bridge as a device: packets from it to this machine, and from this machine to it.
    ("device", "ingress"): (({"iifname": "{br}"}, "iifname {br} accept"),),
    ("device", "egress"): (({"oifname": "{br}"}, "oifname {br} accept"),),
    ("bridge", "prerouting"): (_PORT,),
    ("bridge", "forward"): (_PORT,),
    ("bridge", "input"): (_PORT,),
    ("bridge", "output"): (_TO_PORT,),
    ("bridge", "postrouting"): (_TO_PORT,),
}
# In these hooks of "ip", chains often have many conditions (of other engines, of firewalld): a rule
# with conditions that are not evaluated does not count there.
_ONLY_SURE = ("output", "prerouting", "postrouting", "ingress", "egress")
# nf_ip_hook_priorities: connection tracking, and earlier; the NAT of published ports.
_CONNTRACK, _DSTNAT = -200, -100
_PRIORITIES = {
    "raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100,
}  # fmt: skip
_BASE = re.compile(
    r"type (?:filter|route) hook (?P<hook>\w+) "
    r"(?:devices? (?:= )?(?P<devices>\{[^}]*\}|\S+) )?"
    r"(?:priority (?P<priority>-?\w+)(?: (?P<sign>[+-]) (?P<more>[0-9]+))?;)?"
    r".*?(?:policy (?P<policy>\w+))?;?$"
)
_CONDITION = re.compile(
    r"(iifname|oifname|iif|oif|meta ibrname|meta obrname|ct state|ct status|tcp dport|meta nfproto"
    r"|ether type|fib daddr type) (!= )?"
    r"(\{[^}]*\}|\"[^\"]*\"|[^\s{@]\S*)\s*"
)
_VMAP = re.compile(r"^(iifname|oifname|ct state) vmap \{(.*)\}")
_NOISE = re.compile(
    r"counter packets [0-9]+ bytes [0-9]+|comment \"[^\"]*\"|log( prefix \"[^\"]*\")?"
)
_VERDICT = re.compile(r"(accept|drop|return|continue|reject\b.*|queue\b.*|(?:jump|goto) \S+)$")
_FAMILIES = {"ip": "ip", "inet": "ip", "bridge": "bridge"}
_SAME = {"iif": "iifname", "oif": "oifname"}
_DEEPEST = 16  # the kernel's own limit of jumps


@dataclass
class Chain:
    """A chain: its table ("inet filter"), hook and policy ("" if none), and rules.

    devices: those of a device hook (ingress, egress).
    """

    table: str
    name: str
    hook: str = ""
    policy: str = ""
    priority: int = 0
    rules: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)

    @property
    def family(self) -> str:
        """The family of its flows: "ip", "bridge", "device"; "" if irrelevant to containers."""
        if self.hook in ("ingress", "egress"):
            return "device"
        return _FAMILIES.get(self.table.partition(" ")[0], "")


@dataclass(frozen=True)
class Stop:
    """A base chain that drops what containers need, and the rules that would accept it."""

    chain: Chain
    rules: list[str]
    tool: str = ""  # "" for nft, otherwise the iptables program of its table

    def fix(self) -> str:
        """Return the commands that insert these rules first."""
        if self.tool:
            return "; ".join(f"{self.tool} -I {self.chain.name} {rule}" for rule in self.rules)
        place = f"{self.chain.table} {self.chain.name}"
        return "; ".join(f"nft insert rule {place} {rule}" for rule in self.rules)

    def __str__(self) -> str:
        policy = f"policy {self.chain.policy or 'accept'}"
        return f"{self.chain.table} {self.chain.name} ({policy})"


def stops(ruleset: str, bridge: str, ports: Sequence[int] = ()) -> list[Stop]:
    """Find the base chains that drop packets of this bridge's containers.

    ruleset: the output of `nft list ruleset`. ports: published TCP ports.
    """
    chains = parse(ruleset)
    found = []
    for chain in chains.values():
        if not chain.hook or chain.family == "device" and bridge not in chain.devices:
            continue
        missing: list[str] = []
        for flow, rule in _needed(chain.family, chain, ports):
            packet = {key: value.format(br=bridge) for key, value in flow.items()}
            if (said := rule.format(br=bridge)) not in missing and stopped(chains, chain, packet):
                missing.append(said)
        if missing:
            found.append(Stop(chain, missing))
    return found


def of_other_devices(ruleset: str, bridges: Sequence[str]) -> list[Chain]:
    """Find the base chains of other devices than these bridges that may drop packets."""
    chains = parse(ruleset)
    return [
        chain
        for chain in chains.values()
        if {*chain.devices} - {*bridges}
        and (chain.policy == "drop" or _walk(chains, chain, {}) == "drop")
    ]


def stopped(chains: dict[tuple[str, str], Chain], chain: Chain, flow: Flow) -> bool:
    """Whether a base chain drops an IPv4 packet."""
    flow = {"meta nfproto": "ipv4", "ether type": "ip", **flow}
    only_sure = chain.hook in _ONLY_SURE and chain.family != "bridge"
    return (_walk(chains, chain, flow, only_sure=only_sure) or chain.policy) == "drop"


def _needed(family: str, chain: Chain, ports: Sequence[int]) -> list[tuple[Flow, str]]:
    """Return what must pass a chain, each with the rule that accepts it."""
    needed = [*_NEEDED.get((family, chain.hook), ())]
    if (family, chain.hook) != ("ip", "prerouting"):
        return needed
    if chain.priority <= _CONNTRACK:
        return [_CALLS]  # the state is not known yet
    if chain.priority > _DSTNAT:
        return [*needed, ({"ct state": "new", "ct status": "dnat"}, "ct status dnat accept")]
    for port in ports:
        rule = f"fib daddr type local tcp dport {port} accept"
        needed.append(
            ({"ct state": "new", "tcp dport": str(port), "fib daddr type": "local"}, rule)
        )
    return needed


def parse(ruleset: str) -> dict[tuple[str, str], Chain]:
    """Parse all chains, by table and name."""
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
                chain.hook, chain.policy = base["hook"], base["policy"] or ""
                more = (base["sign"] or "") + (base["more"] or "0")
                chain.priority = _number(base["priority"] or "0", more)
                chain.devices = re.findall(r"[^\s,{}\"]+", base["devices"] or "")
            elif not text.startswith("type "):
                chain.rules.append(text)
            text = ""
    return chains


def _number(name: str, more: str) -> int:
    """Parse a priority: a number, or a name with an offset."""
    return (_PRIORITIES[name] if name in _PRIORITIES else int(name)) + int(more)


# What a packet meets at the end of a verdict. A queue's program is unknown, and may not be there.
_DECISIONS = {"accept": "accept", "drop": "drop", "reject": "drop", "queue": "drop"}


def _walk(
    chains: dict[tuple[str, str], Chain],
    chain: Chain,
    flow: Flow,
    *,
    only_sure: bool = False,
    depth: int = 0,
) -> str:
    """Evaluate a chain for a packet: "accept", "drop" or "" for no decision."""
    for rule in chain.rules:
        for verdict, surely in _verdicts(rule, flow):
            if only_sure and not surely:
                continue
            kind, _, target = verdict.partition(" ")
            end = _DECISIONS.get(kind, "")
            if kind in ("jump", "goto") and depth < _DEEPEST:
                there = chains.get((chain.table, target), Chain(chain.table, target))
                end = _walk(chains, there, flow, only_sure=only_sure, depth=depth + 1)
            if end == "drop" or end and surely:
                return end
            if kind in ("goto", "return") and surely:
                return ""
    return ""


def _verdicts(rule: str, flow: Flow) -> list[tuple[str, bool]]:
    """Return the possible verdicts of a rule for a packet, each with whether it is certain."""
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
    """Whether a rule's values (one, several with commas, or a set in braces) contain a value."""
    for value in re.split(r"[,|]\s*", values.strip("{} ")):
        value = value.strip('" ')
        if value == known or value.endswith("*") and known.startswith(value[:-1]):
            return True
    return False
