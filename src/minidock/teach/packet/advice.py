"""What it means that a packet ended where it did, and what to do about it.

Each function looks at one kind of end. What a rule is for stands in `purpose`.
"""

from __future__ import annotations

from typing import NamedTuple

from minidock.teach.packet.listeners import Listener
from minidock.teach.packet.probe import Seen
from minidock.teach.packet.target import Target
from minidock.teach.packet.ways import Rule

FORWARDING = "net/ipv4/ip_forward"


class Verdict(NamedTuple):
    """How it ends. status: "answered", "relayed" or "stopped". advice: what to do, or ""."""

    status: str
    text: str
    advice: str = ""


def purpose(table: str, chain: str, rule: str) -> str:
    """What one of a network's rules is for, as what is wrong without it."""
    jumps = {
        ("raw", "PREROUTING"): "the guards of this network are not asked",
        ("nat", "OUTPUT"): "what this host calls is not led to containers",
        ("nat", "PREROUTING"): "what others call on this host is not led to containers",
        ("nat", "POSTROUTING"): "nobody's address is changed on the way out",
        ("filter", "FORWARD"): "what is forwarded to and from the bridge is left to others' rules",
    }
    if (table, chain) in jumps:
        return jumps[table, chain]
    meanings = (
        ("! -i lo", "who routes 127.0.0.1 to this host reaches what is published for itself only"),
        ("-j DNAT", "the published port is not led to its container"),
        ("-s 127.0.0.0/8 -o", "the container would have to answer 127.0.0.1, which is itself"),
        ("--ctstate DNAT -j MASQ", "a container's answer to its neighbour bypasses this host"),
        ("-j MASQUERADE", "the world would have to know the containers' addresses"),
        (
            "RELATED,ESTABLISHED,DNAT",
            "what was published, and answers, are not let in to the bridge",
        ),
        ("-j RETURN", "the rules of another engine's bridge are not asked"),
        ("-j ACCEPT", "the containers' own packets are not let out of the bridge"),
        ("-d 127.0.0.0/8", "containers reach what this host serves to itself only"),
        ("-s 127.0.0.0/8", "containers can pass for this host itself"),
        ("-j DROP", "others reach containers' addresses, published or not"),
    )
    return next((meaning for part, meaning in meanings if part in rule), "")


def no_route(seen: Seen) -> Verdict:
    """The kernel did not even choose an address to send from."""
    text = f"the kernel has no way to {seen.asked}: {seen.outcome}"
    return Verdict("stopped", text, f"see: ip route get {seen.asked}; ip link")


def not_translated(seen: Seen) -> Verdict:
    """The packet stayed on the host, and nobody sent it on."""
    missing = _missing_on(seen, ("nat", "OUTPUT" if seen.origin == "host" else "PREROUTING"))
    if seen.outcome == "connected" and seen.holder[0] not in (0, seen.target.container.monitor_pid):
        pid, name = seen.holder
        return Verdict("stopped", f"{name} (pid {pid}) on this host has the port", missing)
    lost = "nobody on this host answered" if seen.outcome == "timeout" else "it was refused"
    return Verdict("stopped", f"no rule leads it to {seen.target.container.name}: {lost}", missing)


def dropped(seen: Seen, rule: Rule, *, answer: bool = False) -> Verdict:
    """A rule dropped it, or a policy did, since no rule let it through."""
    what = "the answer" if answer else "it"
    text = f"{rule.table} {rule.chain} drops {what}: {rule.text}"
    if rule.is_policy:
        return Verdict("stopped", text, _missing_on(seen, ("filter", "FORWARD")))
    if rule.chain.startswith("MINIDOCK-"):
        meaning = purpose(rule.table, rule.chain, rule.text)
        return Verdict("stopped", text, f"that is its purpose: without this rule, {meaning}")
    chain = rule.chain if rule.text.startswith("-A") else f"{rule.chain} (nft list ruleset)"
    return Verdict("stopped", text, f"not a rule of minidock's: let it pass in {chain}")


def not_routed(seen: Seen) -> Verdict:
    """A rule has translated it, and the kernel then did not route it to the bridge."""
    target = seen.target
    localnet = f"net/ipv4/conf/{target.bridge}/route_localnet"
    text = f"the kernel does not route it to {target.bridge}"
    if seen.source.startswith("127.") and seen.settings[localnet] == "0":
        why = "packets of 127.0.0.0/8 leave by no device whose route_localnet is off"
        return Verdict("stopped", f"{text}: {why}", f"{_set(localnet)}; or {_again(seen)}")
    if seen.origin != "host" and seen.settings[FORWARDING] == "0":
        why = "this machine forwards nothing"
        return Verdict("stopped", f"{text}: {why}", f"{_set(FORWARDING)}; or {_again(seen)}")
    if target.bridge in seen.down:
        what = f"{target.bridge} is down, and its route is gone with it"
        return Verdict("stopped", what, f"ip link set dev {target.bridge} up")
    return Verdict("stopped", text, f"see: ip route get {target.address}")


