"""explain NAME: a row for each isolation; --unfold lists one, --all everything in full."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from minidock.paths import Store
from support.command import Minidock
from support.patience import await_true

pytestmark = pytest.mark.root

ROWS = ("pid", "mount", "net", "uts", "ipc", "cgroup", "pivot_root", "seccomp", "capabilities",
        "masks", "devices", "layers", "other")  # fmt: skip
LONG = re.compile(r"^ +(\d+)   (\w+\.\w+)\(", re.MULTILINE)  # an operation of the long form


def counts(text: str) -> dict[str, int]:
    """The rows of the collapsed form: name -> number of operations."""
    found = re.findall(r"^[-+ ] (\w+) +(\d+)  ", text, re.MULTILINE)
    return {name: int(count) for name, count in found}


def begun(journal: str) -> list[dict[str, Any]]:
    """The records that begin an operation, as the journal's file has them."""
    records = [json.loads(line) for line in Path(journal).read_text().splitlines()]
    return [record for record in records if "begin" in record]


def tagged(records: list[dict[str, Any]]) -> dict[str, int]:
    """Row -> how many records have its tag; tags without a row are in "other"."""
    found = dict.fromkeys(ROWS, 0)
    for record in records:
        for row in {tag if tag in ROWS else "other" for tag in record["isolation"]}:
            found[row] += 1
    return found


def closing(text: str) -> tuple[list[str], list[str]]:
    """The arguments of the two commands of the last line: to see all, and to unfold a row."""
    last = text.splitlines()[-1]
    everything, row = re.findall(r"minidock (explain [^·]*[^· ])", last)
    return shlex.split(everything), shlex.split(row)


def test_a_container_is_explained_in_a_row_for_each_isolation(
    minidock: Minidock, store: Store, busybox_image: str
) -> None:
    box = minidock.ok("run", "-d", "--name", "told", "-m", "64m", busybox_image, "sleep", "60")
    text = minidock.ok("explain", "told")
    journal = begun(store.container(box).journal)
    assert counts(text) == tagged(journal)
    assert f"\n{len(journal)} operations" in text
    assert not LONG.search(text) and "$ " not in text
    assert len(text.splitlines()) < 25
    assert minidock.ok("explain", box[:12]) == text


