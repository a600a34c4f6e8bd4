"""Run an exam: a lab's probes, one item after the other, on one student's files."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from dataclasses import dataclass
from errno import EACCES, EPERM, EROFS

from minidock.errors import KernelError, MinidockError
from minidock.teach.lab import make, sandbox_cgroup
from minidock.teach.lab.exam import Exam
from minidock.teach.lab.failure import Failure
from minidock.teach.lab.folder import Lab
from minidock.teach.lab.rubric import Item, Rubric
from minidock.teach.lab.submission_files import Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_MAX_SEEN_CHARS = 600


@dataclass(frozen=True)
class Result:
    """The result of one item.

    seen: what the probe saw. unmet_needs: the failed items that it depends on; empty if it ran.
    """

    item: Item
    passed: bool
    seen: str
    seconds: float
    unmet_needs: tuple[str, ...] = ()

    @property
    def points(self) -> int:
        """The points that it earns."""
        return self.item.points if self.passed else 0


class GraderError(MinidockError):
    """The grader itself failed, whatever the program did: there is no grade."""


def run_exam(
    lab: Lab,
    rubric: Rubric,
    files: Files,
    names: list[str] | None = None,
    *,
    on_item: Callable[[Item], None] = lambda item: None,
) -> list[Result]:
    """Run the probes of these items and of what they need (by default all), in the rubric's order.

    files: the student's. on_item: called with each item before its probe.
    Raises GraderError, KeyError for an unknown item name.
    """
    items = list(rubric.items) if names is None else rubric.with_needs(names)
    exam_module = _load(lab)
    sandbox_cgroup.remove_stale()
    try:
        built = make.build(files, rubric.limits)
    except Failure as failure:
        return [Result(item, False, sanitize(str(failure)), 0.0) for item in items]
    results: dict[str, Result] = {}
    with Exam(built, rubric.limits) as exam:
        for item in items:
            on_item(item)
            results[item.name] = _run_probe(exam_module, exam, item, results)
    return list(results.values())


def _run_probe(module: ModuleType, exam: Exam, item: Item, results: dict[str, Result]) -> Result:
    missing = tuple(name for name in item.needs if not results[name].passed)
    if missing:
        return Result(item, False, f"not tested: needs {', '.join(missing)}", 0.0, missing)
    probe = getattr(module, item.probe, None)
    if probe is None:
        raise GraderError(f"{module.__file__} has no probe {item.probe} for the item {item.name}")
    started = time.monotonic()
    try:
        passed, seen = True, str(probe(exam))
    except Failure as failure:
        passed, seen = False, str(failure)
    except Exception as error:
        raise GraderError(
            f"the exam itself failed at {item.name}: {type(error).__name__}: {error}",
            hint=_hint(error),
        ) from error
    return Result(item, passed, sanitize(seen), time.monotonic() - started)


def sanitize(seen: str) -> str:
    """Make a text safe for any terminal and report: a program may have printed parts of it."""
    text = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in seen)
    return text if len(text) <= _MAX_SEEN_CHARS else f"{text[:_MAX_SEEN_CHARS]}…"


def _hint(error: Exception) -> str:
    """What to do about a failure of the grader itself."""
    if isinstance(error, KernelError) and error.errno in (EPERM, EACCES, EROFS):
        return (
            "this is not a grade: the machine does not permit sandboxes.\n"
            "In a container, they need: docker run --privileged --cgroupns private"
        )
    if isinstance(error, MinidockError) and error.hint:
        return f"this is not a grade: {error.hint}"
    return "this is not a grade; --debug shows where it failed. Please report it"


def _load(lab: Lab) -> ModuleType:
    """Import the lab's exam, a module of minidock; nothing of a student's is imported."""
    path = lab.exam_file
    if not os.path.isfile(path):
        raise GraderError(f"{path} does not exist")
    name = f"minidock_exam_{lab.number:02}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module
