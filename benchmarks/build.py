"""The bench's cases about `build`: eight steps without the cache, and with all of it.

docker builds by its classic builder (DOCKER_BUILDKIT=0); podman's build is buildah's code. RUN
steps have the engines' default networks.
"""

from __future__ import annotations

from pathlib import Path

from lab import Lab
from measuring import measure
from report import Case

_STEPS = """\
FROM {busybox}
ENV LANG=C.UTF-8
RUN mkdir -p /srv/app && echo app > /etc/app
WORKDIR /srv/app
COPY requirements.txt .
RUN cp requirements.txt installed.txt
COPY . .
RUN find . -type f | sort > list.txt
CMD ["cat", "list.txt"]
"""
_FILES = 100
# podman's own are those of a machine that may raise its limits, which a container may not.
_ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


def bench_build(lab: Lab) -> list[Case]:
    """Eight steps, each made."""
    commands = {
        name: [*command, "--no-cache", "-t", f"bench/{name}", str(_context(lab, name))]
        for name, command in _builders(lab).items()
    }
    for command in commands.values():
        lab.output(*command)
    measured = measure(lab, "build", commands, {}, runs=1)
    return [Case("build of 8 steps, no cache", measured, {"docker": (0.5, 0.4)})]


def bench_cached_build(lab: Lab) -> list[Case]:
    """The same eight steps, each found in the cache."""
    commands = {
        name: [*command, "-t", f"bench/{name}", str(_context(lab, name))]
        for name, command in _builders(lab).items()
    }
    for command in commands.values():
        lab.output(*command)
    measured = measure(lab, "cached build", commands, {})
    return [Case("build of 8 steps, all cached", measured, {"docker": (1.0, 0.7)})]


def _builders(lab: Lab) -> dict[str, list[str]]:
    return {
        "minidock": [*lab.minidock, "build"],
        "docker": ["env", "DOCKER_BUILDKIT=0", *lab.docker, "build"],
        "podman": [*lab.podman, "build", "--layers", *_ULIMITS],
    }


def _context(lab: Lab, engine: str) -> Path:
    """A folder with the Dockerfile and a hundred small files."""
    folder = lab.home / f"build-for-{engine}"
    if folder.exists():
        return folder
    (folder / "src").mkdir(parents=True)
    busybox = "localhost/busybox" if engine == "podman" else "busybox"
    (folder / "Dockerfile").write_text(_STEPS.format(busybox=busybox))
    (folder / "requirements.txt").write_text("flask\n")
    for number in range(_FILES):
        (folder / f"src/module{number}.py").write_text(f"number = {number}\n" * 50)
    return folder


CASES = {
    "build": bench_build,
    "cached-build": bench_cached_build,
}
