"""The firewall rules of one network, as data: what there must be, and what that takes.

A network's rules are a pure function of its file (subnet, bridge, published ports). `wanted`
returns them, `changes` compares them with the output of iptables-save and returns the input for
iptables-restore, empty if no rule is missing. So publishing, unpublishing, repair after a crash,
and repair after `iptables -F` are the same operation.

An administrator may have rules of their own in any of these chains: they stay (rule_edits.py).

For a bridge "br" with subnet S there are two chains, jumped to before all others' rules:

    raw PREROUTING      before routing and NAT, so destinations are those that the sender wrote
      from br to 127/8: DROP         route_localnet makes the host's loopback reachable from br
      from br as 127/8: DROP         ... and a container could claim to be the host itself
      not from br, to S, not ours: DROP   from outside, only published ports are reachable
      not from lo, to 127.x:P: DROP  P being published on 127.x: a neighbour may route that address
                                     to us, and nat would lead it on before the kernel objects
    nat PREROUTING, OUTPUT           to an address of this machine: a published port becomes
      port P: DNAT to container:p    the container's
    nat POSTROUTING
      from S, not out by br: MASQUERADE   the world knows the host's address only
      from 127/8, out by br: MASQUERADE   a container could not answer 127.0.0.1
      from S, out by br, DNAT: MASQUERADE a neighbour's answer must come back by the host
    filter FORWARD                   dockerd sets its policy to DROP
      an administrator's chain first (MINIDOCK-USER, as DOCKER-USER): made once, then theirs
      to br, established or published: ACCEPT
      from br to another engine's bridge: that engine decides
      from br: ACCEPT
    mangle FORWARD, of an internal network only
      from br, not out by br: DROP   published ports of other networks are not for its containers

Sources: iptables-extensions(8), Documentation/networking/ip-sysctl.rst "route_localnet",
CVE-2020-8558, docs/network.md.
"""

from __future__ import annotations

from minidock.engine.network.rule_edits import ANY, ChainEdits, RulePatterns
from minidock.oci.digest import is_hex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.document_types.network import ContainerBinding
    from minidock.paths import Store

    Tables = dict[str, dict[str, list[str]]]  # table -> chain -> its rules, without "-A chain"

PREFIX = "MINIDOCK-"  # 9 characters; with a device's 15 and "-OUT", 28: as many as a chain may have
_USER = "USER"
_RETURN = "-j RETURN"  # all that an administrator's chain has at first
# Bridges of Docker, Podman, CNI and libvirt. A container of ours gets no further there than their
# own rules say: an ACCEPT of ours would open what those keep closed.
_OTHERS_BRIDGES = ("docker0", "br-+", "podman+", "cni+", "virbr+")


def chain_of(device: str) -> str:
    """The chain that holds a bridge's rules in each table."""
    return PREFIX + device


def user_chain(store: Store) -> str:
    """The chain of filter that is an administrator's: asked before a store's own rules."""
    return f"{PREFIX}{_USER}" if store.is_default else f"{PREFIX}{store.derived_bridge}-{_USER}"


def is_user_chain(chain: str) -> bool:
    """Whether a chain is the administrator's chain of any store."""
    return chain == f"{PREFIX}{_USER}" or chain.startswith(PREFIX) and chain.endswith(f"-{_USER}")


def jumps_to_user_chain(rule: str) -> bool:
    """Whether a rule leads to an administrator's chain."""
    return is_user_chain(_target(rule))


def is_reserved(device: str) -> bool:
    """Whether a bridge of this name would have chains that are another's."""
    return device == _USER or device.endswith((f"-{_USER}", "-OUT"))


