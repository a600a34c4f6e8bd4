"""One DNS question: its hops, its answer, and where and why it ends.

    /etc/resolv.conf → socket → firewall inside → 127.0.0.11 → the monitor → its DNS records,
                                                                            or upstream servers
    /etc/resolv.conf → socket → firewall inside → bridge → firewall of the host → a server

As in walk.py, a hop needs an observation and a cause needs a proof: if minidock's DNS server got no
answer from its upstream servers, each of them is queried directly, from the same network namespace.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import find
from minidock.engine.network import network_json
from minidock.engine.network.dns import message as dns_message
from minidock.engine.network.dns.records import DnsRecords
from minidock.engine.network.resolv_conf import NAME_SERVER, upstream_servers
from minidock.errors import Conflict
from minidock.paths import Store
from minidock.teach.packet import dns, resolver_files
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
    result_text,
)
from minidock.teach.packet.firewall_trace import PacketTrace, Rule
from minidock.teach.packet.listeners import has_socket, name_server_ports
from minidock.teach.packet.steps import Steps
from minidock.teach.packet.walk import CONTAINER, HOST, STOPPED, AppliedRule, Hop, next_packet

_FAILURES = ("SERVFAIL", dns.TIMEOUT)


@dataclass
class DnsWalk:
    """Hops and verdict. notes: what other programs may meet."""

    question: Question
    hops: list[Hop]
    verdict: Verdict
    notes: list[str] = field(default_factory=list)


def follow(store: Store, reference: str, name: str, *, seconds: float = 5.0) -> DnsWalk:
    """Resolve a name as a container does, and explain the result.

    seconds: the timeout of each query. Raises UsageError, NotFound, Conflict.
    """
    message = dns.build_query(name)
    container = find(store, reference)
    if not container.running or not container.state["Pid"]:
        raise Conflict(f"container {container.name} is not running", hint="minidock ps")
    question = _ask(store, container, name.removesuffix(".").lower(), message, seconds=seconds)
    if not question.is_ours:
        _check_path(question, question.query)
    verdict = first(question, CHECKS)
    if verdict is None and question.is_ours and question.last.answer in _FAILURES:
        _ask_upstream(question, message, seconds=min(seconds, 2.0))
        verdict = first(question, BEHIND)
    verdict = verdict or not_determined(question)
    hops = _hops(question, Steps(store))
    hops[-1].is_end = verdict.status == STOPPED
    return DnsWalk(question, hops, verdict, _notes(question))


def _ask(
    store: Store, container: Container, name: str, message: bytes, *, seconds: float
) -> Question:
    """Send the queries of a resolver, and look up what minidock's own DNS server knows."""
    pid = int(container.state["Pid"])
    servers = resolver_files.servers(container)
    query = dns.send_query(pid, (servers or [RESOLVERS_DEFAULT])[0], message, seconds=seconds)
    owner = _owner(store, container)
    records = DnsRecords(store, owner.id)
    question = Question(
        store=store,
        container=container,
        owner=owner,
        name=name,
        servers=servers,
        query=query,
        networks=[n for n in network_json.read_all(store) if owner.id in n["Leases"]],
        held_port=_held_port(pid, owner),
        known=records.addresses(name),
        leads_outside=records.may_forward,
        upstream=[],
        in_hosts=resolver_files.is_in_hosts(container, name),
        by_tcp=None,
        broken={},
        for_ipv6=None,
    )
    if query.is_truncated:
        question.by_tcp = dns.send_query(
            pid, query.server, message, protocol="tcp", seconds=seconds
        )
    if question.last.outcome == dns.ANSWER:
        question.for_ipv6 = _ask_for_ipv6(question, pid, seconds=min(seconds, 2.0))
    return question


def _held_port(pid: int, owner: Container) -> int:
    """The port on which the owner's monitor serves DNS in this network namespace; 0 if none."""
    monitor = owner.monitor_pid
    for port, inode in name_server_ports(pid).items():
        if monitor and has_socket(monitor, inode):
            return port
    return 0


def _ask_upstream(question: Question, message: bytes, *, seconds: float) -> None:
    """Send the query directly to the upstream servers, from where minidock's server asks them."""
    for server, from_host in upstream_servers(question.owner.host_config.get("Dns") or []):
        query = dns.send_query(
            int(question.container.state["Pid"]),
            server,
            message,
            from_host=from_host,
            protocol="tcp" if question.by_tcp else "udp",
            seconds=seconds,
        )
        question.upstream.append(query)
    for query in question.upstream:
        _check_path(question, query)


def _ask_for_ipv6(question: Question, pid: int, *, seconds: float) -> dns.QueryResult:
    """Send the AAAA query to the same server; by TCP if the answer is truncated."""
    server = question.query.server
    message = dns.build_query(question.name, kind=dns_message.AAAA)
    query = dns.send_query(pid, server, message, seconds=seconds)
    if not query.is_truncated:
        return query
    return dns.send_query(pid, server, message, protocol="tcp", seconds=seconds)


def _check_path(question: Question, query: dns.QueryResult) -> None:
    """Check the path to a server that did not answer."""
    if query.outcome == dns.ANSWER:
        return
    found = broken(question.owner, question.networks, query.server, from_host=query.from_host)
    if found:
        question.broken[query.server] = found


