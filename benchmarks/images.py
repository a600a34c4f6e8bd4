"""The bench's cases about images as files: load, save, commit.

What a run of a case has made is removed, and the disk synced, before the next one.
"""

from __future__ import annotations

import shlex

from lab import Lab
from measuring import measure
from report import Case

# Of the faster of the two.
LIMITS = {"docker": (0.8, 0.5), "podman": (0.8, 0.5)}
_WRITE_100_MB = "for n in $(seq 100); do dd if=/dev/urandom of=/big$n bs=1M count=1; done"


def bench_load(lab: Lab) -> list[Case]:
    """`load` of a Debian image."""
    archive = lab.debian_archive()
    commands, prepare = {}, {}
    for name, engine in engines(lab).items():
        commands[name] = [*engine, "load", "-i", str(archive)]
        lab.output(*commands[name])
        prepare[name] = before([*engine, "rmi", named(name, "bench/debian")])
    megabytes = round(archive.stat().st_size / 1e6)
    measured = measure(lab, "load", commands, prepare, runs=1)
    return [Case(f"load of a Debian image of {megabytes} MB", measured, LIMITS)]


def bench_save(lab: Lab) -> list[Case]:
    """`save` of the same image."""
    archive = lab.debian_archive()
    commands, prepare = {}, {}
    for name, engine in engines(lab).items():
        lab.output(*engine, "load", "-i", archive)
        target = f"{lab.home}/saved-by-{name}.tar"
        commands[name] = [*engine, "save", "-o", target, named(name, "bench/debian")]
        prepare[name] = before(["rm", "-f", target])  # podman refuses to write over one
    megabytes = round(archive.stat().st_size / 1e6)
    measured = measure(lab, "save", commands, prepare, runs=1)
    for name, engine in engines(lab).items():
        lab.output(*engine, "rmi", named(name, "bench/debian"))
    return [Case(f"save of a Debian image of {megabytes} MB", measured, LIMITS)]


def bench_commit(lab: Lab) -> list[Case]:
    """`commit` of a stopped container that wrote a hundred files of 1 MiB."""
    commands, prepare = {}, {}
    for name, engine in engines(lab).items():
        image = named(name, "busybox", registry="localhost")
        options = ["--name", "bench-commit", "--network", "none"]
        lab.output(*engine, "run", *options, image, "sh", "-c", f"({_WRITE_100_MB}) 2>/dev/null")
        commands[name] = [*engine, "commit", "bench-commit", "bench/committed"]
        lab.output(*commands[name])
        prepare[name] = before([*engine, "rmi", named(name, "bench/committed", "localhost")])
    measured = measure(lab, "commit", commands, prepare, runs=1)
    for engine in engines(lab).values():
        lab.output(*engine, "rm", "-f", "bench-commit")
    return [Case("commit of 100 MB", measured, LIMITS)]


def engines(lab: Lab) -> dict[str, list[str]]:
    return {"minidock": lab.minidock, "docker": lab.docker, "podman": lab.podman}


def named(engine: str, image: str, registry: str = "docker.io") -> str:
    """An image's name; podman wants its registry said."""
    return f"{registry}/{image}" if engine == "podman" else image


def before(command: list[str]) -> str:
    return shlex.join(["sh", "-c", f"{shlex.join(command)} && sync"])


CASES = {
    "load": bench_load,
    "save": bench_save,
    "commit": bench_commit,
}