def network_rules(
    device: str, subnet: str, bindings: Sequence[ContainerBinding], *, masquerade: bool = True
) -> Tables:
    """The rules of one network, each in the words in which iptables-save prints it.

    device: the bridge. bindings: published ports, {"HostIp", "HostPort", "Proto", "Address",
    "ContainerPort", "Container"}; those of IPv6 are the monitor's to relay, and no rule.
    masquerade: False where the world has a route to the subnet.
    """
    chain = chain_of(device)
    leaving = [f"-s {subnet} ! -o {device} -j MASQUERADE"] if masquerade else []
    return {
        "raw": {
            chain: [
                f"-d 127.0.0.0/8 -i {device} -j DROP",
                f"-s 127.0.0.0/8 -i {device} -j DROP",
                f"-d {subnet} ! -i {device} -m addrtype ! --dst-type LOCAL -j DROP",
                *[_guard(binding) for binding in bindings if is_loopback(binding["HostIp"])],
            ],
        },
        "nat": {
            chain: [_publish(binding) for binding in bindings if ":" not in binding["HostIp"]],
            f"{chain}-OUT": [
                *leaving,
                f"-s 127.0.0.0/8 -o {device} -j MASQUERADE",
                f"-s {subnet} -o {device} -m conntrack --ctstate DNAT -j MASQUERADE",
            ],
        },
        "filter": {
            chain: [
                f"-o {device} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT",
                *[f"-i {device} -o {other} -j RETURN" for other in _OTHERS_BRIDGES],
                f"-i {device} -j ACCEPT",
            ],
        },
    }


def internal_network_rules(device: str, subnet: str) -> Tables:
    """The rules of an internal network: what leaves its bridge stays in its subnet, and nothing
    comes in. (The host itself, which does not pass PREROUTING, still reaches its containers.)

    A call of the host's own address may be led elsewhere by another network's published port, and
    let through by that network's rules; so it is dropped before these are asked, in mangle.
    """
    chain = chain_of(device)
    guards = network_rules(device, subnet, [])["raw"][chain]
    return {
        "raw": {chain: [*guards, f"! -d {subnet} -i {device} -j DROP"]},
        "nat": {chain: [], f"{chain}-OUT": []},
        "mangle": {chain: [f"-i {device} ! -o {device} -j DROP"]},
        "filter": {chain: [f"-i {device} -o {device} -j ACCEPT"]},
    }


def container_of(rule: str) -> str:
    """The first digits of the id of the container that a published port's rule is for, or ""."""
    before, marked, after = rule.partition(" --comment ")
    short = after[:12]
    leads = after[12:].startswith((" -j DNAT ", " -j DROP"))
    ours = marked and len(short) == 12 and is_hex(short) and leads
    return short if ours else ""


def rule_patterns(device: str) -> RulePatterns:
    """Patterns of the rules of a network with this bridge; all other rules are an administrator's.

    They also match obsolete rules: of another subnet, of a removed container.
    """
    ports: list[ContainerBinding] = [
        {"HostIp": host, "HostPort": ANY, "Proto": ANY, "Address": ANY, "ContainerPort": ANY,
         "Container": ANY}
        for host in ("", ANY, f"127.{ANY}")
    ]  # fmt: skip
    tables = (network_rules(device, ANY, ports), internal_network_rules(device, ANY))
    every = [rules for each in tables for chains in each.values() for rules in chains.values()]
    return RulePatterns([rule for rules in every for rule in rules])


def jumps(device: str, user_chain: str = "") -> Tables:
    """What leads a packet into the network's chains, by table and built-in chain.

    user_chain: the administrator's own, which is asked before.
    """
    chain = chain_of(device)
    users = [f"-j {user_chain}"] if user_chain else []
    return {
        "raw": {"PREROUTING": [f"-j {chain}"]},
        "nat": {
            "PREROUTING": [f"-m addrtype --dst-type LOCAL -j {chain}"],
            "OUTPUT": [f"-m addrtype --dst-type LOCAL -j {chain}"],
            "POSTROUTING": [f"-j {chain}-OUT"],
        },
        "mangle": {"FORWARD": [f"-j {chain}"]},  # of internal networks only
        "filter": {"FORWARD": [*users, f"-j {chain}"]},
    }


