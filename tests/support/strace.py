"""strace of minidock: which of the kernel calls that make containers its own processes make.

    watched   clone3, unshare, setns, mount, umount2, pivot_root, sethostname, mount_setattr,
              and each write(2) into a file of a cgroup

A process counts as minidock's until it executes something else than a Python of minidock: from then
on it is the container's command, or a helper program such as iptables.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.command import command_line, environment

CALLS = (
    "clone3", "unshare", "setns", "mount", "umount2", "pivot_root", "sethostname", "mount_setattr",
)  # fmt: skip
_LINE = re.compile(r"(?P<pid>\d+) +(?P<time>\d+\.\d+) (?P<rest>.*)")
_CGROUP_WRITE = re.compile(r'write\(\d+<(?P<path>/sys/fs/cgroup/[^>]*)>, "(?P<value>[^"]*)"')


@dataclass(frozen=True)
class Call:
    """One system call. kind: its name; "spawn" for posix_spawn's clone3, or "cgroup write".

    time: when it began, in seconds since 1970. text: as strace shows it.
    """

    pid: int
    time: float
    kind: str
    text: str


def start(
    strace: str, output: Path, root: str, *arguments: str, **popen: object
) -> subprocess.Popen[bytes]:
    """Run `minidock ARGUMENTS` with all its children under strace."""
    traced = f"trace={','.join((*CALLS, 'write', 'execve'))}"
    options = ["-f", "-y", "-ttt", "-s", "256", "-e", traced, "-e", "signal=none"]
    command = [strace, *options, "-o", str(output), *command_line(), *arguments]
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        command, env=environment(root), **popen
    )


def calls(output: Path) -> list[Call]:
    """What minidock's own processes called, in the order of beginning."""
    foreign: set[int] = set()
    found = []
    for line in output.read_text().splitlines():
        match = _LINE.match(line)
        assert match, line
        pid, rest = int(match["pid"]), match["rest"]
        if rest.startswith("execve("):
            if "python" not in rest.partition('"')[2].partition('"')[0]:
                foreign.add(pid)
            continue
        if pid in foreign or rest.startswith(("<...", "+++", "---")):
            continue
        found += [Call(pid, float(match["time"]), kind, text) for kind, text in _kinds(rest)]
    return found


def _kinds(rest: str) -> Iterator[tuple[str, str]]:
    name = rest.partition("(")[0]
    if written := _CGROUP_WRITE.match(rest):
        yield "cgroup write", f"{written['value']} > {written['path']}"
    elif name == "clone3" and "CLONE_VFORK" in rest:
        yield "spawn", rest
    elif name in CALLS:
        yield name, rest
