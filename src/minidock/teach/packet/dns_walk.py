"""One question for a name: its hops, its answer, and where and why it ends.

    /etc/resolv.conf → socket → firewall inside → 127.0.0.11 → the monitor → the directory,
                                                                            or other servers
    /etc/resolv.conf → socket → firewall inside → bridge → firewall of the host → a server

As in walk.py a hop is told only where somebody saw it, and a cause only where a check proves it:
where our name server failed to get an answer from others, each of them is asked once more, directly
and from where it asks them itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import find
from minidock.engine.network import network_json
from minidock.engine.network.dns import message as dns_message
from minidock.engine.network.dns.records import DnsRecords
from minidock.engine.network.hosts_file import NAME_SERVER, upstream_servers
from minidock.errors import Conflict
from minidock.paths import Store
from minidock.teach.packet import dns
from minidock.teach.packet.causes import Verdict
from minidock.teach.packet.dns_causes import (
    BEHIND,
    CHECKS,
    first,
    ipv6_trouble,
    not_determined,
)
from minidock.teach.packet.dns_links import broken
from minidock.teach.packet.dns_question import (
    RESOLVERS_DEFAULT,
    Question,
    at,
    is_question,
    resolv_conf,
    said,
)
from minidock.teach.packet.firewall_trace import Rule, Way
from minidock.teach.packet.listeners import holds, name_server_ports
from minidock.teach.packet.steps import Steps
from minidock.teach.packet.walk import STOPPED, Because, Hop, next_packet

_FAILURES = ("SERVFAIL", dns.SILENCE)


@dataclass
class DnsWalk:
    """Hops and verdict. notes: what a program may meet, and this question did not."""

    question: Question
    hops: list[Hop]
    verdict: Verdict
    notes: list[str] = field(default_factory=list)


def follow(store: Store, reference: str, name: str, *, seconds: float = 5.0) -> DnsWalk:
    """Ask a name as a container would, and tell what happened.

    seconds: how long each answer may take. Raises UsageError, NotFound, Conflict.
    """
    message = dns.query(name)
    container = find(store, reference)
    pid = int(container.state["Pid"])
    if not container.running or pid == 0:
        raise Conflict(f"container {container.name} is not running", hint="minidock ps")
    name = name.removesuffix(".").lower()
    servers = dns.servers(container)
    asked = dns.ask(pid, (servers or [RESOLVERS_DEFAULT])[0], message, seconds=seconds)
    owner = _owner(store, container)
    directory = DnsRecords(store, owner.id)
    monitor = owner.monitor_pid
    held = (p for p, inode in name_server_ports(pid).items() if monitor and holds(monitor, inode))
    question = Question(
        store=store,
        container=container,
        owner=owner,
        name=name,
        servers=servers,
        asked=asked,
        networks=[n for n in network_json.read_all(store) if owner.id in n["Leases"]],
        held_port=next(held, 0),
        known=directory.addresses(name),
        leads_outside=directory.may_forward,
        upstream=[],
        in_hosts=dns.is_in_hosts(container, name),
        by_tcp=(
            dns.ask(pid, asked.server, message, protocol="tcp", seconds=seconds)
            if asked.is_truncated
            else None
        ),
        broken={},
        for_ipv6=None,
    )
    if question.last.outcome == dns.ANSWER:
        question.for_ipv6 = _ask_for_ipv6(question, pid, seconds=min(seconds, 2.0))
    if not question.is_ours:
        _look_along(question, asked, from_host=False)
    verdict = first(question, CHECKS)
    if verdict is None and question.is_ours and question.last.answer in _FAILURES:
        question.upstream = [
            dns.ask(
                pid,
                server,
                message,
                from_host=from_host,
                protocol="tcp" if question.by_tcp else "udp",
                seconds=min(seconds, 2.0),
            )
            for server, from_host in upstream_servers(owner.host_config.get("Dns") or [])
        ]
        for each in question.upstream:
            _look_along(question, each, from_host=each.from_host)
        verdict = first(question, BEHIND)
    verdict = verdict or not_determined(question)
    hops = _hops(question, Steps(store))
    hops[-1].is_end = verdict.status == STOPPED
    return DnsWalk(question, hops, verdict, _notes(question))


def _ask_for_ipv6(question: Question, pid: int, *, seconds: float) -> dns.Asked:
    """The AAAA query of the same name, to the same server; by TCP where it is cut short."""
    server = question.asked.server
    message = dns.query(question.name, kind=dns_message.AAAA)
    asked = dns.ask(pid, server, message, seconds=seconds)
    if not asked.is_truncated:
        return asked
    return dns.ask(pid, server, message, protocol="tcp", seconds=seconds)


def _look_along(question: Question, asked: dns.Asked, *, from_host: bool) -> None:
    """Look at the way to a server that has not answered."""
    if asked.outcome == dns.ANSWER:
        return
    found = broken(question.owner, question.networks, asked.server, from_host=from_host)
    if found:
        question.broken[asked.server] = found


def _owner(store: Store, container: Container) -> Container:
    """Whose network a container is in."""
    passed = set()
    while container.id not in passed:
        passed.add(container.id)
        kind, _, other = str(container.host_config.get("NetworkMode", "")).partition(":")
        if kind == "container":
            container = find(store, other)
    return container


def _hops(question: Question, steps: Steps) -> list[Hop]:
    asked, name = question.asked, question.container.name
    hops = [
        Hop("resolv.conf", resolv_conf(question)),
        Hop("socket", f"{asked.source}:{asked.port} → {at(asked.server)}, in {name}"),
    ]
    if end := _firewalls(question, asked, hops, steps):
        return [*hops, end]
    if question.is_ours and question.held_port:
        owner = question.owner
        monitor = owner.monitor_pid
        text = (
            f"the monitor of {owner.name} (pid {monitor}) holds {NAME_SERVER}:{question.held_port}"
        )
        hops.append(Hop("name server", text))
        if asked.outcome == dns.ANSWER:
            hops.append(Hop("directory", _directory(question)))
    if again := question.by_tcp:
        text = f"the answer is cut short (TC): asked again by TCP, {again.source}:{again.port}"
        hops.append(Hop("socket", text))
        if end := _firewalls(question, again, hops, steps):
            return [*hops, end]
    for each in question.upstream:
        whence = "this host" if each.from_host else name
        text = f"{at(each.server)}, asked from {whence}: {said(each)}"
        hops.append(Hop("upstream", text))
    hops.append(Hop("answer", said(question.last)))
    if (also := question.for_ipv6) and (also.addresses or also.answer != "NOERROR"):
        hops.append(Hop("answer", f"for IPv6 (AAAA): {said(also)}"))
    return hops


def _firewalls(question: Question, asked: dns.Asked, hops: list[Hop], steps: Steps) -> Hop | None:
    """What the firewalls did, inside and on the host, as hops; returns the one that drops it."""
    for inside, found in ((question.owner.name, asked.inner), ("", asked.outer)):
        for way in found:
            if hop := _firewall(hops, way, steps, inside=inside, port=asked.port):
                return hop
    return None


def _firewall(hops: list[Hop], way: Way, steps: Steps, *, inside: str, port: int) -> Hop | None:
    """The rules that did something, as hops; returns the last one where the packet is dropped.

    inside: the container in whose network these are, "" for the host's.
    """
    where = f" in {inside}" if inside else ""
    what = "the question" if is_question(way, port) else "the answer"
    for station in way.stations:
        place = f"{station.table} {station.chain}"
        because = [_because(rule, steps, inside) for rule in station.rules]
        if station.dropped_by:
            return Hop(place, f"{what} is dropped{where}", because)
        before, after = station.packet, next_packet(way, station)
        if station.table == "nat" and before and after:
            if before.receiver != after.receiver:
                text = f"{before.receiver} becomes {after.receiver}{where}"
                hops.append(Hop(place, text, because))
            elif before.sender != after.sender:
                text = f"the sender {before.sender} becomes {after.sender}{where}"
                hops.append(Hop(place, text, because))
        elif station.table and station.rules and not station.rules[-1].is_policy:
            hops.append(Hop(place, f"{what} is let through{where}", because))
    return None


def _because(rule: Rule, steps: Steps, inside: str) -> Because:
    step = None if rule.is_policy else steps.of_rule(rule.table, rule.text, container=inside)
    return Because(rule.table, rule.text, step)


def _directory(question: Question) -> str:
    if question.known is not None:
        where = ", ".join(
            network["Name"]
            for network in question.networks
            if any(each["Address"] in question.known for each in network["Leases"].values())
        )
        return f"{question.name} is {', '.join(question.known)}, on {where}"
    text = f"nobody on {question.owner.name}'s networks has the name {question.name}"
    return f"{text}: {'other servers are asked' if question.leads_outside else 'it ends here'}"


def _notes(question: Question) -> list[str]:
    notes = []
    if question.in_hosts:
        notes.append(
            f"/etc/hosts in {question.container.name} has {question.name}: most programs look "
            "there first, and ask no server"
        )
    if len(question.servers or ()) > 1 and not question.is_found:
        notes.append(f"a resolver may ask {', '.join((question.servers or [])[1:])} too")
    if question.is_found and (trouble := ipv6_trouble(question)):
        notes.append(trouble)
    if ":" in question.asked.server:
        notes.append("the firewalls' rules for IPv6 and the ways of its packets are not looked at")
    if not question.asked.is_traced:
        notes.append("iptables is of the legacy kind here: it does not tell what its rules do")
    return notes