def changes(
    saved: str, device: str, rules: Tables, *, user_chain: str = "", forward_policy: str = ""
) -> str:
    """The text for iptables-restore that brings the firewall to what is wanted; "" if it is there.

    saved: what iptables-save printed. user_chain: the administrator's own chain, which is made
    where it is missing, and never changed. forward_policy: also set FORWARD's policy to this.
    """
    present, ours = parse(saved), rule_patterns(device)
    text = ""
    for table, chains in rules.items():
        have = present.get(table, {})
        lines = f":FORWARD {forward_policy} [0:0]\n" if forward_policy and table == "filter" else ""
        if table == "filter" and user_chain and user_chain not in have:
            lines += f":{user_chain} - [0:0]\n-A {user_chain} {_RETURN}\n"
        for chain, wanted_rules in chains.items():
            lines += "" if chain in have else f":{chain} - [0:0]\n"
            edits = ChainEdits(chain, have.get(chain, []))
            edits.arrange(wanted_rules, ours.match)
            lines += edits.text
        for built_in, leading in jumps(device, user_chain)[table].items():
            lines += _lead(built_in, have.get(built_in, []), leading)
        text += f"*{table}\n{lines}COMMIT\n" if lines else ""
    return text


def removal(saved: str, device: str, *, user_chain: str = "", forward_policy: str = "") -> str:
    """The text for iptables-restore that takes a network's chains away; "" where there are none.

    A chain in which an administrator has rules of their own stays with these, and is asked; one to
    which rules of theirs lead stays, and is empty: the kernel would not let it go.
    user_chain: the administrator's, where no other network needs it: gone if nothing is in it.
    """
    present, ours = parse(saved), rule_patterns(device)
    text = ""
    for table, leading in jumps(device).items():
        have = present.get(table, {})
        lines = f":FORWARD {forward_policy} [0:0]\n" if forward_policy and table == "filter" else ""
        lines += _removal_of_chains(have, device, leading, ours)
        if table == "filter" and have.get(user_chain) in ([_RETURN], []):
            lines += _drop("FORWARD", have.get("FORWARD", []), [f"-j {user_chain}"])
            lines += _drop(user_chain, have[user_chain], [_RETURN]) + f"-X {user_chain}\n"
        text += f"*{table}\n{lines}COMMIT\n" if lines else ""
    return text


def _removal_of_chains(
    have: dict[str, list[str]], device: str, leading: dict[str, list[str]], ours: RulePatterns
) -> str:
    """The lines that remove a network's chains from one table, and the jumps to them.

    have: the table's rules by chain. leading: the jumps, by built-in chain.
    """
    lines = ""
    chains = [name for name in (chain_of(device), f"{chain_of(device)}-OUT") if name in have]
    free = [name for name in chains if all(map(ours.match, have[name]))]
    for built_in, rules in leading.items():
        gone = [rule for rule in rules if _target(rule) in free]
        lines += _drop(built_in, have.get(built_in, []), gone)
    for chain in chains:
        if chain in free and chain not in _led_to(have, leading):
            lines += f"-F {chain}\n-X {chain}\n"
        else:
            lines += _drop(chain, have[chain], [*filter(ours.match, have[chain])])
    return lines


def forwards_for_others(saved: str, device: str) -> bool:
    """Whether FORWARD has rules of others: another program relies on forwarding."""
    rules = parse(saved).get("filter", {}).get("FORWARD", [])
    own = jumps(device)["filter"]["FORWARD"]
    return any(rule not in own and not jumps_to_user_chain(rule) for rule in rules)


