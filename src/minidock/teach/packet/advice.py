"""What it means that a packet ended where it did, and what to do about it.

Each function looks at one kind of end. What a rule is for stands in `purpose`.
"""

from __future__ import annotations

from minidock.teach.packet import causes
from minidock.teach.packet.causes import Verdict
from minidock.teach.packet.firewall_trace import Rule
from minidock.teach.packet.listeners import Listener
from minidock.teach.packet.probe import Seen
from minidock.teach.packet.target import Target


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
    name, missing = seen.target.container.name, ""
    if ":" not in seen.asked:
        missing = _missing_on(seen, ("nat", "OUTPUT" if seen.origin == "host" else "PREROUTING"))
    if seen.outcome == "connected" and seen.holder[0] not in (0, seen.target.container.monitor_pid):
        pid, program = seen.holder
        return Verdict("stopped", f"{program} (pid {pid}) on this host has the port", missing)
    lost = {"timeout": "nobody on this host answered", "connected": "the relay took it"}
    said = lost.get(seen.outcome, f"it was refused ({seen.outcome})")
    if seen.outcome == "connected" or not missing:
        found = causes.first(seen, f"it did not come to {name}: {said}", causes.HOLDER)
        return found._replace(advice="; ".join(filter(None, (found.advice, missing))))
    return Verdict("stopped", f"no rule leads it to {name}: {said}", missing)


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
    text = f"the kernel does not route it to {seen.target.bridge}"
    return causes.first(seen, text, causes.ROUTING)


def lost(seen: Seen, place: str) -> Verdict:
    """It was sent out, and a device on its way never saw it."""
    target = seen.target
    cable, interface = target.lease["Cable"], target.lease["Interface"]
    texts = {
        "bridge": f"the kernel did not send it out by {target.bridge}",
        "cable": f"{target.bridge} did not hand it to {cable}",
        "container": f"it went into the cable and did not come out at {interface}",
    }
    routing = causes.ROUTING[1:] if place == "bridge" else ()
    return causes.first(seen, texts[place], (*causes.LINKS, *routing))


def refused(seen: Seen) -> Verdict:
    """The container's kernel says that no program listens there, or a rule in there does."""
    target = seen.target
    name, port = target.container.name, target.container_port
    if any(each.port == port and each.hears(target.address) for each in seen.listeners):
        text = f"it is refused, though a program in {name} listens there"
        return causes.first(seen, text, causes.INSIDE)
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
    if seen.arrived_as.startswith("127."):
        text = f"it arrived as coming from {seen.arrived_as}, which to the container is itself"
        return Verdict("stopped", text, _missing_on(seen, ("nat", "POSTROUTING")))
    text = f"it arrived at {target.address}, and nothing came back"
    return causes.first(seen, text, causes.INSIDE)


def datagram(seen: Seen, listener: Listener) -> Verdict:
    """A datagram arrived where a program waits; whether it answers an empty one is its affair."""
    found = causes.first(seen, "", causes.INSIDE)
    if not found.text.startswith(";"):
        return found
    name = listener.process.partition(",")[0] or "a program"
    if listener.pid and causes.is_stopped(listener.pid):
        return _stopped_program(seen, listener, "answered")
    text = f"it arrived, and {name} has the port: it does not answer an empty datagram"
    return Verdict("answered", text)


def answer_lost(seen: Seen, place: str) -> Verdict:
    """The container answered, and the answer did not come back."""
    missing = _missing_on(seen, ("nat", "POSTROUTING"))
    gateway = seen.target.network["Gateway"]
    if missing and seen.came_by == seen.target.bridge and seen.arrived_as != gateway:
        text = "the answer went another way than by this host"
        return Verdict("stopped", text, missing)
    return causes.first(seen, f"the answer was not seen at the {place}", causes.BACK)


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
    stopped = [each for each in seen.listeners if each.port == target.container_port]
    if stopped and all(each.pid and causes.is_stopped(each.pid) for each in stopped):
        return _stopped_program(seen, stopped[0], status)
    if target.is_direct:
        text = f"{name} answers by its own address"
    if target.container.state.get("Paused"):
        text = f"{name}'s kernel answers; its program is paused, and will say nothing"
        return Verdict(status, text, f"minidock unpause {name}")
    return Verdict(status, text)


def _stopped_program(seen: Seen, listener: Listener, status: str) -> Verdict:
    name, pid = listener.process.partition(",")[0], listener.pid
    text = f"{seen.target.container.name}'s kernel takes it; its program {name} (pid {pid}) is "
    return Verdict(status, f"{text}stopped (SIGSTOP), and will say nothing", f"kill -CONT {pid}")


def published(target: Target) -> str:
    """What it means where a port is published."""
    if target.is_direct:
        return ""
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


def _again(seen: Seen) -> str:
    return (
        f"any start on this network makes it again: minidock restart {seen.target.container.name}"
    )
