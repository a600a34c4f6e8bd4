#!/usr/bin/env python3
"""The same work by minidock, docker and podman in one go: times, ratios, and the machine's noise.

    make bench                              everything (about six minutes)
    python benchmarks/bench.py run exec     some cases: run bundle exec load memory ps
    python benchmarks/bench.py --readme     also put the table into README.md

To be fair to all, the engines take turns: each of ROUNDS rounds measures every engine once, by
hyperfine without a shell, so that a slow minute of the machine hits all of them. A ratio is between
medians over all rounds. The noise is what the same command differs from itself by: the spread of
its rounds' medians. Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from lab import REPOSITORY, Lab
from report import Case, Measured, table, write_readme

ROUNDS = 5
RUNS = 5


def measure(
    lab: Lab,
    title: str,
    commands: dict[str, list[str]],
    prepare: dict[str, str],
    *,
    runs: int = RUNS,
) -> dict[str, Measured]:
    """Time commands in turn; prepare: what to do before each run of a command, untimed."""
    rounds: dict[str, list[list[float]]] = {name: [] for name in commands}
    for number in range(ROUNDS):
        for name, command in commands.items():
            print(f"\r{title}: round {number + 1}/{ROUNDS} {name:12}", end="", file=sys.stderr)
            rounds[name].append(_hyperfine(lab, command, prepare.get(name), runs, number == 0))
    print(file=sys.stderr)
    return {name: Measured(times) for name, times in rounds.items()}


def _hyperfine(
    lab: Lab, command: list[str], prepare: str | None, runs: int, first: bool
) -> list[float]:
    answer = lab.home / "hyperfine.json"
    options = ["--prepare", prepare] if prepare else []
    warm_up = ["--warmup", "2" if first else "1"] if not prepare else []
    lab.output(
        *("hyperfine", "--shell=none", "--style=none", "--runs", str(runs)),
        *warm_up,
        *options,
        *("--export-json", str(answer), shlex.join(command)),
    )
    times: list[float] = json.loads(answer.read_text())["results"][0]["times"]
    return times


def bench_run(lab: Lab) -> list[Case]:
    """`run --rm busybox true`, with the default bridge and without a network."""
    bridge = {
        "minidock": [*lab.minidock, "run", "--rm", "busybox", "true"],
        "docker": [*lab.docker, "run", "--rm", "busybox", "true"],
        "podman": [*lab.podman, "run", "--rm", "localhost/busybox", "true"],
    }
    none = {
        name: [*command[:-2], "--network", "none", *command[-2:]]
        for name, command in bridge.items()
    }
    return [
        Case(
            "run --rm busybox true",
            measure(lab, "run", bridge, {}),
            {"docker": (0.45, 0.30), "podman": (0.55, 0.40)},
        ),
        Case("run --rm --network none busybox true", measure(lab, "run, no network", none, {}), {}),
    ]


def bench_bundle(lab: Lab) -> list[Case]:
    """The OCI runtime alone, on one bundle."""
    commands = {
        "minidock": [*lab.runtime, "run", "--bundle", str(lab.bundle), "bench"],
        "runc": [*lab.runc, "run", "--bundle", str(lab.bundle), "bench"],
    }
    with lab.default_store():  # the runtime is told where its state is; it needs no store
        measured = measure(lab, "bundle", commands, {})
    return [Case("minidock-runtime run, on a bundle", measured, {"runc": (1.6, 1.0)})]


def bench_exec(lab: Lab) -> list[Case]:
    """`exec` into a container that sleeps."""
    engines = {"minidock": lab.minidock, "docker": lab.docker, "podman": lab.podman}
    for name, engine in engines.items():
        image = "localhost/busybox" if name == "podman" else "busybox"
        lab.output(*engine, "run", "-d", "--name", "bench-exec", image, "sleep", "1000000")
    commands = {name: [*engine, "exec", "bench-exec", "true"] for name, engine in engines.items()}
    measured = measure(lab, "exec", commands, {})
    for engine in engines.values():
        lab.output(*engine, "rm", "-f", "bench-exec")
    return [Case("exec CONTAINER true", measured, {"docker": (0.6, 0.6)})]


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


def bench_memory(lab: Lab) -> list[Case]:
    """Private memory of the process that keeps a sleeping container: monitor, shim, conmon."""
    engines = {"minidock": lab.minidock, "docker": lab.docker, "podman": lab.podman}
    kept = {}
    for name, engine in engines.items():
        image = "localhost/busybox" if name == "podman" else "busybox"
        container = lab.output(*engine, "run", "-d", image, "sleep", "1000000")
        time.sleep(1)  # let it settle
        pid = int(lab.output(*engine, "inspect", "--format", "{{.State.Pid}}", container))
        keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        kept[name] = Measured([[_private_bytes(keeper) / 1e6]], unit="MB")
        lab.output(*engine, "rm", "-f", container)
    return [Case("memory of a sleeping container's keeper", kept, {}, at_most=12.0)]


def _private_bytes(pid: int) -> int:
    """Bytes that only this process has: Private_Clean and Private_Dirty of smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(x.split()[1]) * 1024 for x in lines if x.startswith("Private_"))


