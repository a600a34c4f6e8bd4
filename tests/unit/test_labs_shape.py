"""Every lab of labs/, and the template of one, has the shape that docs/teaching.md tells of.

What a lab's exam says of programs, test_labs.py asks; here it is only read, without root.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.teach.op_page import ops_named
from support.command import REPOSITORY

LABS = REPOSITORY / "labs"
TEMPLATE = LABS / "template"
NUMBERED = sorted(folder for folder in LABS.iterdir() if re.fullmatch(r"\d\d-[a-z-]+", folder.name))
TITLES = [f"{number:02}" for number in range(12)]

HEADINGS = (r"## (The task|What is graded)", "## Check your work", "## Going further")
LAB_KEYS = {"title", "about", "minutes", "explain", "read"}
ITEM_KEYS = {"name", "points", "expect", "hint"}
MUTANT_KEYS = {"name", "file", "find", "put", "loses"}


def files_of(folder: Path) -> dict[str, str]:
    """The files below a folder that a student would get, by their paths in it."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def start_of(lab: Path, language: str = "") -> dict[str, str]:
    """What a lab starts with: the skeletons and solutions of those before, and its own skeleton.

    language: "" for Python, "-c" for C, which not all labs have.
    """
    files: dict[str, str] = {}
    for other in NUMBERED:
        if lab.name == "template" or other.name < lab.name:
            files |= files_of(other / f"skeleton{language}")
            files |= files_of(other / f"solution{language}")
    return files | files_of(lab / f"skeleton{language}")


def problems(lab: Path) -> Iterator[str]:
    """What a lab does not have, or has and should not."""
    number = lab.name[:2] if lab.name[:2].isdecimal() else "NN"
    rubric, exam = lab / "rubric.toml", lab / f"exam_{number}.py"
    missing = [
        path.name
        for path in (rubric, exam, *(lab / name for name in ("mutants.toml", "README.md",
                                                            "NOTES.md", "skeleton", "solution")))
        if not path.exists()
    ]  # fmt: skip
    if missing:
        yield f"it has no {', '.join(missing)}"
        return
    document = tomllib.loads(rubric.read_text())
    items = document.get("item", [])
    yield from problems_of_rubric(document)
    yield from problems_of_exam(exam, items)
    yield from problems_of_mutants(lab, items)
    yield from problems_of_files(lab)
    yield from problems_of_words(lab, number)


def problems_of_rubric(document: dict[str, Any]) -> Iterator[str]:
    about, items = document.get("lab", {}), document.get("item", [])
    if lacking := LAB_KEYS - set(about):
        yield f"[lab] lacks {sorted(lacking)}"
    if unknown := set(document) - {"lab", "limits", "item"}:
        yield f"rubric.toml has {sorted(unknown)}"
    if unknown := set(document.get("limits", {})) - {"seconds", "memory_mib", "pids"}:
        yield f"[limits] has {sorted(unknown)}"
    if not isinstance(about.get("minutes"), int):
        yield "minutes is no whole number"
    for topic in about.get("explain", []):
        if not ops_named(topic):
            yield f"`minidock explain {topic}` knows nothing"
    for path in about.get("read", []):
        if not (REPOSITORY / path).exists():
            yield f"{path} is to be read, and is not there"
    yield from problems_of_items(items)


def problems_of_items(items: list[dict[str, Any]]) -> Iterator[str]:
    if sum(item.get("points", 0) for item in items) != 100:
        yield f"the points sum to {sum(item.get('points', 0) for item in items)}"
    seen: list[str] = []
    for item in items:
        name = item.get("name", "")
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or name in seen:
            yield f"{name!r} is no name, or twice"
        if (lacking := ITEM_KEYS - set(item)) or not all(item.values()):
            yield f"{name} lacks {sorted(lacking)}"
        if unknown := set(item) - ITEM_KEYS - {"needs", "probe"}:
            yield f"{name} has {sorted(unknown)}"
        # Only what stands above may be needed: so nothing needs itself, by whatever way.
        if unknown := set(item.get("needs", [])) - set(seen):
            yield f"{name} needs {sorted(unknown)}, which is not above it"
        seen.append(name)


