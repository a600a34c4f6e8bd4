"""A container's question for a name, with all that is known of it, and words for its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minidock.engine.container.containers import Container
from minidock.engine.network.endpoint import DEFAULT
from minidock.engine.network.hosts_file import NAME_SERVER
from minidock.paths import Store
from minidock.teach.packet import dns
from minidock.teach.packet.dns_links import Broken
from minidock.teach.packet.firewall_trace import Way
from minidock.teach.packet.walk import elapsed

RESOLVERS_DEFAULT = "127.0.0.1"  # resolv.conf(5): of whom asks, where no server is named
REFUSALS = {
    "ECONNREFUSED": "refused, nobody listens there",
    "ENETUNREACH": "no route leads there (ENETUNREACH)",
    "EHOSTUNREACH": "no way leads there (EHOSTUNREACH)",
}


@dataclass
class Question:
    """A question, and all that was seen of it.

    owner: whose network it is in: itself, or another container (--network container:NAME).
    servers: in its resolv.conf; None where it cannot be read. networks: files of those that the
    owner is on. held_port: of our name server inside, whose socket the monitor holds; 0 for none.
    known: the addresses that the directory has for the name. upstream: the servers behind ours,
    each asked directly; [] where that was not needed. by_tcp: the same question once more, by TCP,
    where the answer by UDP was cut short. broken: what is wrong on the way to those that did not
    answer, by their addresses. for_ipv6: the AAAA query; None where the first had no answer.
    """

    store: Store
    container: Container
    owner: Container
    name: str
    servers: list[str] | None
    asked: dns.Asked
    networks: list[dict[str, Any]]
    held_port: int
    known: list[str] | None
    leads_outside: bool
    upstream: list[dns.Asked]
    in_hosts: bool
    by_tcp: dns.Asked | None
    broken: dict[str, Broken]
    for_ipv6: dns.Asked | None

    @property
    def last(self) -> dns.Asked:
        """The question whose answer counts."""
        return self.by_tcp or self.asked

    @property
    def is_ours(self) -> bool:
        """Whether our name server is asked."""
        return self.asked.server == NAME_SERVER

    @property
    def has_names(self) -> bool:
        """Whether the container is on a network with names: a user's."""
        return any(network["Name"] != DEFAULT for network in self.networks)

    @property
    def is_found(self) -> bool:
        return self.last.answer == "NOERROR" and bool(self.last.addresses)


def resolv_conf(question: Question) -> str:
    """Whom the container's /etc/resolv.conf names."""
    name = question.container.name
    if question.servers is None:
        text = f"{name} has no /etc/resolv.conf that can be read"
    elif not question.servers:
        text = f"/etc/resolv.conf in {name} names no server"
    else:
        return f"/etc/resolv.conf in {name} names {', '.join(question.servers)}"
    return f"{text}: resolvers ask {RESOLVERS_DEFAULT} then (resolv.conf(5))"


def is_question(way: Way, port: int) -> bool:
    """Whether a way is the question's, and not the answer's."""
    return way.first is not None and way.first.source_port == port


def said(asked: dns.Asked) -> str:
    """What came of a question, for people."""
    if asked.outcome == dns.SILENCE:
        return f"none within {elapsed(asked.us)}"
    if asked.outcome != dns.ANSWER:
        return f"none: {refusal(asked)}"
    found = f": {', '.join(asked.addresses)}" if asked.addresses else ", no address"
    return f"{asked.answer}{found}, after {elapsed(asked.us)}"


def refusal(asked: dns.Asked) -> str:
    """Why there was no answer, as far as the kernel's error says it: a rule that rejects packets
    says the same as a server's machine, and only where the rules were followed it is known."""
    if asked.is_followed or asked.failed_at_once:
        return REFUSALS.get(asked.outcome, asked.outcome)
    return (
        f"refused ({asked.outcome}), by the server's machine, one on the way, or a firewall's rule"
    )


def at(server: str) -> str:
    """A server, with the port."""
    return f"[{server}]:53" if ":" in server else f"{server}:53"
