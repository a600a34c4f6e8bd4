"""The bench's cases about containers: run, exec, ps, and the memory that a container costs."""

from __future__ import annotations

import time
from pathlib import Path

from lab import Lab
from measuring import measure
from report import Case, Measured


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
    with (
        lab.default_store()
    ):  # the runtime has an option for its state directory; it needs no store
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


def bench_memory(lab: Lab) -> list[Case]:
    """Private memory of the process beside a sleeping container: monitor, shim, conmon."""
    engines = {"minidock": lab.minidock, "docker": lab.docker, "podman": lab.podman}
    kept = {}
    for name, engine in engines.items():
        image = "localhost/busybox" if name == "podman" else "busybox"
        container = lab.output(*engine, "run", "-d", image, "sleep", "1000000")
        time.sleep(1)  # let it settle
        pid = int(lab.output(*engine, "inspect", "--format", "{{.State.Pid}}", container))
        monitor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        kept[name] = Measured([[_private_bytes(monitor) / 1e6]], unit="MB")
        lab.output(*engine, "rm", "-f", container)
    return [Case("memory of a sleeping container's monitor", kept, {}, at_most=12.0)]


def _private_bytes(pid: int) -> int:
    """Bytes that only this process has: Private_Clean and Private_Dirty of smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(x.split()[1]) * 1024 for x in lines if x.startswith("Private_"))


def bench_ps(lab: Lab) -> list[Case]:
    """`ps` and `ps -a` with 1000 stopped containers, which are copies of one that ran."""
    lab.output(*lab.minidock, "run", "--name", "bench-ps", "busybox", "true")
    first = lab.output(*lab.minidock, "ps", "-aq", "--no-trunc").splitlines()[0]
    home = Path(lab.store.containers)
    for number in range(999):
        copy = f"{number:064x}"
        lab.output("cp", "-a", home / first, home / copy)
        document = home / copy / "container.json"
        text = document.read_text().replace(first, copy).replace("bench-ps", f"bench-ps-{number}")
        document.write_text(text)
    listed = len(lab.output(*lab.minidock, "ps", "-aq").splitlines())
    if listed != 1000:
        raise RuntimeError(f"ps -a lists {listed} containers, not 1000")
    commands = {"minidock": [*lab.minidock, "ps"]}
    listing = {"minidock": [*lab.minidock, "ps", "-a"]}
    cases = [
        Case("ps, with 1000 stopped containers", measure(lab, "ps", commands, {}), {}, at_most=0.3),
        Case("ps -a of the same", measure(lab, "ps -a", listing, {}), {}, at_most=0.5),
    ]
    for number in range(999):
        lab.output("rm", "-r", home / f"{number:064x}")
    lab.output(*lab.minidock, "rm", "bench-ps")
    return cases


CASES = {
    "run": bench_run,
    "bundle": bench_bundle,
    "exec": bench_exec,
    "memory": bench_memory,
    "ps": bench_ps,
}