def bench_ps(lab: Lab) -> list[Case]:
    """`ps` and `ps -a` with 500 stopped containers, which are copies of one that ran."""
    lab.output(*lab.minidock, "run", "--name", "bench-ps", "busybox", "true")
    first = lab.output(*lab.minidock, "ps", "-aq", "--no-trunc").splitlines()[0]
    home = Path(lab.store.containers)
    for number in range(499):
        copy = f"{number:064x}"
        lab.output("cp", "-a", home / first, home / copy)
        document = home / copy / "container.json"
        text = document.read_text().replace(first, copy).replace("bench-ps", f"bench-ps-{number}")
        document.write_text(text)
    listed = len(lab.output(*lab.minidock, "ps", "-aq").splitlines())
    if listed != 500:
        raise RuntimeError(f"ps -a lists {listed} containers, not 500")
    commands = {"minidock": [*lab.minidock, "ps"]}
    listing = {"minidock": [*lab.minidock, "ps", "-a"]}
    cases = [
        Case("ps, with 500 stopped containers", measure(lab, "ps", commands, {}), {}, at_most=0.3),
        Case("ps -a of the same", measure(lab, "ps -a", listing, {}), {}),
    ]
    for number in range(499):
        lab.output("rm", "-r", home / f"{number:064x}")
    lab.output(*lab.minidock, "rm", "bench-ps")
    return cases


CASES = {
    "run": bench_run,
    "bundle": bench_bundle,
    "exec": bench_exec,
    "load": bench_load,
    "memory": bench_memory,
    "ps": bench_ps,
}


def machine_facts() -> dict[str, str]:
    """What the numbers were measured on."""

    def version(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]

    lines = Path("/etc/os-release").read_text().splitlines()
    release = dict(line.split("=", 1) for line in lines if "=" in line)
    name, kernel = release["PRETTY_NAME"].strip('"'), platform.release().split("-")[0]
    return {
        "system": f"{name}, Linux {kernel}",
        "cores": str(os.cpu_count()),
        "python": version("/usr/bin/python3", "--version"),
        "docker": version("docker", "--version"),
        "podman": version("podman", "--version"),
        "runc": version("runc", "--version"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {' '.join(CASES)}")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    chosen = parser.parse_args()
    if unknown := set(chosen.cases) - set(CASES):
        parser.error(f"no such case: {' '.join(sorted(unknown))} (there are: {' '.join(CASES)})")
    if os.geteuid() != 0:
        parser.error("the bench needs root")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the laboratory cleans up behind it
    cases: list[Case] = []
    facts = machine_facts()
    with Lab() as lab:
        for name in chosen.cases or CASES:
            cases += CASES[name](lab)
            print(table(cases[-1:], facts).splitlines()[2], file=sys.stderr)
    text = table(cases, facts)
    print(text)
    results = REPOSITORY / "benchmarks/results"
    results.mkdir(exist_ok=True)
    (results / "latest.md").write_text(text)
    raw = {"machine": facts, "cases": [case.as_json() for case in cases]}
    (results / "latest.json").write_text(json.dumps(raw, indent=1))
    if chosen.readme:
        write_readme(REPOSITORY / "README.md", text)
    return 0 if all(case.within_limits() for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
