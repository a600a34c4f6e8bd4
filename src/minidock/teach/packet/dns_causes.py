"""Why a DNS query has no answer: checks in the order of the query's path.

As in causes.py, a check returns a verdict if it proves a cause on this machine, else None.
"""

from __future__ import annotations

from collections.abc import Callable

from minidock.engine.container.lookup import list_containers
from minidock.engine.network import firewall, network_json
from minidock.engine.network.network_mode import DEFAULT
from minidock.engine.network.resolv_conf import NAME_SERVER
from minidock.kernel.flock_holders import are_stopped
from minidock.teach.packet import dns
from minidock.teach.packet.causes import Verdict
from minidock.teach.packet.dns_question import (
    REFUSALS,
    Question,
    at,
    is_question,
    refusal,
    resolv_conf,
    result_text,
)
from minidock.teach.packet.walk import ANSWERED, STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import NetworkDocument

_BY_TCP = "the answer by TCP"
_TRACES = "the firewalls' traces, inside and on this host"
_PATH = "veth, ARP entries and routes on the path to it"
_Look = Callable[[Question], "Verdict | None"]


def _stopped(text: str, advice: str = "") -> Verdict:
    return Verdict(STOPPED, text, advice)


def _resolved(question: Question) -> Verdict | None:
    if not question.is_resolved:
        return None
    if question.held_port and question.known is not None and question.is_ours:
        whom = f"minidock's DNS server ({NAME_SERVER}), from the networks' records"
    elif question.is_ours and question.held_port:
        whom = f"an upstream server of minidock's DNS server ({NAME_SERVER})"
    else:
        whom = question.query.server
    text = f"{question.name} is {', '.join(question.last.addresses)}, says {whom}"
    return Verdict(ANSWERED, text)


def _dropped(question: Question) -> Verdict | None:
    query, name = question.query, question.container.name
    for where, found in ((f"a firewall inside {name}", query.inner), ("this host", query.outer)):
        for trace in found:
            if rule := trace.dropped_by:
                what = "the query" if is_question(trace, query.port) else "the answer"
                text = f"{where} drops {what}: {rule.table} {rule.chain}: {rule.text}"
                inside = f"nsenter --net=/proc/{question.container.state['Pid']}/ns/net "
                enter = inside if found is query.inner else ""
                return _stopped(text, f"see: {enter}nft list ruleset")
    return None


def _cut_short(question: Question) -> Verdict | None:
    """The answer is truncated, and TCP brings no answer either."""
    query = question.by_tcp
    if query is None or query.outcome == dns.ANSWER:
        return None
    if question.is_ours and not _dropped_by(query) and not question.upstream:
        return None  # minidock's DNS server waits for an upstream server
    text = f"the answer by UDP is truncated (TC), and {at(query.server)} does not answer by TCP"
    return _stopped(f"{text}: {_dropped_by(query) or result_text(query)}", "allow TCP port 53 too")


def _dropped_by(query: dns.QueryResult) -> str:
    """The rule that dropped a query or its answer; "" if none."""
    rule = next(
        (trace.dropped_by for trace in [*query.inner, *query.outer] if trace.dropped_by), None
    )
    return f"dropped by {rule.table} {rule.chain}: {rule.text}" if rule else ""


def _no_server_named(question: Question) -> Verdict | None:
    if question.servers or question.query.outcome == dns.ANSWER:
        return None
    advice = f"restore the line: nameserver {NAME_SERVER}" if question.has_names else ""
    return _stopped(f"{resolv_conf(question)}, and no server answers there", advice)


def _elsewhere(question: Question) -> Verdict | None:
    """A name that only minidock's DNS server knows, while another server was queried."""
    if question.is_ours or question.known is None:
        return None
    return _stopped(
        f"/etc/resolv.conf in {question.container.name} names {question.query.server}, but only "
        f"{NAME_SERVER} knows {question.name} ({', '.join(question.known)})",
        f"restore the line: nameserver {NAME_SERVER}",
    )


def _not_held(question: Question) -> Verdict | None:
    name, pid = question.owner.name, question.owner.monitor_pid
    if not question.is_ours or question.query.outcome == dns.ANSWER:
        return None
    if pid and are_stopped({pid}):
        text = f"the monitor of {name} (pid {pid}), which serves its DNS, is stopped (SIGSTOP)"
        return _stopped(text, f"kill -CONT {pid}")
    if not question.held_port:
        why = "" if question.has_names else ": there is none on the default network"
        text = f"no monitor has a DNS server's socket in {name}{why}"
        return _stopped(text, f"minidock restart {name}")
    nat = firewall.parse(question.query.saved).get("nat", {})
    leads = f"-j DNAT --to-destination {NAME_SERVER}:{question.held_port}"
    if not any(rule.rstrip().endswith(leads) for rules in nat.values() for rule in rules):
        text = f"the DNAT rule inside {name} from {NAME_SERVER}:53 to its DNS server is missing"
        return _stopped(f"{text}: {leads}", f"minidock restart {name}")
    return None


