"""The build cache: what is found again, what is not, and how long it stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.building import build, context, files, layers
from support.command import SOURCE, Minidock, environment

pytestmark = pytest.mark.root

_STEPS = """\
FROM scratch
COPY first /first
COPY second /second
COPY third /third
"""


def _context(tmp_path: Path) -> str:
    return context(tmp_path / "context", _STEPS, first="1", second="2", third="3")


def _cached(minidock: Minidock, *arguments: str) -> int:
    """How many steps of a build come from the cache."""
    done = minidock("build", *arguments)
    assert done.code == 0, str(done)
    return done.stderr.count(" CACHED\n")


def test_build_of_the_same_makes_the_same_image(minidock: Minidock, tmp_path: Path) -> None:
    folder = _context(tmp_path)
    first = build(minidock, folder)
    for name in os.listdir(folder):
        os.utime(f"{folder}/{name}", (1, 1))
    assert build(minidock, folder) == first
    assert _cached(minidock, folder) == 3


def test_what_stands_above_a_changed_file_is_reused(minidock: Minidock, tmp_path: Path) -> None:
    folder = _context(tmp_path)
    old = layers(minidock, build(minidock, folder))
    (tmp_path / "context/second").write_text("changed")
    new = layers(minidock, build(minidock, folder))
    assert new[0] == old[0]
    assert new[1] != old[1]


@pytest.mark.parametrize("change", ["mode", "name", "content"])
def test_each_of_these_is_a_change(minidock: Minidock, tmp_path: Path, change: str) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY dir /dir\n", dir__file="1")
    file = tmp_path / "context/dir/file"
    build(minidock, folder)
    if change == "mode":
        file.chmod(0o700)
    elif change == "name":
        file.rename(file.with_name("other"))
    else:
        file.write_text("2")
    assert _cached(minidock, folder) == 0


def test_arguments_are_part_of_a_run_steps_key(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(tmp_path / "context", f"FROM {busybox_image}\nARG V\nRUN echo $V >/v\n")
    one = build(minidock, "--build-arg", "V=1", folder)
    two = build(minidock, "--build-arg", "V=2", folder)
    assert one != two
    assert build(minidock, "--build-arg", "V=1", folder) == one


def test_no_cache_runs_every_step_again(minidock: Minidock, tmp_path: Path) -> None:
    folder = _context(tmp_path)
    build(minidock, folder)
    assert _cached(minidock, "--no-cache", folder) == 0
    assert _cached(minidock, folder) == 3


def test_no_cache_for_one_stage_only(minidock: Minidock, tmp_path: Path) -> None:
    text = "FROM scratch AS a\nCOPY x /a\nFROM scratch AS b\nCOPY x /b\nCOPY --from=a /a /\n"
    folder = context(tmp_path / "context", text, x="x")
    build(minidock, folder)
    assert _cached(minidock, "--no-cache-filter", "b", folder) == 1


def test_copy_from_a_stage_is_found_by_content(minidock: Minidock, tmp_path: Path) -> None:
    """The stage changes, and what is copied from it does not."""
    text = "FROM scratch AS a\nCOPY x other /\nFROM scratch\nCOPY --from=a /x /\n"
    folder = context(tmp_path / "context", text, x="x", other="1")
    old = layers(minidock, build(minidock, folder))
    (tmp_path / "context/other").write_text("2")
    assert layers(minidock, build(minidock, folder)) == old


def test_cache_outlives_its_images_until_it_is_pruned(minidock: Minidock, tmp_path: Path) -> None:
    folder = _context(tmp_path)
    made = build(minidock, folder)
    minidock.ok("rmi", made)
    assert _cached(minidock, folder) == 3
    assert minidock("builder", "prune", "-f").stdout.splitlines()[-1] == "Total:\t0B"
    minidock.ok("rmi", made)
    pruned = minidock.ok("builder", "prune", "-f").splitlines()
    assert len(pruned) == 5  # a heading, three records, the sum
    assert pruned[-1] == "Total:\t3B"
    assert os.listdir(f"{minidock.root}/layers") == []
    assert _cached(minidock, folder) == 0


def test_cached_build_imports_nothing_that_makes_layers(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    """A cached rebuild is instant because there is little to start."""
    text = f"FROM {busybox_image}\nRUN true\nCOPY x /\nWORKDIR /w\n"
    folder = context(tmp_path / "context", text, x="x")
    build(minidock, folder)
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from minidock.cli.main import run; "
        f"run(['build', '-q', {folder!r}]); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        env=environment(minidock.root), capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = done.stdout.split()
    heavy = {
        "re",
        "json",
        "sh",
        "click",
        "rich",
        "urllib3",
        "tarfile",
        "csv",
        "hashlib",
        "threading",
    }
    assert heavy.isdisjoint(loaded)
    assert not [name for name in loaded if name.startswith("minidock.engine.monitor")]
    assert "minidock.engine.build.step_layer" not in loaded


def test_prune_of_all_leaves_images_whole(minidock: Minidock, tmp_path: Path) -> None:
    folder = _context(tmp_path)
    build(minidock, "-t", "kept", folder)
    minidock.ok("builder", "prune", "-a", "-f")
    assert set(files(minidock, "kept", tmp_path)) == {"first", "second", "third"}
    assert _cached(minidock, folder) == 0


def test_prune_keeps_what_was_used_lately(minidock: Minidock, tmp_path: Path) -> None:
    folder = _context(tmp_path)
    minidock.ok("rmi", build(minidock, folder))
    minidock.ok("builder", "prune", "-f", "--filter", "until=1h")
    assert _cached(minidock, folder) == 3


def test_finished_steps_of_a_failed_build_are_cached(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    text = f"FROM {busybox_image}\nCOPY x /x\nRUN exit 4\n"
    folder = context(tmp_path / "context", text, x="x")
    assert minidock("build", folder).code == 1
    (tmp_path / "context/Dockerfile").write_text(text.replace("exit 4", "true"))
    assert _cached(minidock, folder) == 2  # FROM, COPY
