"""Hooks run where and when the specification says, with the state on their stdin."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.paths import Store
from support import runtime
from support.runtime import Bundle, Runtime

pytestmark = pytest.mark.root

KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
NOTE = 'read state; echo "$1 $(readlink /proc/self/ns/mnt) $(readlink /proc/self/root) $state" >>{}'


@pytest.fixture
def ours(
    tmp_path: Path, busybox_tar: Path, store: Store, require: Callable[[str], str]
) -> Iterator[Runtime]:
    require("runc")
    bundle = Bundle(tmp_path / "bundle", busybox_tar)
    made = Runtime(runtime.minidock_runtime(), tmp_path / "state", bundle)
    yield made
    made.clear("box")


def hook(script: str, *words: str, **fields: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script, "sh", *words], **fields}


def test_each_kind_runs_at_its_point(ours: Runtime, tmp_path: Path) -> None:
    out = tmp_path / "notes"
    out.mkdir()

    def add(config: dict[str, Any]) -> None:
        config["mounts"].append(
            {"destination": str(out), "type": "bind", "source": str(out), "options": ["bind"]}
        )
        note = NOTE.format(out / "told")
        env = ["PATH=/bin:/usr/bin"]
        config["hooks"] = {kind: [hook(note, kind, env=env)] for kind in KINDS}

    ours.bundle.write("sh", "-c", f"echo command >>{out}/told", change=add)
    ours.ok("run", "box", stdin=b"")
    lines = (out / "told").read_text().splitlines()
    order = [line.split()[0] for line in lines]
    assert order[:4] == KINDS[:4]
    assert sorted(order[4:6]) == ["command", "poststart"]
    assert order[6:] == ["poststop"]
    told = {line.split()[0]: line.split(" ", 3)[1:] for line in lines if " " in line}
    host = os.readlink("/proc/self/ns/mnt")
    inside = told["startContainer"][0]
    namespaces = [told[kind][0] for kind in KINDS]
    assert namespaces == [host, host, inside, inside, host, host]
    assert inside != host
    states = {kind: json.loads(told[kind][2]) for kind in KINDS}
    assert [states[kind]["status"] for kind in KINDS] == [
        "creating", "creating", "creating", "created", "running", "stopped",
    ]  # fmt: skip
    assert states["createRuntime"]["pid"] > 0
    assert {state["bundle"] for state in states.values()} == {str(ours.bundle.directory)}


def test_a_hook_of_the_host_sees_the_containers_mounts(ours: Runtime, tmp_path: Path) -> None:
    script = "read state; pid=${state#*'\"pid\":'}; cat /proc/${pid%%,*}/mountinfo >"
    script += f"{tmp_path}/m"

    def add(config: dict[str, Any]) -> None:
        config["hooks"] = {"createRuntime": [hook(script, env=["PATH=/bin:/usr/bin"])]}

    ours.bundle.write("true", change=add)
    ours.ok("run", "box", stdin=b"")
    assert f"{ours.bundle.directory}/rootfs/proc" in (tmp_path / "m").read_text()


@pytest.mark.parametrize("kind", KINDS[:5])
def test_a_hook_that_fails_ends_the_container_with_what_it_said(ours: Runtime, kind: str) -> None:
    def add(config: dict[str, Any]) -> None:
        config["hooks"] = {kind: [hook("echo not today >&2; exit 3")]}

    ours.bundle.write("sleep", "60", change=add)
    done = ours("run", "box", stdin=b"")
    assert done.returncode == 1
    assert f"{kind} hook #0 /bin/sh: exit code 3: not today" in done.stderr
    assert ours("state", "box").returncode == 1


def test_a_failed_poststop_hook_is_reported_and_the_container_removed(ours: Runtime) -> None:
    def add(config: dict[str, Any]) -> None:
        config["hooks"] = {"poststop": [{"path": "/nonexistent"}]}

    ours.bundle.write("true", change=add)
    done = ours("run", "box", stdin=b"")
    assert done.returncode == 0
    assert "level=warning" in done.stderr
    assert "poststop hook #0 /nonexistent: No such file or directory" in done.stderr
    assert ours("state", "box").returncode == 1


def test_a_hook_that_takes_too_long_is_killed(ours: Runtime) -> None:
    def add(config: dict[str, Any]) -> None:
        config["hooks"] = {"createRuntime": [hook("exec sleep 60", timeout=1)]}

    ours.bundle.write("true", change=add)
    assert "timed out after 1 s" in ours("run", "box", stdin=b"").stderr
