"""The firewall rules of one network, as data: what there must be, and what that takes.

A network's rules are a pure function of its file (subnet, bridge, published ports). `wanted` says
them, `changes` compares them with what iptables-save printed and writes the text for
iptables-restore, empty where nothing is missing. So publishing, unpublishing, repair after a crash,
and repair after somebody flushed the firewall are one and the same act.

For a bridge "br" with subnet S there are two chains, jumped to before all others' rules:

    raw PREROUTING      before routing and NAT, so destinations are those that the sender wrote
      from br to 127/8: DROP         route_localnet makes the host's loopback reachable from br
      from br as 127/8: DROP         ... and a container could claim to be the host itself
      not from br, to S, not ours: DROP   nobody calls a container by its own address from outside
    nat PREROUTING, OUTPUT           to an address of this machine: a published port becomes
      port P: DNAT to container:p    the container's
    nat POSTROUTING
      from S, not out by br: MASQUERADE   the world knows the host's address only
      from 127/8, out by br: MASQUERADE   a container could not answer 127.0.0.1
      from S, out by br, DNAT: MASQUERADE a neighbour's answer must come back by the host
    filter FORWARD                   dockerd sets its policy to DROP
      to br, established or published: ACCEPT
      from br to another engine's bridge: that engine decides
      from br: ACCEPT
    mangle FORWARD, of an internal network only
      from br, not out by br: DROP   published ports of other networks are not for its containers

Sources: iptables-extensions(8), Documentation/networking/ip-sysctl.rst "route_localnet",
CVE-2020-8558, docs/network.md.
"""

from __future__ import annotations

from minidock.oci.digest import is_hex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Tables = dict[str, dict[str, list[str]]]  # table -> chain -> its rules, without "-A chain"

PREFIX = "MINIDOCK-"  # 9 characters; with a device's 15 and "-OUT", 28: as many as a chain may have
# Bridges of Docker, Podman, CNI and libvirt. A container of ours gets no further there than their
# own rules say: an ACCEPT of ours would open what those keep closed.
_SIDES = ("-s", "-d")
_OTHERS_BRIDGES = ("docker0", "br-+", "podman+", "cni+", "virbr+")


def chain_of(device: str) -> str:
    """The chain that holds a bridge's rules in each table."""
    return PREFIX + device


