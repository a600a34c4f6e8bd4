"""For attacks on a container's isolation: an attacker with Python inside, and guards removed.

An attack proves a guard only if it succeeds without it. `without` runs the command line with a few
lines of Python executed first, in the command and in the monitor that it starts: those lines take
the guard away (`process.set_not_dumpable = ...`), or open a window that is too narrow to hit.

The attacker's image holds no program of its own: the host's /usr is bound into it, read-only.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

from support.command import REPOSITORY, SOURCE, Minidock, Result, command_line, environment
from support.patience import patience

PYTHON = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
_PREFIX = os.path.realpath(sys.base_prefix)
_USRMERGED = ("bin", "sbin", "lib", "lib64")

_DRIVER = """
import sys
{prelude}
from minidock.runtime import seal
_command = seal.command
def command(sealed, module, *arguments):
    line = _command(sealed, module, *arguments)
    at = line.index("-c") + 1
    path, rest = line[at].split("; from ", 1)
    line[at] = path + "\\n" + {prelude!r} + "\\nfrom " + rest
    return line
seal.command = command
from minidock.__main__ import main
sys.exit(main())
"""


def without(
    minidock: Minidock, prelude: str, *arguments: str, stdin: str = "", **options: Any
) -> Result:
    """Run a command line after `prelude`, which the monitor executes too."""
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER.format(prelude=prelude), *arguments],
        input=stdin.encode(),
        capture_output=True,
        env=environment(minidock.root),
        timeout=patience(60),
        **options,
    )
    return Result(
        arguments,
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )


def run_as(minidock: Minidock, program: str, *arguments: str) -> str:
    """Run a command line out of a Python program, which executes its argv; returns the stdout."""
    done = subprocess.run(
        [sys.executable, "-c", program, *command_line(), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(minidock.root),
        timeout=patience(60),
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_python(root: str, program: str, *arguments: str) -> str:
    """Run a program that imports minidock in a process of its own; returns its stdout."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(root),
        timeout=patience(60),
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Rootfs:
    """A root file system's tar, written entry by entry."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w")
        self._made: set[str] = set()

    def directory(self, *names: str, mode: int = 0o755) -> Rootfs:
        for name in names:
            parts = name.strip("/").split("/")
            for count in range(1, len(parts) + 1):
                folder = "/".join(parts[:count])
                if folder not in self._made:
                    self._add(folder, tarfile.DIRTYPE, mode=mode)
        return self

    def file(self, name: str, content: str | bytes, *, mode: int = 0o644) -> Rootfs:
        data = content.encode() if isinstance(content, str) else content
        self._parent(name)
        entry = self._entry(name, tarfile.REGTYPE, mode)
        entry.size = len(data)
        self._tar.addfile(entry, io.BytesIO(data))
        return self

    def link(self, name: str, target: str) -> Rootfs:
        self._parent(name)
        self._add(name, tarfile.SYMTYPE, target=target)
        return self

    def fifo(self, name: str) -> Rootfs:
        self._parent(name)
        self._add(name, tarfile.FIFOTYPE, mode=0o666)
        return self

    def busybox(self, **wanted: bool) -> Rootfs:
        """The static busybox with a few of its commands; `proc=False` leaves /proc out."""
        for name in ("dev", "proc", "sys", "tmp", "etc", "root"):
            if wanted.get(name, True):
                self.directory(name)
        self.file("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755)
        for name in (
            "sh",
            "cat",
            "ls",
            "id",
            "sleep",
            "echo",
            "true",
            "chmod",
            "mkdir",
            "mkfifo",
            "grep",
        ):
            self.link(f"bin/{name}", "busybox")
        return self

    def host_python(self) -> Rootfs:
        """Empty, for the host's /usr to be bound into: see `python_flags`."""
        self.directory("dev", "proc", "sys", "usr", "tmp", "etc", "root", mode=0o755)
        for name in _USRMERGED:
            if os.path.islink(f"/{name}"):
                self.link(name, os.readlink(f"/{name}"))
            elif os.path.isdir(f"/{name}"):
                self.directory(name)
        self.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home:/bin/sh\n")
        self.file("etc/group", "root:x:0:\nann:x:1000:\ncrew:x:2000:ann\nband:x:3000:root,ann\n")
        return self

    def bytes(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()

    def into(self, minidock: Minidock, name: str, *changes: str) -> str:
        """Import it; returns the image's name."""
        options = [word for change in changes for word in ("-c", change)]
        minidock.ok("import", *options, "-", name, stdin=self.bytes())
        return name

    def _parent(self, name: str) -> None:
        if "/" in name.strip("/"):
            self.directory(name.strip("/").rpartition("/")[0])

    def _add(self, name: str, kind: bytes, *, mode: int = 0o777, target: str = "") -> None:
        entry = self._entry(name, kind, mode)
        entry.linkname = target
        self._tar.addfile(entry)

    def _entry(self, name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        self._made.add(name.strip("/"))
        entry = tarfile.TarInfo(name.strip("/"))
        entry.type, entry.mode = kind, mode
        return entry


def python_flags() -> list[str]:
    """The flags that give an image of `host_python` its programs."""
    folders = ["/usr"]
    folders += [
        f"/{n}" for n in _USRMERGED if os.path.isdir(f"/{n}") and not os.path.islink(f"/{n}")
    ]
    if not _PREFIX.startswith("/usr"):
        folders.append(_PREFIX)
    return [word for folder in folders for word in ("-v", f"{folder}:{folder}:ro")]


def python_command(program: str, *arguments: str) -> list[str]:
    """The words that run a program by the host's Python inside."""
    return [PYTHON, "-I", "-S", "-c", program, *arguments]


def wait_for(path: Path, *, seconds: float = 10) -> str:
    """The content of a file that a process inside will have written."""
    deadline = time.monotonic() + patience(seconds)
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was never written"
        time.sleep(0.02)
    return path.read_text()


def answer(text: str) -> Any:
    """The JSON that a probe printed on its last line."""
    return json.loads(text.strip().splitlines()[-1])


__all__ = [
    "PYTHON", "REPOSITORY", "SOURCE", "Rootfs", "answer", "in_python", "python_command",
    "python_flags", "run_as", "wait_for", "without",
]  # fmt: skip
