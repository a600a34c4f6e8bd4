"""The experiments of vagrant/playground: each shows what its page says, and leaves nothing.

A script checks each of its effects, and ends with 1 where one is not seen. All ten run in the
disposable machine (MINIDOCK_VM); elsewhere those that change nothing but themselves.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from minidock.paths import Store
from support import machine
from support.command import REPOSITORY, Minidock, command_line, environment
from support.patience import patience

pytestmark = pytest.mark.root

PLAYGROUND = REPOSITORY / "vagrant/playground"
ALL = sorted(
    path.name for path in PLAYGROUND.iterdir() if re.fullmatch(r"\d\d-[a-z0-9-]+", path.name)
)
FOR_A_VM = {"05-host-disk"}
HERE = [name for name in ALL if os.environ.get("MINIDOCK_VM") or name not in FOR_A_VM]


def run(store: Store, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script's answer; that nothing is left of its files, mounts and containers is asserted."""
    files = Path(f"{store.root}.files")
    files.mkdir()
    line = {"MINIDOCK": shlex.join(command_line()), "TMPDIR": str(files)}
    done = subprocess.run(
        [script, *arguments],
        env={**environment(store.root), **line},
        capture_output=True,
        text=True,
        timeout=patience(60),
    )
    assert not [mount for mount in machine.mounts() if str(files) in mount]
    files.rmdir()
    assert Minidock(store.root).ok("ps", "-aq") == ""
    return done


def test_there_are_ten_each_with_its_page() -> None:
    assert len(ALL) == 10
    listed = (PLAYGROUND / "README.md").read_text()
    for name in ALL:
        assert f"]({name}.md)" in listed
        assert f"    ./{name}" in (PLAYGROUND / f"{name}.md").read_text()


@pytest.mark.parametrize("name", HERE)
def test_experiment_shows_its_effect(name: str, store: Store, busybox_image: str) -> None:
    done = run(store, PLAYGROUND / name, *(["--yes-in-a-vm"] if name in FOR_A_VM else []))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") >= 3


def test_what_changes_the_machine_asks_first(store: Store, busybox_image: str) -> None:
    for name in FOR_A_VM:
        done = run(store, PLAYGROUND / name)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--yes-in-a-vm" in done.stderr


def test_an_effect_that_is_not_seen_ends_the_experiment(
    store: Store, busybox_image: str, tmp_path: Path
) -> None:
    script = tmp_path / "broken"
    (tmp_path / "lib.sh").write_bytes((PLAYGROUND / "lib.sh").read_bytes())
    script.write_text(
        '#!/bin/sh\n. "$(dirname "$0")/lib.sh"\nshow minidock run --name pg-x busybox echo hello\n'
        'saw "hello" said hello\nsaw "good-bye" said good-bye\necho never\n'
    )
    script.chmod(0o755)
    done = run(store, script)
    assert done.returncode == 1
    assert "✓ hello" in done.stdout
    assert done.stdout.endswith("✗ not seen: good-bye\n")
