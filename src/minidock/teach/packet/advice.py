"""The verdict for each place where a probe can end, with advice how to fix it.

Each function handles one outcome. `purpose` explains the rules of a network.
"""

from __future__ import annotations

from minidock.kernel.flock_holders import are_stopped
from minidock.teach.packet import causes
from minidock.teach.packet.causes import Verdict
from minidock.teach.packet.firewall_trace import Rule
from minidock.teach.packet.listeners import Listener
from minidock.teach.packet.probe import ProbeResult
from minidock.teach.packet.target import Target


def purpose(table: str, chain: str, rule: str) -> str:
    """What goes wrong without this rule of a network; "" for an unknown rule."""
    jumps = {
        ("raw", "PREROUTING"): "the raw rules of this network are not checked",
        ("nat", "OUTPUT"): "connections from this host are not translated to containers",
        ("nat", "PREROUTING"): "connections from other machines are not translated to containers",
        ("nat", "POSTROUTING"): "the source address of outgoing packets is not translated",
        (
            "filter",
            "FORWARD",
        ): "traffic forwarded to and from the bridge depends on other rules only",
    }
    if (table, chain) in jumps:
        return jumps[table, chain]
    meanings = (
        (
            "! -i lo",
            "a machine that routes 127.0.0.1 to this host reaches ports published on loopback",
        ),
        ("-j DNAT", "the published port is not translated to its container"),
        ("-s 127.0.0.0/8 -o", "the container would send its answer to 127.0.0.1, its own loopback"),
        ("--ctstate DNAT -j MASQ", "a container's answer to its neighbour bypasses this host"),
        ("-j MASQUERADE", "other machines would need a route to the containers' addresses"),
        (
            "RELATED,ESTABLISHED,DNAT",
            "published connections and answers may not enter the bridge",
        ),
        ("-j RETURN", "the rules of another engine's bridge are not checked"),
        ("-j ACCEPT", "the containers' own packets may not leave the bridge"),
        ("-d 127.0.0.0/8", "containers reach services that listen on the host's loopback"),
        ("-s 127.0.0.0/8", "containers can spoof the host's loopback addresses"),
        ("-j DROP", "other machines reach containers' addresses, published or not"),
    )
    return next((meaning for part, meaning in meanings if part in rule), "")


def no_route(result: ProbeResult) -> Verdict:
    """The kernel found no route, so it chose no source address."""
    text = f"the kernel has no route to {result.destination}: {result.outcome}"
    return Verdict("stopped", text, f"see: ip route get {result.destination}; ip link")


def not_translated(result: ProbeResult) -> Verdict:
    """No rule translated the packet, and no proxy forwarded it."""
    name, missing = result.target.container.name, ""
    if ":" not in result.destination:
        missing = _missing_on(
            result, ("nat", "OUTPUT" if result.origin == "host" else "PREROUTING")
        )
    if result.outcome == "connected" and result.connection_owner[0] not in (
        0,
        result.target.container.monitor_pid,
    ):
        pid, program = result.connection_owner
        return Verdict("stopped", f"{program} (pid {pid}) on this host holds the port", missing)
    lost = {"timeout": "no answer from this host", "connected": "the userland proxy accepted it"}
    said = lost.get(result.outcome, f"it was refused ({result.outcome})")
    if result.outcome == "connected" or not missing:
        found = causes.first(result, f"it did not reach {name}: {said}", causes.HOLDER)
        return found._replace(advice="; ".join(filter(None, (found.advice, missing))))
    return Verdict("stopped", f"no rule translates it to {name}: {said}", missing)


def dropped(result: ProbeResult, rule: Rule, *, answer: bool = False) -> Verdict:
    """A rule dropped it, or the chain's policy, because no rule accepted it."""
    what = "the answer" if answer else "it"
    text = f"{rule.table} {rule.chain} drops {what}: {rule.text}"
    if rule.is_policy:
        return Verdict("stopped", text, _missing_on(result, ("filter", "FORWARD")))
    if rule.chain.startswith("MINIDOCK-"):
        meaning = purpose(rule.table, rule.chain, rule.text)
        return Verdict("stopped", text, f"the rule is there for this: without it, {meaning}")
    chain = rule.chain if rule.text.startswith("-A") else f"{rule.chain} (nft list ruleset)"
    return Verdict("stopped", text, f"the rule is not minidock's: accept the packet in {chain}")


def not_routed(result: ProbeResult) -> Verdict:
    """A rule translated it, but the kernel did not route it to the bridge."""
    text = f"the kernel does not route it to {result.target.bridge}"
    return causes.first(result, text, causes.ROUTING)


def lost(result: ProbeResult, place: str) -> Verdict:
    """The kernel sent it, but a device on its path did not see it."""
    target = result.target
    veth, interface = target.lease["Cable"], target.lease["Interface"]
    texts = {
        "bridge": f"the kernel did not send it out on {target.bridge}",
        "veth": f"{target.bridge} did not forward it to {veth}",
        "container": f"it entered the veth pair but did not arrive at {interface}",
    }
    routing = causes.ROUTING[1:] if place == "bridge" else ()
    return causes.first(result, texts[place], (*causes.LINKS, *routing))


def refused(result: ProbeResult) -> Verdict:
    """The container refused it: no program listens there, or a rule inside rejects it."""
    target = result.target
    name, port = target.container.name, target.container_port
    on_port = [each for each in result.listeners if each.port == port]
    if any(each.accepts(target.address) for each in on_port):
        text = f"it is refused, though a program in {name} listens there"
        return causes.first(result, text, causes.INSIDE)
    if not on_port:
        return _not_listening(result)
    if local := next((each for each in on_port if each.is_loopback), None):
        return _listens_on_loopback(local, target)
    where = ", ".join(each.place for each in on_port)
    text = f"{name} listens on {where}, and the packet is for {target.address}"
    return Verdict("stopped", text, f"have the program listen on 0.0.0.0:{port}")


