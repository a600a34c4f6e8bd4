"""explain: journals and docstrings as pages, read from what the tests make up."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections import Counter
from itertools import pairwise
from pathlib import Path
from token import NAME
from typing import Any

import pytest

from minidock.errors import NotFound
from minidock.kernel.op import REGISTRY
from minidock.teach.calls import SOURCE, call_sites
from minidock.teach.journal_reader import JournalReader, load_ops, purpose_of_function, split_phase
from minidock.teach.language import language
from minidock.teach.op_page import ops_named, pieces
from minidock.teach.page import Page
from minidock.teach.story import Story
from minidock.teach.subject import read_ops

load_ops()
ENGLISH = language("en")
PIVOT = {"op": "mount.pivot_root", "args": {"new_root": "/store/c1/merged", "put_old": "."},
         "phase": "runtime.rootfs.enter_steps", "line": 100}  # fmt: skip
EXECUTE = {"op": "process.execute", "phase": "runtime.process_config.final_steps", "line": 1,
           "args": {"path": "/bin/sh", "argv": ["sh"], "environment": ["A=…"]}}  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def begin(number: int, what: dict[str, Any], actor: str = "init", ms: int = 0) -> str:
    record = {
        "id": f"{actor}.{number}",
        "begin": number,
        "actor": actor,
        "pid": 1,
        "t": ms * 1_000_000,
        **what,
    }
    return json.dumps(record)


def end(number: int, actor: str = "init", **outcome: Any) -> str:
    return json.dumps(
        {"id": f"{actor}.{number}", "end": number, "actor": actor, "pid": 1, "us": 12, **outcome}
    )


def story(lines: list[str], out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    entry = Story(Page(out, ENGLISH), {"/store/c1": "$C"})
    reader = JournalReader()
    for op in [op for line in lines for op in reader.read(line)] + reader.unfinished():
        entry.write(op)
    return out.getvalue()


def test_a_chapter_opens_with_process_phase_and_time() -> None:
    text = story([begin(1, PIVOT), end(1), begin(2, EXECUTE, ms=3)])
    rules = re.findall(r"^(\w+) · ([\w.]+) ─+ \+(.*)$", text, re.M)
    assert rules == [
        ("init", "runtime.rootfs", "0 µs"),
        ("init", "runtime.process_config", "3.0 ms"),
    ]
    assert "enter_steps: Change the root to the rootfs" in text


def test_what_a_chapter_has_said_is_not_said_again() -> None:
    why = REGISTRY["mount.pivot_root"].why
    text = story([begin(1, PIVOT), end(1), begin(2, PIVOT), end(2)])
    assert text.count(why) == text.count("enter_steps") == 1
    text = story([begin(1, PIVOT), end(1), begin(2, EXECUTE), begin(3, PIVOT), end(3)])
    assert text.count(why) == 2


def test_each_op_stands_below_its_phase() -> None:
    inner = {**PIVOT, "phase": "runtime.rootfs.tree_steps"}
    comprehension = {**PIVOT, "phase": "runtime.rootfs.tree_steps.<locals>.<listcomp>"}
    phases = (PIVOT, inner, comprehension, PIVOT)
    lines = [text for n, what in enumerate(phases) for text in (begin(n, what), end(n))]
    entry = re.findall(r"^  (\w+)(?::|$)|^ +(\d)   mount", story(lines), re.M)
    order = [phase or int(number) for phase, number in entry]
    assert order == ["enter_steps", 1, "tree_steps", 2, 3, "enter_steps", 4]


def test_two_processes_in_one_module_are_two_chapters() -> None:
    text = story([begin(1, PIVOT, "init"), end(1, "init"), begin(1, PIVOT, "stage")])
    assert re.findall(r"^(\w+) · runtime.rootfs", text, re.M) == ["init", "stage"]


def test_paths_are_shortened() -> None:
    assert "$ pivot_root $C/merged .\n" in story([begin(1, PIVOT)])


def test_a_refused_op_has_errno_and_hint() -> None:
    text = story([begin(1, PIVOT), end(1, errno=22, said="pivot_root(2) …", hint="do\nthis")])
    assert "failed: Invalid argument (EINVAL)\n" in text
    assert "hint: do\n" in text and "hint: this\n" in text


def test_an_op_that_failed_without_the_kernel_tells_the_errors_own_words() -> None:
    text = story([begin(1, PIVOT), end(1, errno=0, said="iptables-restore: no such chain\nx")])
    assert "failed: iptables-restore: no such chain\n" in text


def test_colours_are_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [begin(1, PIVOT), end(1, errno=22)]
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" not in story(lines)
    coloured = story(lines, Terminal())
    assert "\x1b[1;31mfailed" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == story(lines)
    monkeypatch.setenv("NO_COLOR", "1")
    assert story(lines, Terminal()) == story(lines)


def test_a_journal_of_another_version_is_explained_as_far_as_possible() -> None:
    strange = {**PIVOT, "op": "mount.turn_root", "phase": "runtime.gone.steps"}
    other = {**PIVOT, "args": {"root": "/x"}}
    text = story([begin(1, strange), end(1), begin(2, other), end(2), begin(3, PIVOT), end(3)])
    assert text.count("An operation that this version of minidock does not have.") == 2
    assert "mount.turn_root(new_root=$C/merged" in text and "$ pivot_root $C/merged ." in text


def test_a_record_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_text(f"{begin(1, PIVOT)}\n{end(1)}\n{begin(2, PIVOT)[:40]}")
    entry = read_ops(str(journal), lambda story: True)
    assert [(op.record["begin"], op.us) for op in entry] == [(1, 12)]


@pytest.mark.parametrize("encoding", ("utf-8", "latin-1", "ascii"))
def test_a_terminal_without_unicode_gets_what_it_can_show(encoding: str) -> None:
    seen = io.BytesIO()
    out = io.TextIOWrapper(seen, encoding=encoding)
    page = Page(out, ENGLISH)
    page.line("init · 3 µs …")
    page.json({"why": "стена"})
    out.flush()
    line, machine = seen.getvalue().decode(encoding).splitlines()
    entry = {"utf-8": "init · 3 µs …", "latin-1": "init · 3 µs ?", "ascii": "init ? 3 ?s ?"}
    assert line == entry[encoding] and json.loads(machine) == {"why": "стена"}


@pytest.mark.parametrize(
    ("phase", "module", "function"),
    (
        ("runtime.rootfs.enter_steps", "runtime.rootfs", "enter_steps"),
        ("runtime.rootfs.protection_steps.<locals>.<listcomp>", "runtime.rootfs",
         "protection_steps"),
        ("engine.monitor.main.Monitor._pause", "engine.monitor.main", "Monitor._pause"),
    ),
)  # fmt: skip
def test_a_phase_is_a_module_and_a_function(phase: str, module: str, function: str) -> None:
    assert split_phase(phase) == (module, function)


def test_a_method_without_a_docstring_is_described_by_its_base_class() -> None:
    above = purpose_of_function("kernel.cgroup", "Cgroup.thaw")
    assert above and purpose_of_function("kernel.cgroup_v1", "CgroupV1.thaw") == above
    assert purpose_of_function("engine.network.veth_pair", "NetworkNamespace.__exit__").startswith(
        "A context"
    )


def test_a_docstring_comes_apart_into_pieces() -> None:
    entry = pieces(REGISTRY["capability.set_bounding"])
    assert [kind for kind, _ in entry] == ["why", "without", "argument", "outcome"]
    assert entry[2][1].startswith("keep: names such as") and entry[3][1].startswith("Raises")
    entry = pieces(REGISTRY["mount.mask_path"])
    assert [kind for kind, _ in entry] == ["why", "without", "text", "outcome", "outcome"]


@pytest.mark.parametrize("name", ("pivot_root", "mount.pivot_root", "pivot_root(2)"))
def test_an_op_is_found_by_its_names(name: str) -> None:
    assert [op.name for op in ops_named(name)] == ["mount.pivot_root"]


def test_ops_are_found_by_man_page_and_by_module() -> None:
    assert {"mount.bind_mount", "mount.mask_path"} <= {op.name for op in ops_named("mount(2)")}
    assert all(op.name.startswith("capability.") for op in ops_named("capability"))
    assert ops_named("nothing") == [] and len(ops_named("")) == len(REGISTRY)


def test_call_sites_are_where_a_search_finds_the_name() -> None:
    """Names with one meaning in all of the source, so that a search for the word is the truth."""
    for name in ("pivot_root", "mask_path", "set_not_dumpable", "mount_overlay", "wait_for_start"):
        (op,) = ops_named(name)
        found = Counter(path for path in SOURCE.rglob("*.py") for _ in _uses(path, name))
        assert found == Counter(site.file for site in call_sites(op)), name


def _uses(path: Path, name: str) -> list[int]:
    """The lines in which a file has a word, but for its definition and its imports."""
    text = path.read_text()
    if name not in text or "teach" in path.parts:
        return []
    words = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == NAME]
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    imported = {n for node in imports for n in range(node.lineno, (node.end_lineno or 0) + 1)}
    before = {after.start: word.string for word, after in pairwise(words)}
    uses = [w for w in words if w.string == name and before.get(w.start) != "def"]
    return [word.start[0] for word in uses if word.start[0] not in imported]


def test_unknown_names_in_a_story_are_an_error() -> None:
    from minidock.teach.explain import _wanted

    assert _wanted(("pivot_root",)) == {"mount.pivot_root"}
    with pytest.raises(NotFound, match="No such operation: nothing"):
        _wanted(("pivot_root", "nothing"))