def _owner(store: Store, container: Container) -> Container:
    """The container whose network namespace a container uses."""
    passed = set()
    while container.id not in passed:
        passed.add(container.id)
        kind, _, other = str(container.host_config.get("NetworkMode", "")).partition(":")
        if kind == "container":
            container = find(store, other)
    return container


def _hops(question: Question, steps: Steps) -> list[Hop]:
    query, name = question.query, question.container.name
    own = CONTAINER if query.is_inside else HOST
    text = f"{query.source}:{query.port} → {at(query.server)}, in {name}"
    hops = [
        Hop("resolv.conf", resolv_conf(question), netns=own),
        Hop("socket", text, netns=own),
    ]
    if end := _firewalls(question, query, hops, steps):
        return [*hops, end]
    if question.is_ours and question.held_port:
        owner = question.owner
        monitor = owner.monitor_pid
        address = f"{NAME_SERVER}:{question.held_port}"
        text = f"the monitor of {owner.name} (pid {monitor}) serves DNS at {address}"
        hops.append(Hop("DNS server", text, netns=own))
        if query.outcome == dns.ANSWER:
            hops.append(Hop("records", _records_text(question)))
    if again := question.by_tcp:
        text = f"the answer is truncated (TC): asked again by TCP, {again.source}:{again.port}"
        hops.append(Hop("socket", text, netns=own))
        if end := _firewalls(question, again, hops, steps):
            return [*hops, end]
    for each in question.upstream:
        whence, netns = ("this host", HOST) if each.from_host else (name, own)
        text = f"{at(each.server)}, queried from {whence}: {result_text(each)}"
        hops.append(Hop("upstream", text, netns=netns))
    is_back = question.last.outcome == dns.ANSWER
    hops.append(Hop("answer", result_text(question.last), netns=own, is_back=is_back))
    if (also := question.for_ipv6) and (also.addresses or also.answer != "NOERROR"):
        text = f"for IPv6 (AAAA): {result_text(also)}"
        hops.append(Hop("answer", text, netns=own, is_back=True))
    return hops


def _firewalls(
    question: Question, query: dns.QueryResult, hops: list[Hop], steps: Steps
) -> Hop | None:
    """Add the rules that matched, inside and on the host; returns the hop that drops it."""
    for inside, found in ((question.owner.name, query.inner), ("", query.outer)):
        for trace in found:
            if hop := _firewall(hops, trace, steps, inside=inside, port=query.port):
                return hop
    return None


def _firewall(
    hops: list[Hop], trace: PacketTrace, steps: Steps, *, inside: str, port: int
) -> Hop | None:
    """Add the rules of a trace that matched, as hops; returns the hop that drops the packet.

    inside: the container whose network namespace has the rules, "" for the host's.
    """
    where = f" in {inside}" if inside else ""
    is_back = not is_question(trace, port)
    what = "the answer" if is_back else "the query"
    netns = CONTAINER if inside else HOST
    for chain_trace in trace.chains:
        place = f"{chain_trace.table} {chain_trace.chain}"
        applied = [_because(rule, steps, inside) for rule in chain_trace.rules]
        if chain_trace.dropped_by:
            text = f"{what} is dropped{where}"
            return Hop(place, text, applied, netns=netns, is_back=is_back)
        before, after = chain_trace.packet, next_packet(trace, chain_trace)
        if chain_trace.table == "nat" and before and after:
            if before.receiver != after.receiver:
                text = f"{before.receiver} becomes {after.receiver}{where}"
                hops.append(Hop(place, text, applied, netns=netns, is_back=is_back))
            elif before.sender != after.sender:
                text = f"the sender {before.sender} becomes {after.sender}{where}"
                hops.append(Hop(place, text, applied, netns=netns, is_back=is_back))
        elif chain_trace.table and chain_trace.rules and not chain_trace.rules[-1].is_policy:
            text = f"{what} is let through{where}"
            hops.append(Hop(place, text, applied, netns=netns, is_back=is_back))
    return None


def _because(rule: Rule, steps: Steps, inside: str) -> AppliedRule:
    step = None if rule.is_policy else steps.of_rule(rule.table, rule.text, container=inside)
    return AppliedRule(rule.table, rule.text, step)


def _records_text(question: Question) -> str:
    if question.known is not None:
        where = ", ".join(
            network["Name"]
            for network in question.networks
            if any(each["Address"] in question.known for each in network["Leases"].values())
        )
        return f"{question.name} is {', '.join(question.known)}, on {where}"
    text = f"no container on {question.owner.name}'s networks has the name {question.name}"
    rest = "upstream servers are asked" if question.leads_outside else "no upstream server asked"
    return f"{text}: {rest}"


def _notes(question: Question) -> list[str]:
    notes = []
    if question.in_hosts:
        notes.append(
            f"/etc/hosts in {question.container.name} has {question.name}: most programs read it "
            "first, and query no server"
        )
    if len(question.servers or ()) > 1 and not question.is_resolved:
        notes.append(f"a resolver may ask {', '.join((question.servers or [])[1:])} too")
    if question.is_resolved and (trouble := ipv6_trouble(question)):
        notes.append(trouble)
    if ":" in question.query.server:
        notes.append("the firewalls' rules for IPv6 were not traced")
    if not question.query.is_traced:
        notes.append("this host uses iptables-legacy, which cannot trace")
    return notes