def devices_of_chains(saved: str) -> list[str]:
    """The bridges that have chains with rules of minidock's, whether there are such bridges or not.

    A chain in which only an administrator's rules are left is theirs.
    """
    found = set()
    for chains in parse(saved).values():
        for chain, rules in chains.items():
            device = chain.removeprefix(PREFIX).removesuffix("-OUT")
            if not chain.startswith(PREFIX) or is_user_chain(chain):
                continue
            if not rules or any(map(rule_patterns(device).match, rules)):
                found.add(device)
    return sorted(found)


def forward_policy(saved: str) -> str:
    """What happens to a packet that no rule of FORWARD decides: "ACCEPT" or "DROP"."""
    for line in saved.partition("*filter\n")[2].partition("COMMIT")[0].splitlines():
        if line.startswith(":FORWARD "):
            return line.split()[1]
    return "ACCEPT"  # no filter table yet


def parse(saved: str) -> Tables:
    """What iptables-save printed, by table and chain."""
    tables: Tables = {}
    chains: dict[str, list[str]] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            chains = tables.setdefault(line[1:], {})
        elif line.startswith(":"):
            chains.setdefault(line[1:].partition(" ")[0], [])
        elif line.startswith("-A "):
            chain, _, rule = line[3:].partition(" ")
            chains.setdefault(chain, []).append(rule.rstrip())
    return tables


def is_loopback(host_ip: str) -> bool:
    """Whether a port was published for this host alone, by IPv4."""
    return host_ip.startswith("127.")


def _publish(binding: ContainerBinding) -> str:
    host = binding["HostIp"]
    destination = f"-d {host}/32 " if host not in ("", "0.0.0.0") else ""
    target = f"-j DNAT --to-destination {binding['Address']}:{binding['ContainerPort']}"
    return f"{destination}{_port(binding)} {target}"


def _guard(binding: ContainerBinding) -> str:
    """A port of 127.0.0.1 is this host's own: a neighbour may route that address to us as well."""
    return f"-d {binding['HostIp']}/32 ! -i lo {_port(binding)} -j DROP"


def _port(binding: ContainerBinding) -> str:
    protocol = binding["Proto"]
    match = f"-p {protocol} -m {protocol} --dport {binding['HostPort']}"
    return f"{match} -m comment --comment {binding['Container'][:12]}"


def _lead(built_in: str, have: list[str], ours: list[str]) -> str:
    """The lines that let our jumps be in a built-in chain, once, and before all others' rules.

    Jumps of minidock's other networks may come before ours, and before an administrator's chain
    only another such.
    """
    if _leads(have, ours):
        return ""
    edits = ChainEdits(built_in, have)
    for rule in have:
        if rule in ours:
            edits.delete(rule)
    for rule in ours:
        asked = [each for each in edits.rules if jumps_to_user_chain(each)]
        front = edits.rules[: len(asked)] == asked and not jumps_to_user_chain(rule)
        edits.insert(len(asked) if front else 0, rule)
    return edits.text


def _leads(have: list[str], ours: list[str]) -> bool:
    if [have.count(rule) for rule in ours] != [1] * len(ours):
        return False
    places = [have.index(rule) for rule in ours]
    before = have[: max(places)]
    users = [have[: have.index(rule)] for rule in ours if jumps_to_user_chain(rule)]
    return (
        places == sorted(places)
        and all(_target(rule).startswith(PREFIX) for rule in before)
        and all(jumps_to_user_chain(rule) for earlier in users for rule in earlier)
    )


def _target(rule: str) -> str:
    return rule.rpartition("-j ")[2]


def _drop(chain: str, have: list[str], ours: list[str]) -> str:
    return "".join(f"-D {chain} {rule}\n" for rule in have if rule in ours)


def _led_to(have: dict[str, list[str]], leading: dict[str, list[str]]) -> set[str]:
    """To what the rules of a table lead, by -j or -g, other than the network's own jumps."""
    return {
        rule.rpartition(" ")[2]
        for chain, rules in have.items()
        for rule in rules
        if rule not in leading.get(chain, [])
    }
