"""A walk for people, and the same as JSON."""

from __future__ import annotations

from textwrap import wrap
from typing import Any, TextIO

from minidock.teach.packet.advice import purpose
from minidock.teach.packet.causes import Verdict
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
    """The hops, one below the other, then the verdict."""
    page, seen = _Page(out), walk.seen
    container = seen.target.container
    what = "One connection" if seen.target.protocol == "tcp" else "One datagram"
    page.line(f"{what} from {_whence(seen.origin)} to port {seen.target.port} of {container.name}")
    page.line()
    for number, hop in enumerate(walk.hops, 1):
        _hop(page, number, hop)
    page.line()
    _verdict(page, walk.verdict, walk.notes)
    told = walk.verdict.advice
    for table, chain, rule in walk.missing:
        if rule not in told:
            text = f"also missing in {table}: -A {chain} {rule} ({purpose(table, chain, rule)})"
            page.fold(text, first="  ! ", rest=4)
    if _has_nameless(walk):
        text = "Without ←: made by a container that was removed, or started again, since"
        page.line()
        page.line("  " + page.paint(_FAINT, text))
    if not seen.is_traced:
        _counted(page, walk)


def write_dns(walk: DnsWalk, out: TextIO) -> None:
    """The hops of a question for a name, then the verdict."""
    page, question = _Page(out), walk.question
    page.line(f"One question from {question.container.name} for the address of {question.name}")
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
    for because in hop.rules:
        page.fold(
            because.rule + _made_by(because.step),
            first=" " * _INDENT,
            rest=_INDENT + 3,
            code=_FAINT,
        )


def _made_by(step: Step | None) -> str:
    """The step, in one piece: no line is broken inside it."""
    return f"  ← {step}".replace(" ", "\u00a0").replace("\u00a0", " ", 1) if step else ""


def _has_nameless(walk: Walk) -> bool:
    """Whether something of minidock's own was made by a step that no journal has any more."""
    steps = [hop.step for hop in walk.hops if hop.place in ("routing", "bridge", "cable")]
    rules = [because for hop in walk.hops for because in hop.rules]
    steps += [because.step for because in rules if "MINIDOCK-" in because.rule]
    return None in steps


def _counted(page: _Page, walk: Walk) -> None:
    page.line()
    page.fold(
        "iptables is of the legacy kind here, and does not tell what it does with one packet. The "
        "rules above are those whose counters rose meanwhile, by this packet or by another.",
        first="  ",
        rest=2,
    )


def _whence(origin: str) -> str:
    places = {"host": "this host", "outside": "a machine next door"}
    return places.get(origin, f"container {origin}")


def plain(walk: Walk) -> dict[str, Any]:
    """A walk as JSON has it."""
    seen = walk.seen
    return {
        "port": seen.target.port,
        "container": seen.target.container.id,
        "from": seen.origin,
        "outcome": seen.outcome,
        "us": seen.us,
        "status": walk.verdict.status,
        "verdict": walk.verdict.text,
        "advice": walk.verdict.advice,
        "notes": walk.notes,
        "hops": [_plain_hop(hop) for hop in walk.hops],
        "missing": [
            {"table": table, "rule": f"-A {chain} {rule}", "without": purpose(table, chain, rule)}
            for table, chain, rule in walk.missing
        ],
        "listeners": [{"place": each.place, "process": each.process} for each in seen.listeners],
        "traced": seen.is_traced,
    }


def plain_dns(walk: DnsWalk) -> dict[str, Any]:
    """A question for a name as JSON has it."""
    question = walk.question
    return {
        "container": question.container.id,
        "name": question.name,
        "server": question.asked.server,
        "outcome": question.last.answer,
        "addresses": question.last.addresses,
        "ipv6_addresses": question.for_ipv6.addresses if question.for_ipv6 else [],
        "us": question.last.us,
        "status": walk.verdict.status,
        "verdict": walk.verdict.text,
        "advice": walk.verdict.advice,
        "notes": walk.notes,
        "hops": [_plain_hop(hop) for hop in walk.hops],
        "traced": question.asked.is_followed,
    }


def _plain_hop(hop: Hop) -> dict[str, Any]:
    return {
        "place": hop.place,
        "text": hop.text,
        "end": hop.is_end,
        "step": hop.step._asdict() if hop.step else None,
        "rules": [
            {
                "table": because.table,
                "rule": because.rule,
                "step": because.step._asdict() if because.step else None,
            }
            for because in hop.rules
        ],
    }
