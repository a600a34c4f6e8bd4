"""A real dockerd of our own, to hold minidock against: own data, own socket, gone afterwards.

Kinds: "plain" has no bridge and touches no firewall, and each worker has one of its own, for tests
use the same names of images; "runtimes" is another of these, started with an OCI runtime of the
test's; "networked" has a bridge and docker's rules, and one serves all of a test run, for dockerd
takes the firewall's DOCKER chains to be its own. So it does with docker0: the bridge is made here,
with a name of its own. Who needs a daemon first starts it; the run's controller stops all of them,
and removes their traces.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import machine
from support.patience import patience


class NoDaemon(Exception):
    """No dockerd can be started here."""


class Docker:
    """The docker command line, talking to one daemon.

    home: the daemon's directory; kind: "plain", "runtimes" or "networked".
    """

    def __init__(self, home: Path, kind: str) -> None:
        self.home = home
        self.kind = kind
        self.socket = home / "sock"
        self.record = home / "daemon.json"
        self.cgroup_parent = f"{home.name}-{home.parent.name}"
        number = zlib.crc32(str(home).encode())
        self.bridge = f"dk{number:08x}"
        self.address = f"10.213.{number % 250}.1/24"
        # Not a test's own MINIDOCK_ROOT: by that name its store's processes are found and killed.
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MINIDOCK_")}
        self.environment = {**kept, "DOCKER_CONFIG": str(home / "client")}

    def __call__(
        self, *arguments: str, stdin: bytes | None = None, timeout_seconds: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `docker ARGUMENTS` to its end, whatever its exit code."""
        return subprocess.run(
            ["docker", "-H", f"unix://{self.socket}", *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=self.environment,
            timeout=patience(timeout_seconds),
        )

    def ok(self, *arguments: str, stdin: bytes | None = None, timeout_seconds: float = 120) -> str:
        """Run it, expect exit code 0, return its stdout without the last line break."""
        done = self(*arguments, stdin=stdin, timeout_seconds=timeout_seconds)
        assert done.returncode == 0, f"docker {arguments}: {done.stderr.decode()}"
        return done.stdout.decode().removesuffix("\n")

    def remove_all_containers(self) -> None:
        """Remove every container of this daemon; some may be on their way out already."""
        deadline = time.monotonic() + patience(30)
        while ids := self.ok("ps", "-aq").split():
            done = self("rm", "-f", *ids)
            assert done.returncode == 0 or time.monotonic() < deadline, done.stderr


def ensure(session: Path, kind: str, *, options: tuple[str, ...] = ()) -> Docker:
    """The session's daemon of a kind, started if no one has yet."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "") if kind != "networked" else ""
    home = session / f"docker-{kind}{worker}"
    home.mkdir(exist_ok=True)
    docker = Docker(home, kind)
    with _locked(home / "lock"):
        if not docker.record.exists():
            _start(docker, options)
    return docker


def stop_all(session: Path) -> None:
    """Stop the session's daemons, and only then remove what they leave behind.

    Whether docker's chains may go depends on whether anybody's dockerd still runs.
    """
    daemons = []
    for path in session.glob("docker-*/daemon.json"):
        record = json.loads(path.read_text())
        docker = Docker(path.parent, record["kind"])
        _stop(docker, record)
        daemons.append((docker, record))
    for docker, record in daemons:
        _remove_what_is_left(docker, record)


def _start(docker: Docker, options: tuple[str, ...]) -> None:
    if docker.kind == "networked":
        network = [f"--bridge={docker.bridge}", "--ip6tables=false"]
        ip("link", "add", docker.bridge, "type", "bridge")
        ip("address", "add", docker.address, "dev", docker.bridge)
        ip("link", "set", docker.bridge, "up")
    else:
        network = ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    before = {k: sorted(v) for k, v in machine.snapshot().items()}
    run = f"/run/docker-{docker.kind}-{os.getpid()}"  # short: a socket's path has 108 bytes
    with open(docker.home / "log", "ab") as log:
        daemon = subprocess.Popen(
            [
                "dockerd",
                f"--data-root={docker.home}/data",
                f"--exec-root={run}",
                f"--pidfile={docker.home}/pid",
                f"--host=unix://{docker.socket}",
                f"--cgroup-parent=/{docker.cgroup_parent}",
                "--exec-opt=native.cgroupdriver=cgroupfs",
                *network,
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=docker.environment,
            start_new_session=True,
        )
    record = {"kind": docker.kind, "pid": daemon.pid, "run": run, "before": before}
    docker.record.write_text(json.dumps(record))
    deadline = time.monotonic() + patience(60)
    while docker("version").returncode != 0:
        if daemon.poll() is not None or time.monotonic() > deadline:
            text = (docker.home / "log").read_text(errors="replace")
            raise NoDaemon(f"dockerd did not come up: {text[-2000:]}")
        time.sleep(0.1)


def _stop(docker: Docker, record: dict[str, Any]) -> None:
    if docker("version").returncode == 0:
        docker.remove_all_containers()
    _terminate(record["pid"])


def _remove_what_is_left(docker: Docker, record: dict[str, Any]) -> None:
    """A stopped daemon's mounts, links, rules, cgroups and files."""
    run = record["run"]
    machine.unmount_below(docker.home, run)
    _remove_traces(docker, {kind: set(items) for kind, items in record["before"].items()})
    shutil.rmtree(run, ignore_errors=True)
    shutil.rmtree(docker.home / "data", ignore_errors=True)
    docker.record.unlink()


def _remove_traces(docker: Docker, before: machine.Snapshot) -> None:
    """Remove the daemon's links, chains, cgroups and files that were not there before."""
    if docker.kind == "networked":
        ip("link", "delete", docker.bridge)
        _remove_docker_rules(docker, before)
    for path in sorted(machine.cgroups(), key=len, reverse=True):
        if f"/{docker.cgroup_parent}" in path:
            os.rmdir(path)
    for path in machine.runtime_files() - before["file"]:
        if path in ("/run/docker", "/run/containerd", "/run/runc"):
            shutil.rmtree(path, ignore_errors=True)


def _remove_docker_rules(docker: Docker, before: machine.Snapshot) -> None:
    """Delete the bridge's rules; and, if no other dockerd runs, docker's chains and its policy."""
    new = machine.firewall_rules() - before["firewall rule"]
    alone = not any("dockerd " in process for process in machine.processes())
    subnet = docker.address.rpartition(".")[0] + "."
    for command in ("iptables", "ip6tables"):
        for table in ("filter", "nat", "raw"):
            ours = [e.split(" ", 2)[2] for e in new if e.startswith(f"{command} {table} ")]
            marks = (docker.bridge, subnet, *(["DOCKER"] if alone else []))
            rules = [r for r in ours if any(mark in r for mark in marks)]
            chains = [m[1] for r in rules if (m := re.match(r":(\S+)", r))]
            deletions = ["-D" + r[2:] for r in rules if r.startswith("-A ")]
            dropped = alone and "policy of FORWARD: DROP" in ours
            policy = [":FORWARD ACCEPT [0:0]"] if dropped else []
            if not (chains or deletions or policy):
                continue
            lines = [f"*{table}", *policy, *deletions]
            lines += [f"-F {c}" for c in chains] + [f"-X {c}" for c in chains] + ["COMMIT", ""]
            subprocess.run(
                [f"{command}-restore", "--noflush", "--wait"],
                input="\n".join(lines),
                text=True,
                check=True,
                capture_output=True,
            )


def ip(*words: str) -> None:
    """Run iproute2's ip, which must succeed."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _terminate(pid: int) -> None:
    """End a daemon, and its containerd with it: TERM, then KILL for the whole session."""
    for number, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        try:
            os.kill(pid, number) if number == signal.SIGTERM else os.killpg(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience(seconds)
        while time.monotonic() < deadline:
            try:
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    return
            except (FileNotFoundError, ProcessLookupError):
                return
            time.sleep(0.05)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
