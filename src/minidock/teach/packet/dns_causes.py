"""Why a question for a name has no answer: the checks, in the order of the question's way.

As in causes.py a check returns a verdict where it proves one on this machine, and else None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidock.engine.container.lookup import list_containers
from minidock.engine.network import firewall, network_json
from minidock.engine.network.endpoint import DEFAULT
from minidock.engine.network.hosts_file import NAME_SERVER
from minidock.teach.packet import dns
from minidock.teach.packet.causes import Verdict, is_stopped
from minidock.teach.packet.dns_question import (
    REFUSALS,
    Question,
    at,
    is_question,
    refusal,
    resolv_conf,
    said,
)
from minidock.teach.packet.walk import ANSWERED, STOPPED

_BY_TCP = "the answer by TCP"
_TRACES = "the firewalls' traces, inside and on this host"
_WAY = "cable, ARP entries and routes on the way there"
_Look = Callable[[Question], "Verdict | None"]


def _stopped(text: str, advice: str = "") -> Verdict:
    return Verdict(STOPPED, text, advice)


def _found(question: Question) -> Verdict | None:
    if not question.is_found:
        return None
    if question.held_port and question.known is not None and question.is_ours:
        whom = f"minidock's name server ({NAME_SERVER}), from the networks' files"
    elif question.is_ours and question.held_port:
        whom = f"a server behind minidock's name server ({NAME_SERVER})"
    else:
        whom = question.asked.server
    text = f"{question.name} is {', '.join(question.last.addresses)}, says {whom}"
    return Verdict(ANSWERED, text)


def _dropped(question: Question) -> Verdict | None:
    asked, name = question.asked, question.container.name
    for where, found in ((f"a firewall inside {name}", asked.inner), ("this host", asked.outer)):
        for way in found:
            if rule := way.dropped_by:
                what = "the question" if is_question(way, asked.port) else "the answer"
                text = f"{where} drops {what}: {rule.table} {rule.chain}: {rule.text}"
                inside = f"nsenter --net=/proc/{question.container.state['Pid']}/ns/net "
                enter = inside if found is asked.inner else ""
                return _stopped(text, f"see: {enter}nft list ruleset")
    return None


def _cut_short(question: Question) -> Verdict | None:
    """An answer that does not fit into a datagram, which TCP does not bring either."""
    asked = question.by_tcp
    if asked is None or asked.outcome == dns.ANSWER:
        return None
    if question.is_ours and not _dropped_by(asked) and not question.upstream:
        return None  # our name server waits for one behind it
    text = f"the answer by UDP is cut short (TC), and {at(asked.server)} gives none by TCP"
    return _stopped(f"{text}: {_dropped_by(asked) or said(asked)}", "TCP port 53 is needed too")


def _dropped_by(asked: dns.Asked) -> str:
    """The rule that dropped a question, or its answer; "" for none."""
    rule = next((way.dropped_by for way in [*asked.inner, *asked.outer] if way.dropped_by), None)
    return f"dropped by {rule.table} {rule.chain}: {rule.text}" if rule else ""


def _no_server_named(question: Question) -> Verdict | None:
    if question.servers or question.asked.outcome == dns.ANSWER:
        return None
    advice = f"put back: nameserver {NAME_SERVER}" if question.has_names else ""
    return _stopped(f"{resolv_conf(question)}, and nobody answers there", advice)


def _elsewhere(question: Question) -> Verdict | None:
    """A name that our name server would have known, and that another one was asked for."""
    if question.is_ours or question.known is None:
        return None
    return _stopped(
        f"/etc/resolv.conf in {question.container.name} leads to {question.asked.server}, and only "
        f"{NAME_SERVER} knows {question.name} ({', '.join(question.known)})",
        f"put back: nameserver {NAME_SERVER}",
    )


def _not_held(question: Question) -> Verdict | None:
    name, pid = question.owner.name, question.owner.monitor_pid
    if not question.is_ours or question.asked.outcome == dns.ANSWER:
        return None
    if pid and is_stopped(pid):
        text = f"the monitor of {name} (pid {pid}), which is its name server, is stopped (SIGSTOP)"
        return _stopped(text, f"kill -CONT {pid}")
    if not question.held_port:
        why = "" if question.has_names else ": a container on the default network has none"
        text = f"no monitor holds a name server's socket in {name}{why}"
        return _stopped(text, f"minidock restart {name}")
    nat = firewall.parse(question.asked.saved).get("nat", {})
    leads = f"-j DNAT --to-destination {NAME_SERVER}:{question.held_port}"
    if not any(rule.rstrip().endswith(leads) for rules in nat.values() for rule in rules):
        text = f"the rule inside {name} that leads {NAME_SERVER}:53 to its name server is gone"
        return _stopped(f"{text}: {leads}", f"minidock restart {name}")
    return None


def _stopped_container(question: Question) -> Verdict | None:
    """A container of that name that runs not, or where the asking one cannot see it."""
    found = next(
        (c for c in list_containers(question.store) if c.name.lower() == question.name), None
    )
    if found is None or question.known is not None:
        return None
    own = question.owner.name
    if not question.has_names:
        return _stopped(
            f"{own} is on {_places(question.networks)}, where there is no name service: containers "
            "know each other by name on networks that people make",
            f"minidock network create NAME; minidock network connect NAME {own}; minidock network "
            f"connect NAME {found.name}"
            if question.networks
            else "",
        )
    if not found.running:
        text = f"container {found.name} is not running: it has no address, and its name no answer"
        return _stopped(text, f"minidock start {found.name}")
    theirs = [n for n in network_json.read_all(question.store) if found.id in n["Leases"]]
    ours = [n["Name"] for n in question.networks if n["Name"] != DEFAULT]
    if any(network["Name"] in ours for network in theirs):
        return None
    return _stopped(
        f"{found.name} is on {_places(theirs)}, {own} on {_places(question.networks)}: names are "
        "known on a network that people make and that both are on",
        f"minidock network connect {ours[0]} {found.name}",
    )


def _places(networks: list[dict[str, Any]]) -> str:
    names = ["the default network" if n["Name"] == DEFAULT else n["Name"] for n in networks]
    return ", ".join(sorted(names)) or "no network of minidock's"


def _on_the_way(question: Question) -> Verdict | None:
    """Another server than ours, and what is wrong between it and the container."""
    found = question.broken.get(question.asked.server)
    if question.is_ours or found is None:
        return None
    text = f"{at(question.asked.server)}: {said(question.asked)}; {found.text}"
    return _stopped(text, found.advice)


def _refused(question: Question) -> Verdict | None:
    """Another server than ours that cannot be reached, in the kernel's words."""
    asked = question.asked
    if question.is_ours or asked.outcome not in REFUSALS:
        return None
    if not (asked.is_followed or asked.failed_at_once):
        return None  # a rule that rejects says the same
    text = f"{at(asked.server)}: {refusal(asked)}"
    return _stopped(text, "see /etc/resolv.conf inside, and ip route get there")


