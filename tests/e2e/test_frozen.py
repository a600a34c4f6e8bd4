"""A process that is stopped on its way into a container holds up nobody but who waits for it.

strace stops it (SIGSTOP) as it enters a system call, and detaches: it stands there, between the
host and the container, for as long as nobody ends it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.engine.monitor.pending_exec import LIMIT_SECONDS
from support.command import Minidock, command_line, environment
from support.patience import long, patience
from support.ports import free_port

pytestmark = [pytest.mark.root, pytest.mark.slow]

# Those of the stage before and after it has joined, and of the process: first, and at its last act.
STAGES = long(["setns", "capset"], ["close_range", "setns", "setsid", "capset"])
SERVER = "i=0; while echo $((i=i+1)); do sleep 0.1; done & httpd -f -p 8080 -h /etc"


def _monitor_of(minidock: Minidock, name: str) -> int:
    """The parent of the container's first process."""
    pid = minidock.ok("inspect", "--format", "{{.State.Pid}}", name)
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


def _children(pid: int) -> dict[int, str]:
    """The children of a process, and what each of them does."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            stat = Path(f"/proc/{child}/stat").read_text()
        except FileNotFoundError:
            continue
        found[int(child)] = stat.rpartition(")")[2].split()[0]
    return found


def _stopped(monitor: int) -> set[int]:
    return {pid for pid, state in _children(monitor).items() if state == "T"}


def _freeze(monitor: int, call: str, begin: Callable[[], object]) -> int:
    """Have a child of the monitor stop at a system call; begin: what makes the monitor want one."""
    before = _stopped(monitor)
    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGSTOP",
         "-p", str(monitor)],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + patience(20)
    while "TracerPid:\t0\n" in Path(f"/proc/{monitor}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    begin()
    while not any(state in "Tt" for pid, state in _children(monitor).items() if pid not in before):
        assert time.monotonic() < deadline, _children(monitor)
        time.sleep(0.02)
    time.sleep(0.3)  # strace's own stops look the same: one that it has still to end
    strace.terminate()
    strace.wait(patience(10))
    while not (fresh := _stopped(monitor) - before):
        assert time.monotonic() < deadline, _children(monitor)
        time.sleep(0.02)
    return fresh.pop()


def _serves(minidock: Minidock, port: int) -> None:
    """All that the monitor of web does beside: log, published port, names, exec."""
    last = minidock.ok("logs", "--tail", "1", "web")
    deadline = time.monotonic() + patience(10)
    while minidock.ok("logs", "--tail", "1", "web") == last:
        assert time.monotonic() < deadline
    # By ::1 the monitor's proxy carries it, where the firewall's rules carry 127.0.0.1.
    with socket.create_connection(("::1", port), timeout=patience(10)) as connection:
        connection.sendall(b"GET /passwd HTTP/1.0\r\n\r\n")
        assert connection.recv(12).startswith(b"HTTP/1")
    assert "web" in minidock.ok("exec", "web", "nslookup", "web", timeout_seconds=20)


@pytest.fixture
def web(minidock: Minidock, busybox_image: str, require: Callable[[str], str]) -> int:
    """A container that logs, serves on a port, and asks for names; its port."""
    require("strace")
    port = free_port()
    minidock.ok("network", "create", "lan")
    minidock.ok("run", "-d", "--name", "web", "--network", "lan", "-p", f"[::]:{port}:8080",
                busybox_image, "sh", "-c", SERVER)  # fmt: skip
    return port


@pytest.mark.timeout(180)
def test_an_exec_that_is_stopped_on_its_way_stops_nothing_else(
    minidock: Minidock, web: int
) -> None:
    monitor = _monitor_of(minidock, "web")
    begun = time.monotonic()
    commands: list[subprocess.Popen[str]] = []

    def begin() -> None:
        commands.append(
            subprocess.Popen(
                [*command_line(), "exec", "web", "true"],
                env=environment(minidock.root),
                stderr=subprocess.PIPE,
                text=True,
            )  # fmt: skip
        )

    frozen = [_freeze(monitor, call, begin) for call in STAGES]
    _serves(minidock, web)
    assert _stopped(monitor) == set(frozen)
    for command in commands:
        _, said = command.communicate(timeout=LIMIT_SECONDS + patience(20))
        assert command.returncode == 126
        assert f"the process did not enter the container within {LIMIT_SECONDS:g} s" in said
    assert time.monotonic() - begun > LIMIT_SECONDS
    assert not any(os.path.exists(f"/proc/{pid}") for pid in frozen)
    _serves(minidock, web)
    assert minidock("rm", "-f", "web").code == 0


@pytest.mark.parametrize("call", STAGES)
def test_a_container_is_stopped_while_an_exec_stands_on_its_way(
    minidock: Minidock, web: int, call: str
) -> None:
    """Also where it is in the PID namespace already, whose end waits until it is reaped."""
    monitor = _monitor_of(minidock, "web")
    commands: list[subprocess.Popen[bytes]] = []
    frozen = _freeze(
        monitor, call,
        lambda: commands.append(
            subprocess.Popen(
                [*command_line(), "exec", "web", "true"], env=environment(minidock.root),
                stderr=subprocess.DEVNULL,
            )
        ),
    )  # fmt: skip
    begun = time.monotonic()
    minidock.ok("stop", "-t", "1", "web", timeout_seconds=30)
    assert time.monotonic() - begun < patience(10)
    assert not os.path.exists(f"/proc/{frozen}")
    assert commands[0].wait(patience(10)) != 0
    minidock.ok("rm", "web")


def test_a_health_check_that_is_stopped_on_its_way_fails_at_its_limit(
    minidock: Minidock, busybox_image: str, require: Callable[[str], str]
) -> None:
    require("strace")
    minidock.ok(
        "run", "-d", "--name", "web", "--network", "none", "--health-cmd", "true",
        "--health-interval", "2s", "--health-timeout", "3s", "--health-retries", "1",
        busybox_image, "sh", "-c", "while date; do sleep 0.1; done",
    )  # fmt: skip
    frozen = _freeze(_monitor_of(minidock, "web"), "setns", lambda: None)
    assert minidock.ok("exec", "web", "echo", "hello", timeout_seconds=10) == "hello"
    deadline = time.monotonic() + patience(15)
    while not (failed := _failed_checks(minidock)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert failed[0]["Output"] == "Health check exceeded timeout (3s)"
    assert not os.path.exists(f"/proc/{frozen}")
    while minidock.ok("inspect", "--format", "{{.State.Health.Status}}", "web") != "healthy":
        assert time.monotonic() < deadline + patience(15)
        time.sleep(0.2)
    minidock.ok("rm", "-f", "web")


def _failed_checks(minidock: Minidock) -> list[dict[str, object]]:
    log = json.loads(minidock.ok("inspect", "--format", "{{json .State.Health.Log}}", "web"))
    return [check for check in log if check["ExitCode"] != 0]


def test_an_exec_whose_stage_is_killed_leaves_nothing(minidock: Minidock, web: int) -> None:
    monitor = _monitor_of(minidock, "web")
    begun: list[subprocess.Popen[bytes]] = []
    frozen = _freeze(
        monitor, "setns",
        lambda: begun.append(
            subprocess.Popen(
                [*command_line(), "exec", "web", "true"], env=environment(minidock.root),
                stderr=subprocess.DEVNULL,
            )
        ),
    )  # fmt: skip
    os.kill(frozen, signal.SIGKILL)
    assert begun[0].wait(patience(10)) not in (0, None)
    assert len(_children(monitor)) == 1
    minidock.ok("rm", "-f", "web")
