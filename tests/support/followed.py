"""A machine with a container `web` that publishes ports, to be followed by `packet`."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minidock.paths import Store
from minidock.teach.packet.output import plain
from minidock.teach.packet.probe import send
from minidock.teach.packet.steps import Steps
from minidock.teach.packet.target import parse, resolve
from minidock.teach.packet.walk import walk
from support import stores
from support.command import Minidock
from support.lab import machine_of_its_own, sh
from support.patience import patience

BRIDGED = "/proc/sys/net/bridge/bridge-nf-call-iptables"
SERVERS = "httpd -h / -p 127.0.0.1:81; httpd -h / -p 0.0.0.0:82; exec httpd -f -h / -p 80"
PORTS = ("-p", "8090:80", "-p", "8091:81", "-p", "127.0.0.1:8092:82", "-p", "8093:83")


@contextmanager
def machine_with_web(
    busybox_store: Path, *ports: str, servers: str = SERVERS, listening: int = 3
) -> Iterator[Minidock]:
    """A machine of its own, with container `web` that publishes ports, and `other` beside it."""
    root = tempfile.mkdtemp(prefix="s", dir=os.environ["MINIDOCK_TEST_SESSION"])
    subprocess.run(["cp", "-a", f"{busybox_store}/.", root], check=True)
    minidock = Minidock(root)
    with pytest.MonkeyPatch.context() as patch, machine_of_its_own():
        patch.setenv("MINIDOCK_ROOT", root)
        sh(f"[ ! -e {BRIDGED} ] || echo 0 > {BRIDGED}")
        minidock.ok("run", "-d", "--name", "web", *ports, "busybox", "sh", "-c", servers)
        minidock.ok("run", "-d", "--name", "other", "busybox", "sleep", "600")
        until_it_listens(minidock, listening)
        yield minidock
        minidock.ok("rm", "-f", "web", "other")
        stores.wipe(Store(root))


def until_it_listens(minidock: Minidock, listening: int = 3) -> None:
    """Return once the servers of `web` are there."""
    pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", "web")
    deadline = time.monotonic() + patience(10)
    while len(sh(f"nsenter --net=/proc/{pid}/ns/net ss -Hlntu").splitlines()) < listening:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def put_back(saved: str) -> None:
    """The firewall as it was."""
    subprocess.run(["iptables-restore"], input=saved, text=True, check=True)


def follow(store: Store, asked: str, start: str = "host") -> dict[str, Any]:
    """What `packet --json` prints, without a process of its own."""
    target = resolve(store, *parse(asked))
    result = send(store, target, start=start, seconds=patience(0.4))
    return plain(walk(result, Steps(store)))


def named(told: dict[str, Any]) -> set[str]:
    """The rules that the hops name."""
    return {rule["rule"] for hop in told["hops"] for rule in hop["rules"]}


def end(told: dict[str, Any]) -> str:
    """The place at which the walk ended, "" where it went all the way."""
    return next((hop["place"] for hop in told["hops"] if hop["end"]), "")