def _stopped_container(question: Question) -> Verdict | None:
    """A container of that name which is stopped, or on no common network."""
    found = next(
        (c for c in list_containers(question.store) if c.name.lower() == question.name), None
    )
    if found is None or question.known is not None:
        return None
    own = question.owner.name
    if not question.has_names:
        return _stopped(
            f"{own} is on {_network_names(question.networks)}, which has no DNS server: containers "
            "resolve each other's names on user-defined networks only",
            f"minidock network create NAME; minidock network connect NAME {own}; minidock network "
            f"connect NAME {found.name}"
            if question.networks
            else "",
        )
    if not found.running:
        text = f"container {found.name} is not running, so its name has no address"
        return _stopped(text, f"minidock start {found.name}")
    theirs = [n for n in network_json.read_all(question.store) if found.id in n["Leases"]]
    ours = [n["Name"] for n in question.networks if n["Name"] != DEFAULT]
    if any(network["Name"] in ours for network in theirs):
        return None
    return _stopped(
        f"{found.name} is on {_network_names(theirs)}, {own} on "
        f"{_network_names(question.networks)}: names resolve on a shared user-defined network only",
        f"minidock network connect {ours[0]} {found.name}",
    )


def _network_names(networks: list[NetworkDocument]) -> str:
    names = ["the default network" if n["Name"] == DEFAULT else n["Name"] for n in networks]
    return ", ".join(sorted(names)) or "no network of minidock"


def _on_the_way(question: Question) -> Verdict | None:
    """A fault on the path to an external server."""
    found = question.broken.get(question.query.server)
    if question.is_ours or found is None:
        return None
    text = f"{at(question.query.server)}: {result_text(question.query)}; {found.text}"
    return _stopped(text, found.advice)


def _refused(question: Question) -> Verdict | None:
    """An external server is unreachable, says the kernel."""
    query = question.query
    if question.is_ours or query.outcome not in REFUSALS:
        return None
    if not (query.is_path_known or query.failed_at_once):
        return None  # a REJECT rule causes the same error
    text = f"{at(query.server)}: {refusal(query)}"
    return _stopped(text, "see /etc/resolv.conf and `ip route get` inside")


def _internal(question: Question) -> Verdict | None:
    if not question.is_ours or question.leads_outside or question.query.answer != "SERVFAIL":
        return None
    name = question.owner.name
    text = f"{name} is on internal networks only: its DNS server has no upstream servers"
    return _stopped(text, f"no container on these networks has the name {question.name}")


def _unknown(question: Question) -> Verdict | None:
    if question.last.outcome != dns.ANSWER:
        return None
    if question.for_ipv6 and question.for_ipv6.addresses:
        found = ", ".join(question.for_ipv6.addresses)
        also = f"{question.name} has no IPv4 address ({question.last.answer}), only IPv6: {found}"
        return _stopped(also)
    if question.last.code == dns.NXDOMAIN:
        if question.is_ours and question.held_port:
            whom = "no container on its networks, and unknown to the upstream servers"
        else:
            whom = f"says {question.query.server}"
        return _stopped(f"the name {question.name} does not exist: {whom} (NXDOMAIN)")
    if question.last.answer == "NOERROR":
        text = f"{question.name} exists, and has no IPv4 address ({question.last.answer})"
        return _stopped(f"{text}; {ipv6_trouble(question) or 'no IPv6 address either'}")
    return None


def ipv6_trouble(question: Question) -> str:
    """The failure of the AAAA query; "" for a valid answer."""
    query = question.for_ipv6
    if query is None or query.answer == "NOERROR":
        return ""
    why = _dropped_by(query) or result_text(query)
    return f"for IPv6 (AAAA), {at(query.server)} gives no valid answer: {why}"


def _upstream(question: Question) -> Verdict | None:
    """No upstream server answers: each was queried directly."""
    if not question.upstream or any(_is_an_answer(each) for each in question.upstream):
        return None
    failures = []
    for each in question.upstream:
        found = question.broken.get(each.server)
        why = _dropped_by(each) or (found and found.text) or result_text(each)
        failures.append(f"{at(each.server)}: {why}")
    text = f"no container has the name {question.name}, and no upstream server"
    text += " by TCP, which a truncated answer needs," if question.by_tcp else ""
    return _stopped(
        f"{text} answers: {'; '.join(failures)}",
        "minidock run --dns ADDRESS sets another; the default is the host's /etc/resolv.conf at "
        f"the start of {question.container.name}",
    )


def _is_an_answer(query: dns.QueryResult) -> bool:
    return query.answer in ("NOERROR", "NXDOMAIN")


CHECKS: tuple[tuple[str, _Look], ...] = (
    ("the answer", _resolved),
    (_TRACES, _dropped),
    (_BY_TCP, _cut_short),
    ("/etc/resolv.conf", _no_server_named),
    ("the names of containers on its networks", _elsewhere),
    ("the DNS server's monitor, socket and DNAT rule", _not_held),
    ("containers of that name", _stopped_container),
    (_PATH, _on_the_way),
    ("the kernel's refusal", _refused),
    ("internal networks", _internal),
    ("the answer's code", _unknown),
)


BEHIND = (("the upstream servers, queried directly", _upstream), (_BY_TCP, _cut_short))


def first(question: Question, checks: tuple[tuple[str, _Look], ...]) -> Verdict | None:
    """The first cause that a check proves."""
    return next((found for _, look in checks if (found := look(question))), None)


def not_determined(question: Question) -> Verdict:
    """The verdict if no check proves a cause: lists the checks made and skipped."""
    query = question.query
    looked, missed = [], []
    for words, _ in CHECKS[1:]:
        if words == _BY_TCP and not question.by_tcp:
            continue
        if (words == _TRACES and not query.is_path_known) or (
            words == _PATH and ":" in query.server
        ):
            missed.append(words)
        else:
            looked.append(words)
    if question.upstream:
        looked.append("the upstream servers, queried directly")
    text = f"{at(query.server)}: {result_text(query)}; cause not determined; checked: "
    text += ", ".join(looked)
    return _stopped(f"{text}; not checked: {', '.join(missed)}" if missed else text)
