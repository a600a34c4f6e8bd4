"""No name that a command line takes leads out of the store, or costs a file of anybody's.

Each name goes to each command that takes one; afterwards the store, and a directory beside it, are
looked at as the kernel has them.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from minidock.cli.main import run
from minidock.paths import Store
from support.command import Minidock

pytestmark = pytest.mark.root

NAMES = [
    "..", "../", "../..", "../../..", "a/b", "a/", "/..", "//", "volumes/../..", "a/../../..", "~",
    "~/x", "x/../../sentinel", "../sentinel", "../../sentinel", "../../../sentinel", "..\n", "a\nb",
    "\n..", "..\t", " ..", ".. ", ".x", ".lock", "..x", "-", "_a", "é", "日本", "٠٠", "a\x7f",
    "a\x01", "%2e%2e", "..%2f", "*", "$HOME", "a;b", "`id`", "a@b\n", "\\..", "a" * 300, "../" * 50,
    "é" * 200,
]  # fmt: skip

# {} is the name; NAME alone may not be a valid value of any of these.
COMMANDS = [
    "create -v {}:/v busybox", "run -v {}:/v busybox true", "run -v {}:/v:nocopy busybox true",
    "create --mount type=volume,dst=/v,src={} busybox",
    "run --mount type=volume,dst=/v,src={} busybox true",
    "create -v kept:/v -v {}:/w busybox",
    "create --mount type=bind,dst=/v,src={} busybox", "create --name {} busybox",
    "create --volumes-from {} busybox", "volume create {}", "volume rm {}",
    "volume inspect {}", "network create {}", "network rm {}", "network inspect {}",
    "network connect {} kept", "network connect kept {}", "create --network container:{} busybox",
    "rm -f {}", "rename kept {}", "inspect {}", "cp {}:/etc/passwd -", "cp {}:/etc /tmp",
    "rmi {}", "tag busybox {}", "tag {} other:1", "commit {} x", "diff {}",
]  # fmt: skip


def look(directory: Path) -> list[str]:
    """All that is below a directory, but for locks and the record of events."""
    found = []
    for path in sorted(directory.rglob("*")):
        if path.name in ("lock", ".lock", "monitor.lock") or "events.jsonl" in path.name:
            continue
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.append(f"{path} {status.st_mode:o} {status.st_nlink} {hash(content)}")
    return found


def test_the_store_and_what_is_beside_it_outlive_every_name(
    store: Store, minidock: Minidock, busybox_image: str, capfd: pytest.CaptureFixture[str]
) -> None:
    around = Path(store.root).parent
    sentinel = around / "sentinel"
    sentinel.mkdir()
    try:
        for directory in (sentinel, Path(store.root), around):
            (directory / "sentinel").mkdir(exist_ok=True)
            (directory / "sentinel/file").write_text("somebody's")
        minidock.ok("volume", "create", "kept")
        Path(store.volume("kept"), "_data/file").write_text("data")
        minidock.ok("network", "create", "kept")
        minidock.ok("create", "--name", "kept", busybox_image, "true")
        minidock.ok("network", "inspect", "bridge", "host", "none")  # made at their first use
        for template in COMMANDS:
            before = look(Path(store.root)), look(sentinel)
            for name in NAMES:
                if _is_good(template, name):
                    continue
                argv = [word.replace("{}", name) for word in shlex.split(template)]
                code = run(argv)
                said = capfd.readouterr().err
                assert "Traceback" not in said, argv
                if not template.startswith("rm -f"):
                    assert code, (argv, "was accepted")
                if argv[0] == "run":
                    assert code == 125, (argv, said)
            after = look(Path(store.root)), look(sentinel)
            assert [sorted({*a} ^ {*b}) for a, b in zip(before, after, strict=True)] == [[], []], (
                template
            )
    finally:
        for path in sorted(sentinel.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        sentinel.rmdir()


def _is_good(template: str, name: str) -> bool:
    """An absolute path may be a bind's source, a/b an image's name; --mount ends with its line."""
    if "--mount" in template and name.startswith("\n"):
        return True
    if template.startswith("tag busybox"):
        return name == "a/b"
    return name.startswith("/") and (" -v " in template or "type=bind" in template)
