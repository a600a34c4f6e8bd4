"""A real dockerd of our own, to hold minidock against: own data, own socket, gone afterwards.

Each daemon has a network namespace and a mount namespace of its own, with a /run of its own: one
that is started with --bridge=none deletes docker0, and each takes DOCKER chains, /run/docker and
/run/containerd to be its own. So the Docker that works on this machine is not touched, and what a
daemon makes of links, rules and mounts ends with its last process.

Kinds: "plain" has no bridge and no rules, and each worker has one of its own, for tests use the
same names of images; so have "runtimes", started with an OCI runtime of the test's, and "images".
"networked" has docker0 and docker's rules, and one serves all of a test run. Its published ports
are reached by `Docker.inside`. Registries of the tests, on the machine's loopback, are reached by
all but "networked" (support/loopback.py).

Who needs a daemon first starts it; the run's controller stops all of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import machine
from support.patience import patience


class NoDaemon(Exception):
    """No dockerd can be started here."""


class Docker:
    """The docker command line, talking to one daemon.

    home: the daemon's directory; kind: "plain", "runtimes", "images" or "networked".
    """

    def __init__(self, home: Path, kind: str) -> None:
        self.home = home
        self.kind = kind
        self.socket = home / "sock"
        self.record = home / "daemon.json"
        self.cgroup_parent = f"{home.name}-{home.parent.name}"
        self.address = f"10.213.{zlib.crc32(str(home).encode()) % 250}.1/24"
        # Not a test's own MINIDOCK_ROOT: by that name its store's processes are found and killed.
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MINIDOCK_")}
        self.environment = {**kept, "DOCKER_CONFIG": str(home / "client")}

    @property
    def pid(self) -> int:
        """The daemon's process."""
        return int(json.loads(self.record.read_text())["pid"])

    @property
    def inside(self) -> list[str]:
        """The words before a command that is to run in the daemon's network: on "its host"."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]

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
    """Stop the session's daemons, and remove what they leave behind."""
    for path in session.glob("docker-*/daemon.json"):
        record = json.loads(path.read_text())
        docker = Docker(path.parent, record["kind"])
        if docker("version").returncode == 0:
            docker.remove_all_containers()
        _terminate(docker.pid)
        if "relay" in record:
            machine.kill_and_wait(record["relay"])
        for group in sorted(machine.cgroups(), key=len, reverse=True):
            if f"/{docker.cgroup_parent}" in group:
                os.rmdir(group)
        shutil.rmtree(docker.home / "data", ignore_errors=True)
        docker.record.unlink()


def apart(*command: str, network: bool = True) -> list[str]:
    """The words that start a daemon in namespaces of its own, with a /run that nobody else sees.

    Where the machine's resolv.conf is a link into /run, the daemon finds it there as well.
    network: not, where the caller is in a namespace of its own already.
    """
    net = ["--net"] if network else []
    return ["unshare", *net, "--mount", "--propagation", "slave", "sh", "-ec", _APART, *command]


_APART = """
resolver=$(cat /etc/resolv.conf || true)
path=$(readlink -m /etc/resolv.conf)
mount -t tmpfs -o mode=755 tmpfs /run
case $path in /run/*) mkdir -p "${path%/*}"; echo "$resolver" >"$path" ;; esac
ip link set lo up
exec "$0" "$@"
"""


def _start(docker: Docker, options: tuple[str, ...]) -> None:
    if docker.kind == "networked":
        network = [f"--bip={docker.address}", "--ip6tables=false"]
    else:
        network = ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    with open(docker.home / "log", "ab") as log:
        daemon = subprocess.Popen(
            apart(
                "dockerd",
                f"--data-root={docker.home}/data",
                f"--pidfile={docker.home}/pid",
                f"--host=unix://{docker.socket}",
                f"--cgroup-parent=/{docker.cgroup_parent}",
                "--exec-opt=native.cgroupdriver=cgroupfs",
                *network,
                *options,
            ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=docker.environment,
            start_new_session=True,
        )
    docker.record.write_text(json.dumps({"kind": docker.kind, "pid": daemon.pid}))
    deadline = time.monotonic() + patience(60)
    while docker("version").returncode != 0:
        if daemon.poll() is not None or time.monotonic() > deadline:
            text = (docker.home / "log").read_text(errors="replace")
            raise NoDaemon(f"dockerd did not come up: {text[-2000:]}")
        time.sleep(0.1)
    if docker.kind != "networked":
        _connect_loopback(docker)


def _connect_loopback(docker: Docker) -> None:
    """Let the daemon reach servers on this machine's loopback; ends with the daemon's session."""
    machines = os.open("/proc/self/ns/net", os.O_RDONLY)
    command = [*docker.inside, sys.executable, "-m", "support.loopback", str(machines)]
    path = os.pathsep.join(p for p in sys.path if p)
    with open(docker.home / "log", "ab") as log:
        relay = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**docker.environment, "PYTHONPATH": path},
            pass_fds=[machines],
            process_group=0,
        )
    os.close(machines)
    assert relay.stdout
    if relay.stdout.readline() != b"ready\n":
        raise NoDaemon(f"support.loopback did not come up: see {docker.home}/log")
    record = {"kind": docker.kind, "pid": docker.pid, "relay": relay.pid}
    docker.record.write_text(json.dumps(record))


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
