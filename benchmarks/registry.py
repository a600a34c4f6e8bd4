"""The bench's cases about registries: pull and push, to Debian's docker-registry on loopback.

All three pull the same blob, which docker compressed. What a run of a case has brought somewhere is
removed, and the disk synced, before the next one: for push that is all that the registry has.
dockerd has a network of its own, so the registry and all three are in that.
"""

from __future__ import annotations

import shlex

from images import LIMITS, before, engines, named
from lab import Lab
from measuring import measure
from report import Case

from support import registry

_UNSAFE = {"podman": ["--tls-verify=false"]}  # the others know that loopback may be plain http
_IMAGE = "bench/debian"


def bench_pull(lab: Lab) -> list[Case]:
    """`pull` of a Debian image of one layer."""
    archive = lab.debian_archive()
    with registry.serve(lab.home / "registry-pull", inside=lab.inside) as running:
        name = f"{running.host}/{_IMAGE}"
        lab.output(*lab.docker, "load", "-i", archive)
        lab.output(*lab.docker, "tag", _IMAGE, name)
        lab.output(*lab.docker, "push", name)
        lab.output(*lab.docker, "rmi", "-f", name, _IMAGE)
        commands, prepare = {}, {}
        for engine, command in _engines(lab).items():
            commands[engine] = [*command, "pull", *_UNSAFE.get(engine, []), name]
            lab.output(*commands[engine])
            prepare[engine] = before(
                ["sh", "-c", f"{shlex.join(command)} images -q {name} | xargs {_rmi(command)}"]
            )
        measured = measure(lab, "pull", commands, prepare, runs=1)
        for engine in _engines(lab):
            lab.output("sh", "-c", prepare[engine])
    return [Case(f"pull of the same {_megabytes(lab)} MB from loopback", measured, LIMITS)]


def bench_push(lab: Lab) -> list[Case]:
    """`push` of the same image to a registry that has nothing."""
    archive = lab.debian_archive()
    with registry.serve(lab.home / "registry-push", inside=lab.inside) as running:
        name = f"{running.host}/{_IMAGE}"
        empty = before(["rm", "-rf", str(running.root / "docker")])
        commands, prepare = {}, {}
        for engine, command in _engines(lab).items():
            lab.output(*command, "load", "-i", archive)
            lab.output(*command, "tag", named(engine, _IMAGE), name)
            commands[engine] = [*command, "push", *_UNSAFE.get(engine, []), name]
            prepare[engine] = empty
        measured = measure(lab, "push", commands, prepare, runs=1)
        for engine, command in _engines(lab).items():
            lab.output(*command, "rmi", "-f", name, named(engine, _IMAGE))
    return [Case(f"push of the same {_megabytes(lab)} MB to loopback", measured, LIMITS)]


def _engines(lab: Lab) -> dict[str, list[str]]:
    """All on docker's network, whose loopback the registry listens on."""
    return {engine: [*lab.inside, *command] for engine, command in engines(lab).items()}


def _rmi(command: list[str]) -> str:
    """By id, and with -f: the image has a name by digest, too."""
    return f"-r {shlex.join(command)} rmi -f"


def _megabytes(lab: Lab) -> int:
    return round(lab.debian_archive().stat().st_size / 1e6)


CASES = {
    "pull": bench_pull,
    "push": bench_push,
}
