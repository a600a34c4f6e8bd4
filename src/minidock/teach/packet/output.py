"""Print a walk as text or JSON."""

from __future__ import annotations

from textwrap import wrap
from typing import TextIO

from minidock.teach.packet.advice import purpose
from minidock.teach.packet.causes import Verdict
from minidock.teach.packet.counters import Counts
from minidock.teach.packet.dns_walk import DnsWalk
from minidock.teach.packet.steps import Step
from minidock.teach.packet.walk import Hop, Walk
from minidock.teach.page import WIDTH, Paint

_INDENT = 22
_GOOD, _BAD, _PLACE, _FAINT = "1;32", "1;31", "1;34", "2"


class _Page:
    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.paint = Paint(out)

    def line(self, text: str = "") -> None:
        self._out.write(text.rstrip() + "\n")

    def fold(self, text: str, *, first: str, rest: int, code: str = "") -> None:
        lines = wrap(text, WIDTH - rest, break_on_hyphens=False, break_long_words=False)
        for number, piece in enumerate(lines or [""]):
            shown = self.paint(code, piece) if code else piece
            shown = shown.replace("\u00a0", " ")
            self.line((first if number == 0 else " " * rest) + shown)


def write(walk: Walk, out: TextIO) -> None:
    """Print the hops, then the verdict."""
    page, result = _Page(out), walk.result
    container = result.target.container
    what = "One connection" if result.target.protocol == "tcp" else "One datagram"
    origin, port = _origin_text(result.origin), result.target.port
    page.line(f"{what} from {origin} to port {port} of {container.name}")
    page.line()
    for number, hop in enumerate(walk.hops, 1):
        _hop(page, number, hop)
    page.line()
    _verdict(page, walk.verdict, walk.notes)
    advice = walk.verdict.advice
    for table, chain, rule in walk.missing:
        if rule not in advice:
            text = f"also missing in {table}: -A {chain} {rule} ({purpose(table, chain, rule)})"
            page.fold(text, first="  ! ", rest=4)
    if _has_unknown_step(walk):
        text = "Without ←: created by a container that was since removed or restarted"
        page.line()
        page.line("  " + page.paint(_FAINT, text))
    if not result.is_traced:
        _counted(page, walk)


def write_dns(walk: DnsWalk, out: TextIO) -> None:
    """Print the hops of a DNS query, then the verdict."""
    page, question = _Page(out), walk.question
    page.line(f"One DNS query from {question.container.name} for the address of {question.name}")
    page.line()
    for number, hop in enumerate(walk.hops, 1):
        _hop(page, number, hop)
    page.line()
    _verdict(page, walk.verdict, walk.notes)


def _verdict(page: _Page, verdict: Verdict, notes: list[str]) -> None:
    good = verdict.status != "stopped"
    first = "  " if good else "  stopped: "
    page.fold(verdict.text, first=first, rest=len(first), code=_GOOD if good else _BAD)
    if verdict.advice:
        page.fold(verdict.advice, first="  → ", rest=4)
    for note in notes:
        page.fold(note, first="  ! ", rest=4)


def _hop(page: _Page, number: int, hop: Hop) -> None:
    place = page.paint(_BAD if hop.is_end else _PLACE, f"{hop.place:<16}")
    page.fold(hop.text + _made_by(hop.step), first=f"{number:>4}  {place}", rest=_INDENT)
    for applied in hop.rules:
        page.fold(
            applied.rule + _made_by(applied.step),
            first=" " * _INDENT,
            rest=_INDENT + 3,
            code=_FAINT,
        )


def _made_by(step: Step | None) -> str:
    """The step, with no-break spaces inside."""
    return f"  ← {step}".replace(" ", "\u00a0").replace("\u00a0", " ", 1) if step else ""


def _has_unknown_step(walk: Walk) -> bool:
    """Whether a rule or device of minidock has no step in any journal."""
    steps = [hop.step for hop in walk.hops if hop.place in ("routing", "bridge", "veth")]
    rules = [applied for hop in walk.hops for applied in hop.rules]
    steps += [applied.step for applied in rules if "MINIDOCK-" in applied.rule]
    return None in steps


def _counted(page: _Page, walk: Walk) -> None:
    page.line()
    page.fold(
        "This host uses iptables-legacy, which cannot trace a packet. The rules above are those "
        "whose counters increased, by this packet or by another.",
        first="  ",
        rest=2,
    )


def _origin_text(origin: str) -> str:
    places = {"host": "this host", "outside": "another machine (simulated)"}
    return places.get(origin, f"container {origin}")


def plain(walk: Walk, counts: Counts | None = None) -> dict[str, object]:
    """A walk as a JSON object. counts: the rules' counters now, as counters.read_now has them."""
    result = walk.result
    return {
        "port": result.target.port,
        "container": result.target.container.id,
        "from": result.origin,
        "outcome": result.outcome,
        "us": result.us,
        "status": walk.verdict.status,
        "verdict": walk.verdict.text,
        "advice": walk.verdict.advice,
        "notes": walk.notes,
        "hops": [_plain_hop(hop, counts or {}) for hop in walk.hops],
        "missing": [
            {"table": table, "rule": f"-A {chain} {rule}", "without": purpose(table, chain, rule)}
            for table, chain, rule in walk.missing
        ],
        "listeners": [{"place": each.place, "process": each.process} for each in result.listeners],
        "traced": result.is_traced,
    }


def plain_dns(walk: DnsWalk, counts: Counts | None = None) -> dict[str, object]:
    """A DNS query as a JSON object. counts: as in `plain`."""
    question = walk.question
    return {
        "container": question.container.id,
        "name": question.name,
        "server": question.query.server,
        "outcome": question.last.answer,
        "addresses": question.last.addresses,
        "ipv6_addresses": question.for_ipv6.addresses if question.for_ipv6 else [],
        "us": question.last.us,
        "status": walk.verdict.status,
        "verdict": walk.verdict.text,
        "advice": walk.verdict.advice,
        "notes": walk.notes,
        "hops": [_plain_hop(hop, counts or {}) for hop in walk.hops],
        "traced": question.query.is_path_known,
    }


def _plain_hop(hop: Hop, counts: Counts) -> dict[str, object]:
    return {
        "netns": hop.netns,
        "back": hop.is_back,
        "place": hop.place,
        "text": hop.text,
        "end": hop.is_end,
        "step": hop.step._asdict() if hop.step else None,
        "rules": [
            {
                "table": applied.table,
                "rule": applied.rule,
                "counter": counts.get((hop.netns, applied.table, applied.rule)),
                "step": applied.step._asdict() if applied.step else None,
            }
            for applied in hop.rules
        ],
    }
