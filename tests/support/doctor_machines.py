"""Machines for the doctor that are not here: what they answer is in files of tests/fixtures/doctor.

    # how and where it was recorded, or what it is made after
    === based on debian-13               all that is not said below is as there
    === read /proc/sys/net/ipv4/ip_forward
    1
    === read /etc/ufw/ufw.conf (gone)    not there, although the base has it
    === names /run
    docker.pid lock systemd
    === run 0 iptables -V                the exit code, then the command; below, what it printed
    iptables v1.8.11 (nf_tables)
    === tried userns
    root
    user: unshare(2) user: Operation not permitted (EPERM)
    === told architecture
    x86_64

A file that is not named does not exist; a program that is not named is not installed; a probe that
is not named could not be tried. To record the machine that one is on, as root, from the repository:

    PYTHONPATH=src:tests python3 -m support.doctor_machines > tests/fixtures/doctor/NAME.txt
"""

from __future__ import annotations

import re
from pathlib import Path

from minidock.engine.doctor.machine import Answer, Machine
from minidock.engine.doctor.report import examine
from minidock.paths import Store

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures/doctor"

Blocks = dict[str, str]

# Of files that say much more (an environment may hold passwords), the lines that matter.
_KEPT = {
    "/proc/self/status": r"^(?:Uid|CapEff):.*",
    "/proc/self/limits": r"^Max open files.*",
    "/proc/1/environ": r"container=[^\0]+",
    "/proc/self/mountinfo": r"^(?:\S+ ){4}(?:/ |/run |/proc[ /]|/sys/fs/cgroup|/var/lib).*",
}


class Recorded(Machine):
    """A machine out of a file.

    changes: headings -> texts that replace the file's, such as {"read /proc/x": "1"}; a heading
    with None is taken away.
    """

    def __init__(self, name: str, changes: dict[str, str | None] | None = None) -> None:
        super().__init__(Store("/var/lib/minidock"))
        self._blocks = _load(name)
        for heading, text in (changes or {}).items():
            _put(self._blocks, heading, text)

    def read(self, path: str) -> str | None:
        return self._blocks.get(f"read {path}")

    def names(self, path: str) -> list[str] | None:
        text = self._blocks.get(f"names {path}")
        return None if text is None else text.split()

    def run(self, program: str, *arguments: str) -> Answer | None:
        command = " ".join((program, *arguments))
        for heading, text in self._blocks.items():
            verb, code, what = (*heading.split(" ", 2), "", "")[:3]
            if verb == "run" and what == command:
                return Answer(int(code), text)
        return None

    def try_out(self, probe: str) -> dict[str, str]:
        lines = self._blocks.get(f"tried {probe}", "").splitlines()
        return {part: reason for part, _, reason in (line.partition(": ") for line in lines)}

    def tell(self, fact: str) -> list[str]:
        return self._blocks.get(f"told {fact}", "").splitlines()


class Recording(Machine):
    """This machine, which writes down what it is asked and what it answers."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.blocks: Blocks = {}

    def read(self, path: str) -> str | None:
        text = super().read(path)
        if text is not None:
            kept = re.findall(_KEPT.get(path, r"(?s)^.*$"), text, re.MULTILINE)
            self.blocks[f"read {path}"] = "\n".join(kept)
        return text

    def names(self, path: str) -> list[str] | None:
        names = super().names(path)
        if names is not None:
            self.blocks[f"names {path}"] = " ".join(names)
        return names

    def run(self, program: str, *arguments: str) -> Answer | None:
        answer = super().run(program, *arguments)
        if answer is not None:
            self.blocks[f"run {answer.code} {' '.join((program, *arguments))}"] = answer.text
        return answer

    def try_out(self, probe: str) -> dict[str, str]:
        parts = super().try_out(probe)
        if parts:
            lines = [f"{part}: {reason}" if reason else part for part, reason in parts.items()]
            self.blocks[f"tried {probe}"] = "\n".join(lines)
        return parts

    def tell(self, fact: str) -> list[str]:
        told = super().tell(fact)
        self.blocks[f"told {fact}"] = "\n".join(told)
        return told


def every() -> list[str]:
    """The names of all recorded machines."""
    return sorted(path.stem for path in FIXTURES.glob("*.txt"))


def _load(name: str) -> Blocks:
    """A fixture's blocks, on top of those of the one that it is based on."""
    comment, *pieces = (FIXTURES / f"{name}.txt").read_text().split("=== ")
    assert comment.startswith("# "), f"{name}: says not how it came to be"
    blocks: Blocks = {}
    for piece in pieces:
        heading, _, text = piece.partition("\n")
        if heading.startswith("based on "):
            blocks.update(_load(heading.removeprefix("based on ")))
        elif heading.endswith(" (gone)"):
            _put(blocks, heading.removesuffix(" (gone)"), None)
        else:
            _put(blocks, heading, text.strip("\n"))
    return blocks


def _put(blocks: Blocks, heading: str, text: str | None) -> None:
    """Replace an answer, or remove it (None); a program's answer may have any exit code."""
    if heading.startswith("run "):
        command = heading.split(" ", 2)[2]
        for old in [h for h in blocks if h.startswith("run ") and h.split(" ", 2)[2] == command]:
            del blocks[old]
    if text is None:
        blocks.pop(heading, None)
    else:
        blocks[heading] = text


def _record() -> str:
    machine = Recording(Store())
    examine(machine)
    return "\n".join(f"=== {heading}\n{text}" for heading, text in machine.blocks.items())


if __name__ == "__main__":
    print(f"# Recorded on\n{_record()}")