def wanted(
    device: str, subnet: str, bindings: list[dict[str, Any]], *, masquerade: bool = True
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


def wanted_inside(device: str, subnet: str) -> Tables:
    """The rules of an internal network: what leaves its bridge stays in its subnet, and nothing
    comes in. (The host itself, which does not pass PREROUTING, still reaches its containers.)

    A call of the host's own address may be led elsewhere by another network's published port, and
    let through by that network's rules; so it is dropped before these are asked, in mangle.
    """
    chain = chain_of(device)
    guards = wanted(device, subnet, [])["raw"][chain]
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
    ours = marked and len(short) == 12 and is_hex(short) and after[12:].startswith(" -j DNAT ")
    return short if ours else ""


def is_ours(device: str, rule: str) -> bool:
    """Whether a rule in a network's chain is one that we write, whatever the subnet; else somebody
    else has put it there."""
    if container_of(rule):
        return True
    words = rule.split()
    subnets = {after for before, after in zip(words, words[1:], strict=False) if before in _SIDES}
    for subnet in subnets | {""}:
        tables = (wanted(device, subnet, []), wanted_inside(device, subnet))
        if any(rule in lines for each in tables for chains in each.values()
               for lines in chains.values()):  # fmt: skip
            return True
    return False


def jumps(device: str) -> Tables:
    """What leads a packet into the network's chains, by table and built-in chain."""
    chain = chain_of(device)
    return {
        "raw": {"PREROUTING": [f"-j {chain}"]},
        "nat": {
            "PREROUTING": [f"-m addrtype --dst-type LOCAL -j {chain}"],
            "OUTPUT": [f"-m addrtype --dst-type LOCAL -j {chain}"],
            "POSTROUTING": [f"-j {chain}-OUT"],
        },
        "mangle": {"FORWARD": [f"-j {chain}"]},  # of internal networks only
        "filter": {"FORWARD": [f"-j {chain}"]},
    }


def changes(saved: str, device: str, rules: Tables, *, forward_policy: str = "") -> str:
    """The text for iptables-restore that brings the firewall to what is wanted; "" if it is there.

    saved: what iptables-save printed. forward_policy: also set FORWARD's policy to this.
    """
    present = parse(saved)
    text = ""
    for table, chains in rules.items():
        have = present.get(table, {})
        leading = jumps(device)[table]
        policy = forward_policy if table == "filter" else ""
        in_place = all(have.get(chain) == lines for chain, lines in chains.items())
        led_to = all(_leads(have.get(built_in, []), leading[built_in]) for built_in in leading)
        if in_place and led_to and not policy:
            continue
        text += f"*{table}\n"
        text += f":FORWARD {policy} [0:0]\n" if policy else ""
        for chain, lines in chains.items():
            text += f":{chain} - [0:0]\n"  # made, or emptied
            text += "".join(f"-A {chain} {line}\n" for line in lines)
        for built_in, lines in leading.items():
            if not _leads(have.get(built_in, []), lines):
                text += _drop(built_in, have.get(built_in, []), lines)
                text += "".join(f"-I {built_in} 1 {line}\n" for line in lines)
        text += "COMMIT\n"
    return text


def removal(saved: str, device: str, *, forward_policy: str = "", but_others: bool = False) -> str:
    """The text for iptables-restore that takes a network's chains away; "" where there are none.

    but_others: a chain in which somebody else has put a rule stays, with that rule.
    """
    present = parse(saved)
    text = ""
    for table, leading in jumps(device).items():
        have = present.get(table, {})
        chains = [name for name in have if name in (chain_of(device), f"{chain_of(device)}-OUT")]
        kept = [
            name
            for name in chains
            if but_others and not all(is_ours(device, rule) for rule in have[name])
        ]
        lines = (
            ""
            if kept
            else "".join(_drop(name, have.get(name, []), leading[name]) for name in leading)
        )
        for name in chains:
            rules = "".join(f"-D {name} {r}\n" for r in have[name] if is_ours(device, r))
            lines += rules if name in kept else f"-F {name}\n-X {name}\n"
        if forward_policy and table == "filter":
            lines = f":FORWARD {forward_policy} [0:0]\n" + lines
        text += f"*{table}\n{lines}COMMIT\n" if lines else ""
    return text


def forwards_for_others(saved: str, device: str) -> bool:
    """Whether FORWARD has rules that are not this network's: somebody else relies on forwarding."""
    rules = parse(saved).get("filter", {}).get("FORWARD", [])
    return any(rule not in jumps(device)["filter"]["FORWARD"] for rule in rules)


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


def _publish(binding: dict[str, Any]) -> str:
    host, protocol = binding["HostIp"], binding["Proto"]
    destination = f"-d {host}/32 " if host not in ("", "0.0.0.0") else ""
    match = f"-p {protocol} -m {protocol} --dport {binding['HostPort']}"
    comment = f"-m comment --comment {binding['Container'][:12]}"
    target = f"-j DNAT --to-destination {binding['Address']}:{binding['ContainerPort']}"
    return f"{destination}{match} {comment} {target}"


def _leads(have: list[str], ours: list[str]) -> bool:
    """Whether our jump is there once, and nothing but jumps of minidock's networks before it."""
    if [have.count(rule) for rule in ours] != [1] * len(ours):
        return False
    before = have[: max(have.index(rule) for rule in ours)]
    return all(rule.rpartition(" -j ")[2].removeprefix("-j ").startswith(PREFIX) for rule in before)


def _drop(chain: str, have: list[str], ours: list[str]) -> str:
    return "".join(f"-D {chain} {rule}\n" for rule in have if rule in ours)
