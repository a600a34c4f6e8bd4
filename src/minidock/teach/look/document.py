"""The scene as the JSON document that the page reads; page/data.js is its reader."""

from __future__ import annotations

import json

from minidock.teach.journal_reader import purpose_of_function
from minidock.teach.look.memberships import memberships_of
from minidock.teach.look.phrases import phrase_of
from minidock.teach.look.rows import ROWS, texts_of
from minidock.teach.look.scene import Scene
from minidock.teach.look.words import words
from minidock.teach.op_page import WITHOUT, pieces
from minidock.teach.story import reason
from minidock.teach.twin import Twins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.teach.journal_reader import JournalEntry
    from minidock.teach.language import Language
    from minidock.teach.look.scene import Step
    from minidock.teach.subject import Subject

    Document = dict[str, Any]  # of JSON, read by the page alone


def document_of(subjects: list[Subject], language: Language) -> Document:
    """All that an exported page shows: words, rows, texts of operations, a story each."""
    scenes = [Scene(subject.ops) for subject in subjects]
    return {
        **empty_document(language),
        "ops": {name: text for scene in scenes for name, text in ops_of(scene, language).items()},
        "stories": [
            story_of(subject, scene, language)
            for subject, scene in zip(subjects, scenes, strict=True)
        ],
    }


def empty_document(language: Language) -> Document:
    """What a page shows before it knows a story: words and rows."""
    return {
        "language": language.info().get("language", "en"),
        "words": words(language.gettext),
        "rows": [{"name": row, **texts_of(row, language.gettext)} for row in ROWS],
        "ops": {},
        "stories": [],
    }


def ops_of(scene: Scene, language: Language, waiting: Step | None = None) -> Document:
    """The texts of each operation that occurs."""
    found: Document = {}
    for step in [*scene.steps, *([waiting] if waiting else [])]:
        record = step.entry.record
        if record["op"] not in found:
            why = record["why"]
            found[record["op"]] = {
                "man": record["man"],
                "why": language.gettext(why) if why else "",
                "without": _without(record["op"], language),
            }
    return found


def _without(name: str, language: Language) -> str:
    from minidock.kernel.op import REGISTRY

    op = REGISTRY.get(name)
    texts = [language.gettext(text) for kind, text in pieces(op) if kind == WITHOUT] if op else []
    return " ".join(texts)


def story_of(
    subject: Subject, scene: Scene, language: Language, waiting: Step | None = None
) -> Document:
    """A subject's operations, and the things that they change.

    waiting: the operation that `run --step` waits before; the scene does not have it.
    """
    began = min((entry.record["t"] for entry in subject.ops), default=0)
    # Without variables: each twin is whole, and can be copied alone.
    twins = Twins({}, with_tools=False, gettext=language.gettext)
    phases: dict[tuple[str, str, str], int] = {}
    twin_of = _planned_twin if subject.is_plan else twins.write
    steps = [_step(step, twin_of(step.entry), phases, began) for step in scene.steps]
    following: Document = {}
    if waiting is not None:
        entry = waiting.entry
        step = _step(waiting, twins.write(entry), phases, began)
        following = {"next": {"id": entry.record["id"], **step}}
    return {
        "title": subject.title,
        **following,
        "id": next((path for path, name in subject.paths.items() if name == "$ID"), ""),
        "isPlan": subject.is_plan,
        "memberships": memberships_of(subject.ops),
        "things": [[thing.kind, thing.name, thing.tile] for thing in scene.things.values()],
        "first": scene.first,
        "phases": [_phase(*phase, language) for phase in phases],
        "phrases": {row: phrase_of(row, scene, language.gettext) for row in ROWS},
        "steps": steps,
    }


def _planned_twin(entry: JournalEntry) -> str:
    """The twin of a planned operation, in which slots are variables."""
    return entry.record["twin"]


def _phase(actor: str, module: str, function: str, language: Language) -> list[str]:
    purpose = purpose_of_function(module, function)
    return [actor, f"{module}.{function}", language.gettext(purpose) if purpose else ""]


def _step(step: Step, twin: str, phases: dict[tuple[str, str, str], int], began: int) -> Document:
    """An operation. phases: each with its number; a new one is added."""
    entry = step.entry
    record = entry.record
    found: Document = {
        "n": entry.number,
        "actor": record["actor"],
        "op": record["op"],
        "args": [[name, _text(value)] for name, value in record["args"].items()],
        "t": max(0, record["t"] - began) // 1000,
        "us": entry.us,
        "rows": [ROWS.index(row) for row in step.rows],
        "phase": phases.setdefault(step.phase, len(phases)),
        "changes": [[thing.number, state, note] for thing, state, note in step.changes],
        "twin": twin,
    }
    if entry.made is not None:
        found["made"] = _text(entry.made)
    if entry.waits:
        found["wait"] = True
    if entry.errno is not None:
        found["failed"] = reason(entry)
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
