"""The base images of images/, made once in a run, and a shell in which a learner types commands.

What is made takes apt and pip some minutes in all, so the tests that need it are one group (`GROUP`
as their mark): they run after one another, in one worker, on one store.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from support.command import Minidock, command_line, environment
from support.patience import patience

GROUP = pytest.mark.xdist_group("base images")


class BaseImages:
    """A store with base images, which are made when they are first asked for."""

    def __init__(self, root: str) -> None:
        self.minidock = Minidock(root)
        self._ids: set[str] = set()

    def need(self, *names: str) -> Minidock:
        """minidock on the store, with these images in it."""
        for name in names:
            if self.minidock("image", "inspect", f"{name}:latest").code != 0:
                self.minidock.ok("image", "make", "-q", name, timeout_seconds=400)
                self._ids |= set(self.minidock.ok("images", "-q", "--no-trunc").split())
        return self.minidock

    def clean(self) -> None:
        """Remove all that a test made: containers, volumes, and the images that are no base."""
        if containers := self.minidock.ok("ps", "-aq").split():
            self.minidock.ok("rm", "-f", "-v", *containers)
        if volumes := self.minidock.ok("volume", "ls", "-q").split():
            self.minidock.ok("volume", "rm", *volumes)
        made = set(self.minidock.ok("images", "-q", "--no-trunc").split()) - self._ids
        if made:
            self.minidock.ok("rmi", "-f", *made)


class Shell:
    """bash in a folder, with a `minidock` in its PATH that works on one store."""

    def __init__(self, root: str, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        programs = folder / "bin"
        programs.mkdir()
        words = " ".join(f"'{word}'" for word in command_line())
        (programs / "minidock").write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (programs / "minidock").chmod(0o755)
        self._env = environment(root)
        self._env["PATH"] = f"{programs}:{os.environ['PATH']}"
        self.stderr = ""

    def __call__(self, line: str, *, timeout_seconds: float = 120) -> str:
        """Type a line; it must succeed. Returns its stdout; its stderr is in `stderr` then."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience(timeout_seconds),
        )
        self.stderr = done.stderr
        assert done.returncode == 0, f"$ {line}\n{done.stdout}\n{done.stderr}"
        return done.stdout.removesuffix("\n")

    def start(self, line: str) -> subprocess.Popen[str]:
        """Type a line that goes on; `interrupt` is Ctrl-C."""
        return subprocess.Popen(
            ["bash", "-c", f"exec {line}"],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def write(self, name: str, text: str) -> None:
        """A file in the folder."""
        (self.folder / name).write_text(text)


def interrupt(process: subprocess.Popen[str]) -> str:
    """Press Ctrl-C, wait for the end, return what it said."""
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=patience(30))
    return said


def browse(url: str, process: subprocess.Popen[str] | None = None) -> str:
    """Ask as a browser does, until somebody answers. Fails once the server has ended."""
    request = urllib.request.Request(
        url, headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept": "text/html,*/*"}
    )
    deadline = time.monotonic() + patience(30)
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, ConnectionError) as error:
            ended = process is not None and process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"{url}: {error}") from error
            time.sleep(0.1)
