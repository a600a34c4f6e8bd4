"""A container's DNS question, all that is known about it, and texts for its parts."""

from __future__ import annotations

from dataclasses import dataclass

from minidock.engine.container.containers import Container
from minidock.engine.network.network_mode import DEFAULT
from minidock.engine.network.resolv_conf import NAME_SERVER
from minidock.paths import Store
from minidock.teach.packet import dns
from minidock.teach.packet.dns_links import Broken
from minidock.teach.packet.firewall_trace import PacketTrace
from minidock.teach.packet.walk import elapsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import NetworkDocument

RESOLVERS_DEFAULT = "127.0.0.1"  # resolv.conf(5): without a nameserver line
REFUSALS = {
    "ECONNREFUSED": "refused, no program listens there",
    "ENETUNREACH": "no route to the network (ENETUNREACH)",
    "EHOSTUNREACH": "no route to the host (EHOSTUNREACH)",
}


@dataclass
class Question:
    """A DNS question of a container, and all observations.

    owner: the container whose network namespace it uses: itself, or another one (--network
    container:NAME). servers: in its resolv.conf; None if unreadable. query: the A query by UDP.
    networks: state files of the owner's networks. held_port: of minidock's DNS server inside, 0 if
    none. known: the addresses in minidock's DNS records. upstream: queries sent directly to the
    upstream servers; [] if not needed. by_tcp: the query repeated by TCP after a truncated answer.
    broken: server address -> a fault on the path to it. for_ipv6: the AAAA query; None if the first
    query had no answer.
    """

    store: Store
    container: Container
    owner: Container
    name: str
    servers: list[str] | None
    query: dns.QueryResult
    networks: list[NetworkDocument]
    held_port: int
    known: list[str] | None
    leads_outside: bool
    upstream: list[dns.QueryResult]
    in_hosts: bool
    by_tcp: dns.QueryResult | None
    broken: dict[str, Broken]
    for_ipv6: dns.QueryResult | None

    @property
    def pid(self) -> int:
        return int(self.container.state["Pid"])

    @property
    def last(self) -> dns.QueryResult:
        """The query whose answer counts."""
        return self.by_tcp or self.query

    @property
    def is_ours(self) -> bool:
        """Whether minidock's DNS server was queried."""
        return self.query.server == NAME_SERVER

    @property
    def has_names(self) -> bool:
        """Whether the container is on a user-defined network, which has DNS."""
        return any(network["Name"] != DEFAULT for network in self.networks)

    @property
    def is_resolved(self) -> bool:
        return self.last.answer == "NOERROR" and bool(self.last.addresses)


def resolv_conf(question: Question) -> str:
    """The nameservers of the container's /etc/resolv.conf, as text."""
    name = question.container.name
    if question.servers is None:
        text = f"{name} has no readable /etc/resolv.conf"
    elif not question.servers:
        text = f"/etc/resolv.conf in {name} names no server"
    else:
        return f"/etc/resolv.conf in {name} names {', '.join(question.servers)}"
    return f"{text}: resolvers then ask {RESOLVERS_DEFAULT} (resolv.conf(5))"


def is_question(trace: PacketTrace, port: int) -> bool:
    """Whether a trace is the query's, and not the answer's."""
    return trace.first is not None and trace.first.source_port == port


def result_text(query: dns.QueryResult) -> str:
    """The result of a query, as text."""
    if query.outcome == dns.TIMEOUT:
        return f"none within {elapsed(query.us)}"
    if query.outcome != dns.ANSWER:
        return f"none: {refusal(query)}"
    found = f": {', '.join(query.addresses)}" if query.addresses else ", no address"
    return f"{query.answer}{found}, after {elapsed(query.us)}"


def refusal(query: dns.QueryResult) -> str:
    """The kernel's error as text. A REJECT rule causes the same error as the server's machine: only
    a trace can tell them apart."""
    if query.is_path_known or query.failed_at_once:
        return REFUSALS.get(query.outcome, query.outcome)
    return f"refused ({query.outcome}), by the server, a router on the path, or a firewall rule"


def at(server: str) -> str:
    """A server with its port."""
    return f"[{server}]:53" if ":" in server else f"{server}:53"
