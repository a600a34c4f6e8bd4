"""Start-up is a feature: what each container and each command may import.

A container's own processes (monitor, init, the OCI runtime) start an interpreter each, sealed, and
without `site`; a module that costs 10 ms there costs every run 10 ms.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import SOURCE, command_line, environment

# What a fresh interpreter pays for, in milliseconds: json 16, typing 14, contextlib 15, dataclasses
# 24, subprocess 20, socket 12, pathlib 10, logging 30, click 26, sh 75, pyroute2 150.
HEAVY = """re json typing dataclasses contextlib functools collections subprocess socket selectors
pathlib shutil tempfile logging enum datetime inspect ast traceback urllib http email asyncio
threading multiprocessing sh pyroute2 jeepney click prctl pyseccomp zstandard rich""".split()

# What even a command of the command line, which may take its time, must not import.
HEAVY_FOR_COMMANDS = """sh click pyroute2 jeepney prctl pyseccomp zstandard rich http email asyncio
urllib multiprocessing logging tarfile hashlib""".split()

HOT = """engine.monitor engine.container engine.network engine.image.images engine.store
engine.store.journal engine.store.locks engine.store.timestamps document engine.store.tree_removal
runtime kernel oci.runtime_config paths errors jsontext undo""".split()

# Hot modules that a process imports only when it needs them, and may cost more.
OFF_THE_PATH = {"minidock.kernel.record", "minidock.kernel.interfaces"}


def _hot_modules() -> list[str]:
    found = []
    for name in HOT:
        place = SOURCE / "minidock" / name.replace(".", "/")
        if place.is_dir():
            found += [
                f"minidock.{name}.{p.stem}"
                for p in sorted(place.glob("*.py"))
                if not p.stem.startswith("__")
            ]
        elif place.with_suffix(".py").exists():
            found.append(f"minidock.{name}")
    return [name for name in found if name not in OFF_THE_PATH]


@pytest.mark.parametrize("module", _hot_modules())
def test_module_of_the_hot_path_imports_nothing_heavy(module: str) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import {module}; "
        "print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert sorted(loaded & set(HEAVY)) == []


def test_a_new_monitor_has_not_imported_the_modules_for_layers() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); "
        "import minidock.engine.monitor.main; print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {
        "zlib",
        "minidock.engine.image.layers",
        "minidock.engine.image.build_cache",
    }


@pytest.mark.parametrize(
    "arguments", [["ps"], ["ps", "-a"], ["stop", "nobody"], ["logs", "nobody"], ["--version"]]
)
def test_command_imports_only_what_it_needs(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "minidock", *arguments],
        env=environment(str(tmp_path / "store")),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "minidock" in loaded, done.stderr  # there is a list, and it is of this command
    assert sorted(loaded & set(HEAVY_FOR_COMMANDS)) == []


@pytest.mark.root
def test_no_process_of_a_container_opens_a_heavy_module(
    store: object, busybox_image: str, require: object, tmp_path: Path
) -> None:
    """strace sees each module file that any process of one run opens, imported late or not."""
    strace = require("strace")  # type: ignore[operator]
    trace = tmp_path / "trace"
    command = [strace, "-ff", "-e", "trace=openat,execve", "-s", "300", "-o", str(trace)]
    run = [*command_line(), "run", "--rm", "--network", "none", busybox_image, "true"]
    subprocess.run([*command, *run], env=environment(os.environ["MINIDOCK_ROOT"]), check=True)
    traces = [process.read_text() for process in tmp_path.glob("trace.*")]
    # The command itself is left out: `python -m` brings heavy modules along.
    of_container = [text for text in traces if not re.search(r'execve.*"--rm"', text)]
    assert any("minidock/runtime/" in text for text in of_container), "none loads our modules"
    for text in of_container:
        opened = text.splitlines()
        for heavy in HEAVY:
            late = [x for x in opened if f"/{heavy}.cpython-" in x or f"/{heavy}/__init__.cp" in x]
            assert not late, f"{opened[0]}: {late[0]}"