def problems_of_exam(exam: Path, items: list[dict[str, Any]]) -> Iterator[str]:
    tree = ast.parse(exam.read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for item in items:
        probe = item.get("probe") or item.get("name", "").replace("-", "_")
        if probe not in functions:
            yield f"{exam.name} has no function {probe}"
        elif [a.arg for a in functions[probe].args.args] != ["exam"]:
            yield f"{probe} takes something else than the exam"
    for module in imported(tree):
        allowed = module == "minidock.teach.lab.exam"
        if not allowed and module.partition(".")[0] not in sys.stdlib_module_names:
            yield f"{exam.name} imports {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep"):
            yield f"{exam.name} sleeps for a fixed time"


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def problems_of_mutants(lab: Path, items: list[dict[str, Any]]) -> Iterator[str]:
    mutants = tomllib.loads((lab / "mutants.toml").read_text()).get("mutant", [])
    solution = start_of(lab) | files_of(lab / "solution")
    needs = {item.get("name"): item.get("needs", []) for item in items}
    if len(mutants) < 4 or len({mutant.get("name") for mutant in mutants}) < len(mutants):
        yield f"it has {len(mutants)} mutants of different names"
    shown = {item for mutant in mutants for item in mutant.get("loses", [])}
    if never := sorted(set(needs) - shown):
        yield f"no mutant loses {', '.join(never)}"
    for mutant in mutants:
        if set(mutant) != MUTANT_KEYS:
            yield f"a mutant has {sorted(mutant)}"
            continue
        name, text = mutant["name"], solution.get(mutant["file"], "")
        if text.count(mutant["find"]) != 1:
            yield f"what mutant {name!r} replaces is {text.count(mutant['find'])} times there"
        elif mutant["file"].endswith(".py") and not compiles(
            text.replace(mutant["find"], mutant["put"])
        ):
            yield f"mutant {name!r} is no Python"
        lost = set(mutant["loses"])
        if not lost or not lost <= set(needs):
            yield f"mutant {name!r} loses {sorted(lost - set(needs))}"
        if with_it := {item for item, need in needs.items() if set(need) & lost} - lost:
            yield f"mutant {name!r} loses {sorted(with_it)}, too, which need what it loses"


def compiles(text: str) -> bool:
    try:
        compile(text, "a lab's file", "exec")
    except SyntaxError:
        return False
    return True


def problems_of_files(lab: Path) -> Iterator[str]:
    start, solution = start_of(lab), files_of(lab / "solution")
    skeleton = files_of(lab / "skeleton")
    if "box" not in start:
        yield "there is no box in what it starts with"
    for name, text in solution.items():
        if name not in start:
            yield f"solution/{name} is not in what the student starts with"
        elif text == start[name]:
            yield f"solution/{name} is what the student starts with"
    for name, text in {**skeleton, **solution}.items():
        if name.endswith(".py") and not compiles(text):
            yield f"{name} is no Python"
    if not any("TODO" in skeleton.get(name, "") for name in solution):
        yield "nothing in skeleton/ says TODO"
    if todo := [name for name, text in solution.items() if "TODO" in text]:
        yield f"the solution has a TODO in {', '.join(todo)}"
    if (lab / "skeleton-c").exists() != (lab / "solution-c").exists():
        yield "skeleton-c and solution-c: one is not there"
    elif (lab / "skeleton-c").exists():
        yield from problems_of_c(lab)


def problems_of_c(lab: Path) -> Iterator[str]:
    skeleton, solution = files_of(lab / "skeleton-c"), files_of(lab / "solution-c")
    start = start_of(lab, "-c")
    if "Makefile" not in start:
        yield "there is no Makefile in what it starts with in C"
    if not any("TODO" in text for text in skeleton.values()):
        yield "nothing in skeleton-c says TODO"
    if lower := [n for n in set(start) - set(skeleton) if "TODO" in start[n]]:
        yield f"what lies below it in C has a TODO in {', '.join(lower)}"
    for name, text in solution.items():
        if name not in skeleton or skeleton[name] == text or "TODO" in text:
            yield f"solution-c/{name} is not in skeleton-c, or the same, or has a TODO"