def _internal(question: Question) -> Verdict | None:
    if not question.is_ours or question.leads_outside or question.asked.answer != "SERVFAIL":
        return None
    name = question.owner.name
    text = f"{name} is on internal networks only: its name server asks nobody else"
    return _stopped(text, f"nobody on these networks is called {question.name}")


def _unknown(question: Question) -> Verdict | None:
    if question.last.outcome != dns.ANSWER:
        return None
    if question.for_ipv6 and question.for_ipv6.addresses:
        found = ", ".join(question.for_ipv6.addresses)
        also = (
            f"{question.name} has no IPv4 address ({question.last.answer}); of IPv6 it has {found}"
        )
        return _stopped(also)
    if question.last.code == dns.NOT_FOUND:
        if question.is_ours and question.held_port:
            whom = "no container on its networks, and for a server behind the name server no host"
        else:
            whom = f"says {question.asked.server}"
        return _stopped(f"nobody is called {question.name}: {whom} (NXDOMAIN)")
    if question.last.answer == "NOERROR":
        text = f"{question.name} exists, and has no IPv4 address ({question.last.answer})"
        return _stopped(f"{text}; {ipv6_trouble(question) or 'none of IPv6 either'}")
    return None


def ipv6_trouble(question: Question) -> str:
    """What came of the AAAA query, where no resolver can use it; "" where it is a good answer."""
    asked = question.for_ipv6
    if asked is None or asked.answer == "NOERROR":
        return ""
    why = _dropped_by(asked) or said(asked)
    return f"asked for IPv6 (AAAA), {at(asked.server)} gives no good answer: {why}"


def _upstream(question: Question) -> Verdict | None:
    """Behind our name server, nobody answers: each was asked just now."""
    if not question.upstream or any(_is_an_answer(each) for each in question.upstream):
        return None
    told = []
    for each in question.upstream:
        found = question.broken.get(each.server)
        why = _dropped_by(each) or (found and found.text) or said(each)
        told.append(f"{at(each.server)}: {why}")
    text = f"no container here is called {question.name}, and no server behind the name server"
    text += " by TCP, which a cut answer needs," if question.by_tcp else ""
    return _stopped(
        f"{text} answers: {'; '.join(told)}",
        f"minidock run --dns ADDRESS names another; else the host's /etc/resolv.conf counts, as "
        f"it was when {question.container.name} was started",
    )


def _is_an_answer(asked: dns.Asked) -> bool:
    return asked.answer in ("NOERROR", "NXDOMAIN")


CHECKS: tuple[tuple[str, _Look], ...] = (
    ("the answer", _found),
    (_TRACES, _dropped),
    (_BY_TCP, _cut_short),
    ("/etc/resolv.conf", _no_server_named),
    ("the containers' names on its networks", _elsewhere),
    ("the name server's monitor, socket and rule", _not_held),
    ("containers of that name", _stopped_container),
    (_WAY, _on_the_way),
    ("the kernel's refusal", _refused),
    ("internal networks", _internal),
    ("the answer's code", _unknown),
)


BEHIND = (("the servers behind it, asked directly", _upstream), (_BY_TCP, _cut_short))


def first(question: Question, checks: tuple[tuple[str, _Look], ...]) -> Verdict | None:
    """The first cause that a check proves."""
    return next((found for _, look in checks if (found := look(question))), None)


def not_determined(question: Question) -> Verdict:
    """What was looked at, and what was not, where nothing proves a cause."""
    asked = question.asked
    looked, missed = [], []
    for words, _ in CHECKS[1:]:
        if words == _BY_TCP and not question.by_tcp:
            continue
        if (words == _TRACES and not asked.is_followed) or (words == _WAY and ":" in asked.server):
            missed.append(words)
        else:
            looked.append(words)
    if question.upstream:
        looked.append("the servers behind the name server, asked directly")
    text = f"{at(asked.server)}: {said(asked)}; why is not determined: looked at "
    text += ", ".join(looked)
    return _stopped(f"{text}; not looked at {', '.join(missed)}" if missed else text)
