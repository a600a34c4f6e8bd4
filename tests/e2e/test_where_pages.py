"""docs/where.md and docs/ns.md: what their console blocks show is what the commands print.

A line "…" stands for any number of lines, a "…" at the end of a line for the rest of it. Ids and
numbers (sizes, processes, inodes) may be others; a store's names are those of the default one.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from minidock.paths import Store
from support.command import REPOSITORY, Minidock

pytestmark = pytest.mark.root


def blocks(page: str) -> list[tuple[str, list[str]]]:
    """The commands of a page, each with the lines below it."""
    found: list[tuple[str, list[str]]] = []
    text = (REPOSITORY / "docs" / page).read_text()
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def plain(line: str) -> str:
    """A line without what is different each time."""
    line = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{11,64}\b|veth[0-9a-f]{11}", "ID", line)
    line = re.sub(r"\d+(\.\d+)*", "N", line)
    line = re.sub(r"\bN (object|process)(?:s|es)?\b", r"N \1(s)", line)
    return re.sub(r" +", " ", line).rstrip()


def pattern(lines: list[str]) -> str:
    """The lines of a page as a regular expression for a whole output."""
    parts = []
    for line in lines:
        if line == "…":
            parts.append(r"(?:.*\n)*?")
        elif line.endswith("…") and not line.startswith("  layer"):
            parts.append(re.escape(plain(line[:-1])) + r".*\n(?: (?!\$).*\n)*")
        else:
            parts.append(re.escape(plain(line)) + r"\n")
    return "".join(parts)


def test_pages_show_what_the_commands_print(
    store: Store, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    shown = 0
    for command, lines in [*blocks("where.md"), *blocks("ns.md")]:
        if command.startswith("cat "):
            (tmp_path / "Dockerfile").write_text("\n".join(lines) + "\n")
            continue
        words = shlex.split(command.replace(" .", f" {tmp_path}").replace("8090:80", "0:80"))
        assert words[0] == "minidock"
        printed = minidock.ok(*words[1:])
        if not lines:
            continue
        for ours, theirs in (
            (store.root, "/var/lib/minidock"), (store.run, "/run/minidock"),
            (store.cgroup_parent, "minidock"), (store.bridge, "minidock0"),
        ):  # fmt: skip
            printed = printed.replace(ours, theirs)
        printed = "".join(plain(line) + "\n" for line in printed.splitlines())
        assert re.fullmatch(pattern(lines), printed), f"{command}\n{printed}"
        shown += 1
    assert shown == 10