def problems_of_words(lab: Path, number: str) -> Iterator[str]:
    readme, notes = (lab / "README.md").read_text(), (lab / "NOTES.md").read_text()
    if not re.match(rf"# Lab {number}: \S", readme):
        yield f"README.md does not begin with '# Lab {number}: …'"
    for heading in HEADINGS:
        if not re.search(f"^{heading}", readme, re.MULTILINE):
            yield f"README.md has no heading '{heading}'"
    for words in ("minidock explain ", "src/minidock/", "minidock lab check"):
        if words not in readme:
            yield f"README.md says nothing of '{words}'"
    for path in re.findall(r"`(src/minidock/[\w/.]+)`", readme):
        if not (REPOSITORY / path).exists():
            yield f"README.md names {path}, which is not there"
    for words in ("time", "mistake|stuck|go wrong|goes wrong", "discuss"):
        if not re.search(words, notes, re.IGNORECASE):
            yield f"NOTES.md says nothing of {words}"


def test_there_are_twelve_labs() -> None:
    assert [lab.name[:2] for lab in NUMBERED] == TITLES


@pytest.mark.parametrize("lab", [*NUMBERED, TEMPLATE], ids=lambda lab: str(lab.name))
def test_a_lab_has_the_shape_of_one(lab: Path) -> None:
    assert list(problems(lab)) == []


def test_three_labs_can_be_done_in_c() -> None:
    assert len([lab for lab in NUMBERED if (lab / "skeleton-c").exists()]) >= 3


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(lab: Path) -> None:
        text = (lab / name).read_text()
        assert old in text
        (lab / name).write_text(text.replace(old, new))

    return change


# What is wrong in a copy of the template -> what is said of it
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "no notes": (lambda lab: (lab / "NOTES.md").unlink(), "it has no NOTES.md"),
    "points": (replaced("rubric.toml", "points = 35", "points = 36"), "the points sum to 101"),
    "topic": (replaced("rubric.toml", "set_rlimit", "nonsense"), "`minidock explain nonsense`"),
    "reading": (replaced("rubric.toml", "kernel/rlimit.py", "kernel/no.py"), "is to be read"),
    "typo": (replaced("rubric.toml", "hint =", "hints ="), "lacks ['hint']"),
    "needs": (replaced("rubric.toml", '["soft-limit"]', '["later"]'), "needs ['later']"),
    "probe": (replaced("exam_NN.py", "def too_high", "def to_high"), "has no function too_high"),
    "import": (replaced("exam_NN.py", "import Exam", "import x\nimport minidock.kernel #"),
               "imports minidock.kernel"),
    "pause": (replaced("exam_NN.py", "_, box = exam", "time.sleep(1)\n    _, box = exam"),
              "sleeps for a fixed time"),
    "mutant's place": (replaced("mutants.toml", "def inside(box):", "def inside():"),
                       "is 0 times there"),
    "mutant's needs": (replaced("mutants.toml", '"own-limit", "too-high"', '"own-limit"'),
                       "loses ['too-high'], too"),
    "mutant's item": (replaced("mutants.toml", '["own-limit"]', '["nobody"]'), "loses ['nobody']"),
    "mutant's Python": (replaced("mutants.toml", "def before(box):", "def before(box)"),
                        "is no Python"),
    "an item of no mutant": (replaced("mutants.toml", '"own-limit"', '"too-high"'),
                             "no mutant loses own-limit"),
    "few mutants": (replaced("mutants.toml", "[[mutant]]\nname = \"another", "[[x]]\nname = \"x"),
                    "it has 3 mutants"),
    "solution": (lambda lab: shutil.copy(lab / "skeleton/limits.py", lab / "solution/limits.py")
                 and None, "is what the student starts with"),
    "heading": (replaced("README.md", "## Going further", "## More"), "has no heading"),
    "C": (lambda lab: os.mkdir(lab / "skeleton-c"), "one is not there"),
    "source": (replaced("README.md", "runtime/process_config.py`", "runtime/none.py`"),
               "is not there"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_a_lab_lacks_is_found(what: str, tmp_path: Path) -> None:
    lab = tmp_path / "template"
    shutil.copytree(TEMPLATE, lab)
    change, said = WRONG[what]
    change(lab)
    assert any(said in problem for problem in problems(lab)), list(problems(lab))