def test_the_last_line_says_how_to_see_all_and_how_to_unfold(
    minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("run", "--net", "none", "--name", "told", busybox_image)
    text = minidock.ok("explain", "told")
    everything, row = closing(text)
    assert everything == ["explain", "--all", "told"]
    assert (row[:2], row[3:]) == (["explain", "--unfold"], ["told"])
    assert len(LONG.findall(minidock.ok(*everything))) == int(
        re.findall(r"^(\d+) operations", text, re.MULTILINE)[0]
    )
    assert f"\n- {row[2]} " in minidock.ok(*row)


def test_unfold_lists_the_operations_of_these_rows_and_of_no_other(
    minidock: Minidock, store: Store, busybox_image: str
) -> None:
    box = minidock.ok("run", "-d", "--name", "told", busybox_image, "sleep", "60")
    text = minidock.ok("explain", "--unfold", "masks", "told", "--unfold=pivot_root")
    journal = begun(store.container(box).journal)
    listed = re.findall(r"^ +(\d+) \w+ +(\w+\.\w+)  ", text, re.MULTILINE)
    ops = [r["op"] for r in journal if {"masks", "pivot_root"} & set(r["isolation"])]
    assert sorted(op for _, op in listed) == sorted(ops)
    assert re.findall(r"^- (\w+)", text, re.MULTILINE) == ["pivot_root", "masks"]
    assert "$ pivot_root . ." in text
    assert closing(text)[1][2] not in ("masks", "pivot_root")


def test_all_is_the_long_form_and_needs_no_saying_with_json_phases_or_an_operation(
    minidock: Minidock, store: Store, busybox_image: str
) -> None:
    box = minidock.ok("run", "-d", "--name", "told", busybox_image, "sleep", "60")
    minidock.ok("stop", "-t", "0", "told")
    ops = sorted(record["op"] for record in begun(store.container(box).journal))
    assert sorted(op for _, op in LONG.findall(minidock.ok("explain", "--all", "told"))) == ops
    as_json = minidock.ok("explain", "--json", "told")
    assert sorted(json.loads(line)["op"] for line in as_json.splitlines()) == ops
    assert minidock.ok("explain", "--all", "--json", "told") == as_json
    some = minidock.ok("explain", "told", "pivot_root")
    assert [op for _, op in LONG.findall(some)] == ["mount.pivot_root"]
    assert minidock.ok("explain", "--all", "told", "pivot_root") == some
    overview = minidock.ok("explain", "--phases", "told")
    assert "until the command began" in overview and not LONG.search(overview)


def test_each_journal_has_its_rows_and_its_own_way_to_the_long_form(
    minidock: Minidock, store: Store, busybox_image: str, tmp_path: Path
) -> None:
    checks = ("--health-cmd", "true", "--health-interval", "200ms")
    minidock.ok("network", "create", "shop")
    flags = ("--name", "told", "--network", "shop", *checks)
    box = minidock.ok("run", "-d", *flags, busybox_image, "sleep", "60")
    minidock.ok("exec", "told", "true")
    minidock.ok("cp", "told:/etc/passwd", "-")
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo hi > /x\n")
    minidock.ok("build", "-q", "--no-cache", "--network", "none", str(tmp_path))
    await_true(lambda: Path(store.container(box).health_journal).exists(), "the first probe")
    subjects = (("told", "--exec", "last"), ("told", "--cp"), ("--build",), ("--network", "shop"))
    for subject in subjects:
        text = minidock.ok("explain", *subject)
        assert tuple(counts(text)) == ROWS, subject
        everything, row = closing(text)
        full = minidock.ok(*everything)
        (total,) = re.findall(r"^(\d+) operation", text, re.MULTILINE)
        assert len(LONG.findall(full)) == int(total), subject
        assert full.splitlines()[0] == text.splitlines()[0]
        assert f"\n- {row[2]} " in minidock.ok(*row), subject
    text = minidock.ok("explain", "--health", "told")  # the next probe may come in between
    assert text.startswith("told: sleep · busybox:latest · health ") and tuple(counts(text)) == ROWS
    assert closing(text)[0] == ["explain", "--all", "--health", "told"]


def test_why_a_command_was_not_started_is_in_the_rows_too(
    minidock: Minidock, busybox_image: str
) -> None:
    flags = ("--name", "told", "--net", "none", "--tmpfs", "/x:size=nonsense")
    assert minidock("run", *flags, busybox_image).code == 125
    text = minidock.ok("explain", "told")
    error = "The command was not started: mount(2) tmpfs on /x: Invalid argument (EINVAL)"
    lines = text.splitlines()
    assert error in lines
    ending = lines[lines.index(error) : -1]
    assert ending[-1] == ""
    assert "\n".join(ending).rstrip() in minidock.ok("explain", "--all", "told")
    assert "  see: minidock explain mount.mount_filesystem" in ending
    assert closing(text)[0] == ["explain", "--all", "told"]


def test_look_text_prints_the_same(minidock: Minidock, busybox_image: str) -> None:
    minidock.ok("run", "--net", "none", "--name", "told", busybox_image)
    minidock("run", "--net", "none", "--name", "bad", busybox_image, "nonsuch")
    assert minidock.ok("look", "--text", "told") == minidock.ok("explain", "told")
    assert minidock.ok("look", "--text", "bad") == minidock.ok("explain", "bad")
    unfolded = ("--unfold", "uts", "told")
    assert minidock.ok("look", "--text", *unfolded) == minidock.ok("explain", *unfolded)


def test_rows_in_russian(minidock: Minidock, busybox_image: str) -> None:
    minidock.ok("run", "--net", "none", "--name", "told", busybox_image)
    text = minidock.ok("explain", "--lang", "ru", "told")
    assert "своё пространство имён" in text
    assert re.search("[а-яё]", text.splitlines()[-1])
    assert closing(text) == closing(minidock.ok("explain", "told"))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--all", "--unfold", "pid", "told"), "--all and --unfold exclude each other"),
        (("--json", "--unfold", "pid", "told"), "--json and --unfold exclude each other"),
        (("--phases", "--unfold", "pid", "told"), "--phases and --unfold exclude each other"),
        (("--all", "--phases", "told"), "--all and --phases exclude each other"),
        (("--json", "--phases", "told"), "--json and --phases exclude each other"),
        (("--unfold", "pid", "told", "pivot_root"), "--unfold and an operation"),
        (("--unfold", "walls", "told"), '--unfold: unknown row "walls"'),
        (("--unfold", "", "told"), '--unfold: unknown row ""'),
        (("--all",), "--all requires a container"),
        (("--unfold", "pid"), "--unfold requires a container"),
        (("--all", "pivot_root"), "--all requires a container"),
        (("--unfold", "pid", "pivot_root"), "--unfold requires a container"),
        (("--all", "nobody"), "No such container or operation: nobody"),
        (("told", "nonsense"), "No such operation: nonsense"),
    ],
)
def test_flags_that_contradict_each_other_are_named(
    minidock: Minidock, busybox_image: str, arguments: tuple[str, ...], error: str
) -> None:
    minidock.ok("run", "--net", "none", "--name", "told", busybox_image)
    result = minidock("explain", *arguments)
    assert (result.code, result.stdout) == (1, "")
    assert error in result.stderr


def test_a_shell_proposes_the_rows(minidock: Minidock) -> None:
    for words in ("minidock explain --unfold pi", "minidock look --text --unfold pi"):
        asked = {
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
            "_MINIDOCK_COMPLETE": "bash_complete",
        }
        lines = minidock.ok(env=asked).splitlines()
        assert [line.partition(",")[2] for line in lines] == ["pid", "pivot_root"]
