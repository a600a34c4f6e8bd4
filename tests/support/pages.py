"""Pages of the docs whose output is real: their commands are run again, and must say the same.

In a page's console blocks, a line that begins with "$ " is a command (lines that begin with "> "
continue it), and what follows is what it printed. `rerun` gives the page with what its commands
print now; `masked` makes equal what differs by nature: ids, times, addresses, numbers of processes
and namespaces, lines of the source. Each stands for one thing throughout a page, so that what was
the same is the same and what was different is different.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from minidock.paths import DEFAULT_ROOT, Store
from support.command import REPOSITORY, command_line, environment
from support.patience import patience

_BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
_PORT = "8090"  # the port of this machine that pages publish

# What differs from run to run, and the name that stands for it. With a number behind the name where
# it matters which is which.
_DIFFERENT: tuple[tuple[str, str, bool], ...] = (
    (r"\bveth[0-9a-f]{11}\b", "veth", True),
    (r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b", "mac", True),
    (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "id", True),
    (r"\b40265\d{5}\b", "inode", True),
    (r"(?<=marked )0x[0-9a-f]+", "mark", True),
    (rf"(?<=\d:)(?!{_PORT})\d{{5}}\b", "port", True),
    (r"(?<=← monitor )\d+", "number", False),
    (r"\d+(?= processes of the host)|(?<=reached process )\d+|(?<=\(pid )\d+", "pid", False),
    (r"\b(?:172|192|10)(?:\.\d+){3}(?:/\d+)?", "address", True),
    (r"\+?\d+(?:\.\d+)? (?:µs|ms|s)\b", "time", False),
    (r"(?m)^ {0,5}\d+   (?=\w+\.\w+\()", "number ", False),
    (r"(?m)^ {0,5}\d+ (?=(?:engine|monitor|task|init) )", "number ", False),
    (r"(?m)(?<=-> )\d+$", "pid", False),
    (r"(?<=/proc/)\d+|(?<=netns )\d+", "pid", False),
    (r"(?<=\.py:)\d+", "line", False),
    (r"(?<=defined in) +\S+/", "directory", False),
    (r"(?m)^ *\d+(?= root +ps$)", "pid", False),
    (r"> /sys/fs/cgroup/\S+", "cgroup file", False),  # v1's or v2's
    (r'(?<="ifindex": )\d+', "index", False),
    (r"(?m)(?<=^\+ cgroup ) .*", "cgroup row", False),  # v1's or v2's
    (r"(?<=mounts: )\d+|(?<=hidden: )\d+|(?<=read-only: )\d+", "number", False),
    (r"(?<=devices and links: )\d+; rules: \d+", "numbers", False),
    (r"\d+(?= instructions)|\d+ of \d+(?= are left)", "number", False),
    (r"\b\d+ operations?; in several rows: \d+", "operations", False),
    (r"\b\d+ operations? of \d+.*|operation \d+(?= of|,)", "operations", False),
    (r"(?s)\b(?:\d+ operations?|longest): .*?(?=\nuntil|\nlongest|\n```|\n\n)", "totals", False),
)


def rerun(page: Path, store: Store, port: int, scratch: Path) -> str:
    """A page with what its commands print now.

    port: takes the place of the port that the page publishes. scratch: a directory of its own, in
    which the commands run.
    """
    shell = _Shell(store, port, scratch)

    def again(block: re.Match[str]) -> str:
        told = ""
        for command in _commands(block[0]):
            told += f"{command}\n{shell.run(_joined(command))}"
        return told

    return _BLOCK.sub(again, page.read_text(encoding="utf-8"))


def masked(text: str) -> str:
    """A page's text with names for what differs from run to run."""
    # Whether the root of a process can be entered depends on what else runs on the machine.
    leak = r"(?m)^ +so mount leaks too: /proc/\d+/root .*\n( +still isolated: )"
    text = re.sub(leak, r"\1mount, ", text)
    text = re.sub(r" \\\n +", " ", text)  # where a long command is folded depends on its words
    text = re.sub(r"(?m)^( +\d+   [\w.]+\().*?(?= +[\w-]+\(\d\) )", r"\1…)", text)  # cut arguments
    text = re.sub(r"(?m)^((?:engine|monitor|init) +[\w.]+ +)\d+(?= )", r"\1<count>", text)
    text = re.sub(r"(?m)^([-+] (?!cgroup )\w+ +)\d+(?=  )", r"\1<count>", text)  # of rows
    for pattern, name, which in _DIFFERENT:
        text = re.sub(pattern, _namer(name, which=which), text)
    return re.sub(r"─+", "─", re.sub(r"[ \t]+", " ", text))


def _namer(name: str, *, which: bool) -> Callable[[re.Match[str]], str]:
    known: dict[str, int] = {}

    def give(found: re.Match[str]) -> str:
        key = found[0][:12] if name == "id" else found[0]
        number = known.setdefault(key, len(known) + 1)
        return f"<{name} {number}>" if which else f"<{name}>"

    return give


def _commands(block: str) -> list[str]:
    """The commands of a block as they stand there, with the lines that continue them."""
    return re.findall(r"^\$ .*(?:\n> .*)*", block, re.MULTILINE)


def _joined(command: str) -> str:
    return "\n".join(line[2:] for line in command.splitlines())


class _Shell:
    """Runs commands as a reader would, on a test's store, and tells what they print as theirs."""

    def __init__(self, store: Store, port: int, scratch: Path) -> None:
        self._scratch = scratch
        self._port = port
        programs = scratch / "bin"
        programs.mkdir()
        (programs / "minidock").write_text(f'#!/bin/sh\nexec {shlex.join(command_line())} "$@"\n')
        (programs / "minidock").chmod(0o755)
        self._env = {
            **environment(store.root),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "LANGUAGE": "",
        }
        self._names = {
            f"{REPOSITORY}/": "",
            store.root: DEFAULT_ROOT,
            store.run: "/run/minidock",
            store.cgroup_parent: "minidock",
            store.bridge: "minidock0",
            # where it stands at the end of what was cut
            **{
                f"{store.bridge[:n]}…": f"{'minidock0'[:n]}…"
                for n in range(len(store.bridge), 2, -1)
            },
        }

    def run(self, command: str) -> str:
        """What a command prints, on either stream."""
        done = subprocess.run(
            ["bash", "-c", re.sub(rf"\b{_PORT}\b", str(self._port), command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._scratch,
            env=self._env,
            timeout=patience(60),
        )
        told = done.stdout.decode("utf-8", "replace")
        told = re.sub(rf"\b{self._port}\b", _PORT, told)
        for ours, theirs in self._names.items():
            told = told.replace(ours, theirs)
        return told if not told or told.endswith("\n") else told + "\n"