def lost(seen: Seen, place: str) -> Verdict:
    """It was sent out, and a device on its way never saw it."""
    target = seen.target
    cable, interface = target.lease["Cable"], target.lease["Interface"]
    for device in (target.bridge, cable):
        if device in seen.down:
            return Verdict("stopped", f"{device} is down", f"ip link set dev {device} up")
    texts = {
        "bridge": (
            f"the kernel did not send it out by {target.bridge}",
            f"ip route get {target.address}; ip neighbour show dev {target.bridge}",
        ),
        "cable": (f"{target.bridge} did not hand it to {cable}", "bridge link; bridge fdb"),
        "container": (
            f"it went into the cable and did not come out at {interface}",
            f"minidock exec {target.container.name} ip link",
        ),
    }
    text, commands = texts[place]
    return Verdict("stopped", text, f"see: {commands}")


def refused(seen: Seen) -> Verdict:
    """The container's kernel says that no program listens there."""
    target = seen.target
    name, port = target.container.name, target.container_port
    there = [each for each in seen.listeners if each.port == port]
    loopback = [each for each in there if each.is_loopback]
    if loopback:
        each = loopback[0]
        text = f"listening on {each.address} inside the container: published ports cannot reach it"
        process = each.process.partition(",")[0] or "the program"
        return Verdict(
            "stopped",
            text,
            f"127.0.0.1 in there is the container's own loopback; have {process} listen on "
            f"0.0.0.0:{port}, every address of the container, {target.address} among them",
        )
    if there:
        where = ", ".join(each.place for each in there)
        text = f"{name} listens on {where}, and the packet is for {target.address}"
        return Verdict("stopped", text, f"have the program listen on 0.0.0.0:{port}")
    others = ", ".join(f"{each.place} ({each.process or '?'})" for each in seen.listeners)
    text = f"no program in {name} listens on port {port}"
    text += f"; there is {others}" if others else ""
    reachable = [each for each in seen.listeners if not each.is_loopback]
    if reachable:
        what = f"minidock run -p {target.port}:{reachable[0].port}"
        return Verdict("stopped", text, f"publish what it listens on: {what}")
    return Verdict("stopped", text, f"has it started? minidock logs {name}; minidock top {name}")


def silent(seen: Seen) -> Verdict:
    """It arrived, and the container's kernel did not answer."""
    target = seen.target
    arrived = next(s.packet for s in seen.inside if s.packet.destination == target.address)
    text = f"it arrived at {target.address}, and the container's kernel did not answer"
    if arrived.source.startswith("127."):
        text = f"it arrived as coming from {arrived.source}, which to the container is itself"
        return Verdict("stopped", text, _missing_on(seen, ("nat", "POSTROUTING")))
    inside = f"nsenter --net=/proc/{target.pid}/ns/net"
    return Verdict(
        "stopped",
        text,
        f"a firewall in there, or a full queue: {inside} nft list ruleset; {inside} ss -lnt",
    )


def answer_lost(seen: Seen, place: str) -> Verdict:
    """The container answered, and the answer did not come back."""
    target = seen.target
    if missing := _missing_on(seen, ("nat", "POSTROUTING")):
        text = "the answer went another way than by this host"
        return Verdict("stopped", text, missing)
    return Verdict(
        "stopped",
        f"the answer was not seen at the {place}",
        f"see: ip -s link show {target.bridge}",
    )


def arrived(seen: Seen, status: str) -> Verdict:
    """It works; and the truth about the way."""
    target = seen.target
    name = target.container.name
    if status == "relayed":
        client = next(
            s.packet.source for s in seen.inside if s.packet.destination == target.address
        )
        text = f"{name} answers, by the monitor's relay: its program sees {client} as the client"
        if ":" in seen.asked:
            return Verdict(
                status, text, "the firewall's rules are IPv4's; IPv6 always goes by the relay"
            )
        chain = "OUTPUT" if seen.origin == "host" else "PREROUTING"
        return Verdict(status, text, _missing_on(seen, ("nat", chain)))
    text = f"{name} answers, by the firewall's rules (the monitor holds the port, and saw nothing)"
    if target.container.state.get("Paused"):
        text = f"{name}'s kernel answers; its program is paused, and will say nothing"
        return Verdict(status, text, f"minidock unpause {name}")
    return Verdict(status, text)


def published(target: Target) -> str:
    """What it means where a port is published."""
    if target.host_ip in ("0.0.0.0", "::"):
        return f"; published on {target.host_ip}: on every address of this host"
    return f"; published on {target.host_ip} only"


def any_address(target: Target, listener: Listener) -> str:
    """What 0.0.0.0 means."""
    return f": any address of this network namespace, {target.address} too" if listener else ""


def _missing_on(seen: Seen, where: tuple[str, str]) -> str:
    """The advice for the missing rules of one built-in chain and of what it leads to."""
    table, chain = where
    bridge = seen.target.bridge
    led_to = f"MINIDOCK-{bridge}-OUT" if chain == "POSTROUTING" else f"MINIDOCK-{bridge}"
    found = [
        f"missing in {table}: -A {c} {rule} (without it, {purpose(t, c, rule)})"
        for t, c, rule in seen.target.missing(seen.saved)
        if t == table and c in (chain, led_to)
    ]
    return "; ".join([*found, _again(seen)]) if found else ""


def _set(setting: str) -> str:
    return f"sysctl -w {setting.replace('/', '.')}=1"


def _again(seen: Seen) -> str:
    return (
        f"any start on this network makes it again: minidock restart {seen.target.container.name}"
    )
