"""The bench's cases about images as files: load, save, commit."""

from __future__ import annotations

import shlex

from lab import Lab
from measuring import measure
from report import Case


def bench_load(lab: Lab) -> list[Case]:
    """`load` of a Debian image; the image is removed, and the disk synced, before each load."""
    archive = lab.debian_archive()
    engines = {"minidock": lab.minidock, "docker": lab.docker, "podman": lab.podman}
    commands, prepare = {}, {}
    for name, engine in engines.items():
        commands[name] = [*engine, "load", "-i", str(archive)]
        lab.output(*commands[name])
        image = "docker.io/bench/debian" if name == "podman" else "bench/debian"
        forget = f"{shlex.join([*engine, 'rmi', image])} && sync"
        prepare[name] = shlex.join(["sh", "-c", forget])
    megabytes = round(archive.stat().st_size / 1e6)
    measured = measure(lab, "load", commands, prepare, runs=1)
    return [Case(f"load of a Debian image of {megabytes} MB", measured, {"docker": (1.0, 1.0)})]


CASES = {
    "load": bench_load,
}
