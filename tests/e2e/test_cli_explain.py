"""explain: what was done for a container, live and afterwards, for people and for machines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from support.command import Minidock

pytestmark = pytest.mark.root

WIDTH = 100


def ops(text: str) -> list[tuple[str, int, str]]:
    """(actor, number, op) of each line of JSON."""
    records = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [(record["actor"], record["begin"], record["op"]) for record in records]


def test_a_run_tells_each_op_as_it_happens_and_the_command_speaks_in_between(
    minidock: Minidock, busybox_image: str
) -> None:
    result = minidock("run", "--rm", "--explain", "--net", "none", busybox_image, "echo", "hello")
    assert (result.code, result.stdout) == (0, "hello\n")
    for op in ("mount_overlay", "clone_process", "pivot_root", "set_hostname", "execute"):
        assert re.search(rf"^ +\d+   \w+\.{op}\(", result.stderr, re.M), op
    assert "pivot_root(2)" in result.stderr
    assert "$ exec env -i" in result.stderr


def test_live_and_afterwards_tell_the_same(minidock: Minidock, busybox_image: str) -> None:
    live = minidock("run", "--explain=json", "--net", "none", "--name", "told", busybox_image)
    afterwards = minidock.ok("explain", "--json", "told")
    assert sorted(ops(live.stderr)) == sorted(ops(afterwards))
    first = json.loads(afterwards.splitlines()[0])
    assert {"actor", "phase", "op", "args", "why", "twin", "man", "source", "us"} <= set(first)


def test_explain_fits_its_page_and_tells_each_op_of_the_journal(
    minidock: Minidock, busybox_image: str
) -> None:
    container = minidock.ok("run", "-d", "--net", "none", "--name", "told", busybox_image)
    minidock.ok("wait", "told")
    text = minidock.ok("explain", "told")
    assert max(map(len, text.splitlines())) <= WIDTH
    journal = Path(minidock.root, "containers", container, "journal.jsonl").read_text()
    begun = [json.loads(line) for line in journal.splitlines() if '"begin"' in line]
    numbered = re.findall(r"^ +(\d+)   (\w+\.\w+)\(", text, re.M)
    assert sorted(numbered) == sorted((str(r["begin"]), r["op"]) for r in begun)
    assert f"{len(begun)} operations" in text


def test_a_step_that_failed_shows_its_errno(minidock: Minidock, busybox_image: str) -> None:
    flags = ("--net", "none", "--explain", "--tmpfs", "/x:size=nonsense")
    result = minidock("run", "--rm", *flags, busybox_image)
    assert result.code == 125
    assert "failed: Invalid argument (EINVAL)" in result.stderr


def test_a_container_that_never_ran_has_nothing_to_tell(
    minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("create", "--name", "new", busybox_image)
    result = minidock("explain", "new")
    assert result.code == 1
    assert "it was never started" in result.stderr


def test_an_operation_is_explained_by_its_name_and_by_its_man_page(minidock: Minidock) -> None:
    for name in ("pivot_root", "mount.pivot_root", "pivot_root(2)"):
        text = minidock.ok("explain", name)
        assert text.startswith("mount.pivot_root(new_root, put_old) · pivot_root(2)\n")
        assert "EINVAL" in text
    assert minidock("explain", "no_such_thing").code == 1