def _listens_on_loopback(listener: Listener, target: Target) -> Verdict:
    process = listener.process.partition(",")[0] or "the program"
    return Verdict(
        "stopped",
        f"listening on {listener.address} inside the container: published ports cannot reach it",
        f"127.0.0.1 is the container's own loopback; have {process} listen on "
        f"0.0.0.0:{listener.port}, every address of the container including {target.address}",
    )


def _not_listening(result: ProbeResult) -> Verdict:
    """Nothing has the port: it may be another one, or the program has not started."""
    target = result.target
    name = target.container.name
    others = ", ".join(f"{each.place} ({each.process or '?'})" for each in result.listeners)
    text = f"no program in {name} listens on port {target.container_port}"
    text += f"; listening: {others}" if others else ""
    reachable = next((each for each in result.listeners if not each.is_loopback), None)
    if reachable:
        what = f"minidock run -p {target.port}:{reachable.port}"
        return Verdict("stopped", text, f"publish the port it listens on: {what}")
    return Verdict(
        "stopped", text, f"has the program started? minidock logs {name}; minidock top {name}"
    )


def silent(result: ProbeResult) -> Verdict:
    """It arrived, but the container's kernel did not answer."""
    target = result.target
    if result.arrived_as.startswith("127."):
        text = f"it arrived with the source {result.arrived_as}, the container's own loopback"
        return Verdict("stopped", text, _missing_on(result, ("nat", "POSTROUTING")))
    text = f"it arrived at {target.address}, but no answer came back"
    return causes.first(result, text, causes.INSIDE)


def datagram(result: ProbeResult, listener: Listener) -> Verdict:
    """A datagram arrived at a bound socket; the program may ignore an empty one."""
    found = causes.first(result, "", causes.INSIDE)
    if not found.text.startswith(";"):
        return found
    name = listener.process.partition(",")[0] or "a program"
    if listener.pid and are_stopped({listener.pid}):
        return _stopped_program(result, listener, "answered")
    text = f"it arrived at {name}, which does not answer an empty datagram"
    return Verdict("answered", text)


def answer_lost(result: ProbeResult, place: str) -> Verdict:
    """The container answered, but the answer did not come back."""
    missing = _missing_on(result, ("nat", "POSTROUTING"))
    gateway = result.target.network["Gateway"]
    if missing and result.came_by == result.target.bridge and result.arrived_as != gateway:
        text = "the answer did not come back through this host"
        return Verdict("stopped", text, missing)
    return causes.first(result, f"the answer was not seen at the {place}", causes.BACK)


def arrived(result: ProbeResult, status: str) -> Verdict:
    """The container answered: by which path, and what may still be wrong."""
    target = result.target
    name = target.container.name
    if status == "relayed":
        client = next(
            s.packet.source for s in result.inside if s.packet.destination == target.address
        )
        text = f"{name} answers through the userland proxy: its program sees {client} as the client"
        if ":" in result.destination:
            return Verdict(
                status, text, "the firewall rules are for IPv4; IPv6 always uses the proxy"
            )
        chain = "OUTPUT" if result.origin == "host" else "PREROUTING"
        return Verdict(status, text, _missing_on(result, ("nat", chain)))
    text = f"{name} answers through DNAT (the userland proxy was not used)"
    stopped = [each for each in result.listeners if each.port == target.container_port]
    if stopped and all(each.pid and are_stopped({each.pid}) for each in stopped):
        return _stopped_program(result, stopped[0], status)
    if target.is_direct:
        text = f"{name} answers at its own address"
    if target.container.state.get("Paused"):
        text = f"{name}'s kernel answers; its program is paused and sends nothing"
        return Verdict(status, text, f"minidock unpause {name}")
    return Verdict(status, text)


def _stopped_program(result: ProbeResult, listener: Listener, status: str) -> Verdict:
    name, pid = listener.process.partition(",")[0], listener.pid
    text = f"{result.target.container.name}'s kernel accepts it; its program {name} (pid {pid}) is "
    return Verdict(status, f"{text}stopped (SIGSTOP) and sends nothing", f"kill -CONT {pid}")


def published(target: Target) -> str:
    """The host addresses on which a port is published."""
    if target.is_direct:
        return ""
    if target.host_ip in ("0.0.0.0", "::"):
        return f"; published on {target.host_ip}: on every address of this host"
    return f"; published on {target.host_ip} only"


def any_address(target: Target, listener: Listener) -> str:
    """The meaning of a wildcard address (0.0.0.0)."""
    return (
        f": any address of this network namespace, including {target.address}" if listener else ""
    )


def _missing_on(result: ProbeResult, where: tuple[str, str]) -> str:
    """Advice for the missing rules of a built-in chain and of the chain that it jumps to."""
    table, chain = where
    bridge = result.target.bridge
    jump_target = f"MINIDOCK-{bridge}-OUT" if chain == "POSTROUTING" else f"MINIDOCK-{bridge}"
    found = [
        f"missing in {table}: -A {c} {rule} (without it, {purpose(t, c, rule)})"
        for t, c, rule in result.target.missing(result.saved)
        if t == table and c in (chain, jump_target)
    ]
    return "; ".join([*found, _again(result)]) if found else ""


def _again(result: ProbeResult) -> str:
    name = result.target.container.name
    return f"starting any container on this network restores it: minidock restart {name}"
