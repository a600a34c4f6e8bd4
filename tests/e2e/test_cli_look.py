"""look: containers of many kinds as rows of text and as a file; what each refuses."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from minidock.paths import Store
from minidock.teach.look.scene import Scene
from minidock.teach.subject import read_ops
from support.command import Minidock

pytestmark = pytest.mark.root


def rows(text: str) -> dict[str, tuple[int, str]]:
    """The rows of the collapsed view: name -> (count, phrase)."""
    found = re.findall(r"^[-+ ] (\w+) +(\d+)  (.*)$", text, re.MULTILINE)
    return {name: (int(count), phrase) for name, count, phrase in found}


RUNS = {
    "plain": ("--net", "none"),
    "published": ("-p", "127.0.0.1:0:80", "-v", "data:/data", "-m", "64m", "--user", "1:1"),
    "terminal": ("-t", "--init", "--net", "none", "--read-only", "--tmpfs", "/fast"),
    "privileged": ("--privileged", "--net", "host", "--pid", "host"),
    "on a network": (
        "--network",
        "shop",
        "--ulimit",
        "nofile=64",
        "--sysctl",
        "kernel.msgmax=9000",
    ),
    "without": ("--without", "net,uts,ipc,cgroup,pid", "--security-opt", "no-new-privileges"),
}


@pytest.mark.parametrize("kind", RUNS)
def test_every_operation_of_a_run_changes_something(
    minidock: Minidock, busybox_image: str, store: Store, kind: str
) -> None:
    minidock.ok("network", "create", "shop")
    identity = minidock.ok("run", "-d", "--name", "box", *RUNS[kind], busybox_image, "sleep", "60")
    minidock.ok("exec", "-t", "box", "true")
    minidock.ok("cp", "box:/etc/passwd", "-")
    if kind == "limited":
        minidock.ok("network", "disconnect", "shop", "box")
        minidock.ok("network", "connect", "shop", "box")
    minidock.ok("pause", "box")
    minidock.ok("unpause", "box")
    minidock.ok("stop", "-t", "0", "box")
    folder = Path(store.root, "containers", identity.split()[-1])
    journals = [*folder.glob("*.jsonl"), *Path(store.root, "networks").glob("*.jsonl")]
    names = {path.name for path in journals}
    assert {"journal.jsonl", "exec.jsonl", "cp.jsonl"} <= names
    for journal in journals:
        scene = Scene(read_ops(str(journal), lambda story: True))
        assert scene.steps or journal.name not in ("journal.jsonl", "exec.jsonl")
        idle = {step.entry.record["op"] for step in scene.steps if not step.changes}
        assert (scene.unknown, idle) == (set(), set()), journal


def test_rows_count_what_explain_prints(minidock: Minidock, busybox_image: str) -> None:
    minidock.ok("run", "-d", "--name", "box", "--hostname", "here", busybox_image, "sleep", "60")
    text = minidock.ok("look", "--text", "box")
    shown = rows(text)
    assert len(shown) == 13
    assert shown["uts"] == (2, "its own namespace; hostname here")
    assert shown["capabilities"][1] == "14 of 41 are left"
    assert shown["pivot_root"] == (1, "the host's tree is gone from it")
    total = re.search(r"^(\d+) operations", minidock.ok("explain", "--all", "box"), re.MULTILINE)
    assert total is not None and f"{total[1]} operations; in several rows: 1" in text
    unfolded = minidock.ok("look", "--text", "--unfold", "masks", "--unfold", "seccomp", "box")
    masks = unfolded.split("- masks")[1].split("\n\n")[0]
    assert len(re.findall(r"^ +\d+ init ", masks, re.MULTILINE)) == shown["masks"][0]
    assert masks.count("mount.mask_path") > 5 and "$ mount " in masks
    assert "seccomp.load" in unfolded.split("- seccomp")[1]


def test_subjects_are_those_of_explain(minidock: Minidock, busybox_image: str) -> None:
    minidock.ok("network", "create", "shop")
    box = minidock.ok(
        "run", "-d", "--name", "box", "--network", "shop", busybox_image, "sleep", "60"
    )
    minidock.ok("exec", "box", "true")
    by_id = minidock.ok("look", "--text", box[:12])
    assert by_id == minidock.ok("look", "--text", "box")
    assert "exec " in minidock.ok("look", "--text", "--exec", "last", "box").splitlines()[0]
    assert minidock.ok("look", "--text", "--network", "shop").startswith("network shop\n")
    page = minidock.ok("look", "--export", "-", "--network", "shop")
    assert page.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--export", "", "box"), "--export requires a file"),
        (("box3",), "No such container: box3"),
        (("--text",), "look requires a container"),
        (("--text", "nobody"), "No such container: nobody"),
        (("--text", "--export", "x", "box"), "--text and --export exclude each other"),
        (("--text", "--unfold", "walls", "box"), 'unknown row "walls"'),
        (("--export", "x", "--unfold", "pid", "box"), "--unfold requires --text"),
        (("--text", "box", "box"), "--text shows one container"),
        (("--text", "--exec", "last", "--health", "box"), "exclude each other"),
        (("--text", "box"), "it was never started"),
        (("--export", "/nowhere/x.html", "box2"), "does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused(
    minidock: Minidock, busybox_image: str, arguments: tuple[str, ...], error: str
) -> None:
    minidock.ok("create", "--name", "box", busybox_image)
    minidock.ok("run", "--name", "box2", "--net", "none", busybox_image, "true")
    result = minidock("look", *arguments)
    assert result.code != 0 and error in result.stderr
    assert result.stdout == ""


def test_an_existing_file_is_replaced_at_once_and_anybody_may_read_it(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    minidock.ok("run", "--name", "box", "--net", "none", busybox_image, "true")
    file = tmp_path / "look.html"
    file.write_text("before")
    before = os.stat(file).st_ino
    assert minidock.ok("look", "--export", str(file), "box") == ""
    page = file.read_text()
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n")
    assert os.stat(file).st_ino != before  # renamed over it, never half of each
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o644
    assert os.listdir(tmp_path) == ["look.html"]
    assert minidock("look", "--export", "-", "box").stdout == page
