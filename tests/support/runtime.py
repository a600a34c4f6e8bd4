"""Bundles, and the two runtimes that tests hold side by side: minidock-runtime and runc.

A Runtime keeps its state in a directory of its own, so that neither meets anybody else's.
"""

from __future__ import annotations

import copy
import json
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.command import SOURCE
from support.patience import patience

Config = dict[str, Any]


class Bundle:
    """A directory with config.json and a busybox rootfs.

    config: what `runc spec` writes, without a terminal; `write` changes and saves it.
    cgroup: the name that the next container's has.
    """

    def __init__(self, directory: Path, rootfs_tar: Path) -> None:
        self.directory = directory
        (directory / "rootfs").mkdir(parents=True)
        subprocess.run(["tar", "-xf", rootfs_tar, "-C", directory / "rootfs"], check=True)
        subprocess.run(["runc", "spec"], cwd=directory, check=True)
        self.config: Config = json.loads((directory / "config.json").read_text())
        self.config["process"]["terminal"] = False
        self.cgroup = ""

    def write(self, *args: str, change: Callable[[Config], object] | None = None) -> None:
        """Save the config with this command, and with one change, for the next container.

        Its cgroup is named anew each time, since tests run side by side.
        """
        config = copy.deepcopy(self.config)
        config["linux"]["cgroupsPath"] = f"/minidock-test-{uuid.uuid4().hex[:12]}"
        config["process"]["args"] = list(args)
        if change is not None:
            change(config)
        self.cgroup = os.path.basename(config["linux"]["cgroupsPath"])
        (self.directory / "config.json").write_text(json.dumps(config))


class Runtime:
    """An OCI runtime's command line, run in a bundle's directory.

    words: how it is started. root: the directory of its state.
    """

    def __init__(self, words: list[str], root: Path, bundle: Bundle) -> None:
        self.words = words
        self.root = root
        self.bundle = bundle
        self.cgroups: set[str] = set()

    def line(self, *arguments: str) -> list[str]:
        """The whole command line."""
        self.cgroups.add(self.bundle.cgroup)
        return [*self.words, "--root", str(self.root), *arguments]

    def __call__(
        self, *arguments: str, stdin: bytes | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end; a detached container gets files, so that no pipe is held open."""
        out, err = self.root.parent / "out", self.root.parent / "err"
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            done = subprocess.run(
                self.line(*arguments),
                cwd=self.bundle.directory,
                env=environment(),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=stdout,
                stderr=stderr,
                timeout=patience(60),
                check=False,
                **options,
            )
        return subprocess.CompletedProcess(
            done.args, done.returncode, out.read_text(), err.read_text()
        )

    def ok(self, *arguments: str, **options: Any) -> str:
        """Run it, expect success, return its stdout."""
        done = self(*arguments, **options)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def clear(self, *container_ids: str) -> None:
        """Delete what a test may have left. Ours leaves no cgroup; runc's at times stays, empty."""
        for container_id in container_ids:
            self("delete", "--force", container_id)
        left = [path for name in self.cgroups - {""} for path in cgroup_directories(name)]
        if self.words == ["runc"]:
            for path in left:
                os.rmdir(path)
        else:
            assert left == []

    def state(self, container_id: str) -> dict[str, Any]:
        """The state that it prints."""
        told: dict[str, Any] = json.loads(self.ok("state", container_id))
        return told

    def status(self, container_id: str) -> str:
        """The status in it."""
        return str(self.state(container_id)["status"])


def environment() -> dict[str, str]:
    """The environment in which the source tree's runtime runs."""
    return {**os.environ, "PYTHONPATH": str(SOURCE)}


def minidock_runtime() -> list[str]:
    """The words that start our runtime: the installed one, or the source tree's."""
    installed = os.environ.get("MINIDOCK_RUNTIME")
    return [installed] if installed else [sys.executable, "-m", "minidock.runtime"]


def launcher(directory: Path) -> Path:
    """A program that starts our runtime, for engines that want a path.

    Its state is below the directory, where the engine names no other place (podman does not).
    """
    path = directory / "minidock-runtime"
    settings = [f"PYTHONPATH={SOURCE}", f"MINIDOCK_ROOT={os.environ['MINIDOCK_ROOT']}"]
    words = ["env", *settings, *minidock_runtime(), "--root", str(directory / "state")]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)
    return path


def cgroup_directories(name: str) -> list[str]:
    """Every directory of that name below /sys/fs/cgroup."""
    return [where for where, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(where) == name]
