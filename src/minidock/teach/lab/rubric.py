"""A lab's rubric as data (rubric.toml): items, points, expectations and hints.

    [lab]      title, about, minutes, explain = [topics], read = [files of minidock's source]
    [limits]   seconds (a run of the program), memory_mib, pids (the sandbox); optional
    [[item]]   name, points, expect, hint; probe (default: the name with _ for -), needs = [items]

An item that needs others is lost with them, and its probe does not run. Reading refuses unknown
keys, and points that do not sum to 100.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NotRequired, TypedDict

from minidock.errors import MinidockError
from minidock.teach.lab.sandbox import Limits

TOTAL = 100


@dataclass(frozen=True)
class Item:
    """One item; probe: the name of a function of the exam."""

    name: str
    points: int
    expect: str
    hint: str
    probe: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Rubric:
    """A rubric.toml; minutes: the time that the lab takes."""

    title: str
    about: str
    minutes: int
    explain: tuple[str, ...]
    read: tuple[str, ...]
    limits: Limits
    items: tuple[Item, ...]

    def with_needs(self, names: list[str]) -> list[Item]:
        """These items and every item that they need, in the rubric's order."""
        wanted = set(names)
        for item in reversed(self.items):
            if item.name in wanted:
                wanted.update(item.needs)
        return [item for item in self.items if item.name in wanted]


class BadRubric(MinidockError):
    """An invalid rubric: its author's mistake, not the student's."""


def read(folder: str) -> Rubric:
    """Read the rubric of a lab's folder.

    Raises BadRubric for unknown keys, unknown or later needs, and points that are not 100 in all.
    """
    path = f"{folder}/rubric.toml"
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
        return _rubric(document)
    except FileNotFoundError:
        raise BadRubric(f"{path} does not exist") from None
    except RecursionError:
        raise BadRubric(f"{path}: nested too deeply") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRubric(f"{path}: {error}") from None


class ItemTable(TypedDict):
    """An [[item]] of a rubric."""

    name: str
    points: int
    expect: str
    hint: str
    probe: NotRequired[str]
    needs: NotRequired[list[str]]


def _rubric(document: dict[str, Any]) -> Rubric:  # TOML, not checked yet
    _check_keys(document, ("lab", "limits", "item"), "the rubric")
    lab = document["lab"]
    _check_keys(lab, ("title", "about", "minutes", "explain", "read"), "[lab]")
    limits = document.get("limits", {})
    _check_keys(limits, tuple(field.name for field in fields(Limits)), "[limits]")
    items = tuple(_item(entry) for entry in document["item"])
    _check(items)
    return Rubric(
        lab["title"], lab["about"], lab["minutes"], tuple(lab["explain"]), tuple(lab["read"]),
        Limits(**limits), items,
    )  # fmt: skip


def _item(entry: ItemTable) -> Item:
    name = entry["name"]
    _check_keys(entry, ("name", "points", "expect", "hint", "probe", "needs"), f"item {name}")
    probe = entry.get("probe", name.replace("-", "_"))
    needs = tuple(entry.get("needs", ()))
    return Item(name, entry["points"], entry["expect"], entry["hint"], probe, needs)


def _check(items: tuple[Item, ...]) -> None:
    total = sum(item.points for item in items)
    if total != TOTAL:
        raise ValueError(f"the points sum up to {total}, not {TOTAL}")
    seen: set[str] = set()
    for item in items:
        if item.name in seen:
            raise ValueError(f"item {item.name} appears twice")
        if unknown := set(item.needs) - seen:
            raise ValueError(f"item {item.name} needs {sorted(unknown)}, which must come before it")
        seen.add(item.name)


def _check_keys(entry: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    if unknown := set(entry) - set(known):
        raise ValueError(f"{where} has {sorted(unknown)}; known: {', '.join(known)}")
