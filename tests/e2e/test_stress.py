"""Many containers at once: eight commands at a time start them, and eight at a time remove them.

A dozen here, a hundred by `make stress` and `make long`: MINIDOCK_STRESS says how many.
"""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from minidock.engine.network.network_json import read_all
from minidock.paths import Store
from support import stores
from support.attack import wait_for
from support.command import Minidock, Result
from support.patience import long, patience

COUNT = int(os.environ.get("MINIDOCK_STRESS", long(12, 100)))
AT_A_TIME = 8
NAMES = [f"many{number}" for number in range(COUNT)]

pytestmark = [pytest.mark.root, pytest.mark.timeout(60 + 10 * COUNT)]

SERVE = (
    "hostname -i > /data/new && mv /data/new /data/address; "
    "mkdir /www; echo I am $0 > /www/index.html; exec httpd -f -p 80 -h /www"
)


@pytest.fixture
def image(store: Store, busybox_tar: Path) -> Iterator[str]:
    yield from stores.busybox_and_no_leftovers(store, busybox_tar)


def at_once(act: Callable[[str], Any], names: Iterable[str]) -> list[Any]:
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(act, names))


def address_inside(pid: str) -> str:
    """The one address besides loopback's that a process's network namespace has, by the kernel."""
    table = Path(f"/proc/{pid}/net/fib_trie").read_text()
    found = set(re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", table)) - {"127.0.0.1"}
    (address,) = found
    return str(address)


def page(port: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=patience(10)) as answer:
        return str(answer.read().decode())


def test_many_start_serve_and_go_without_a_trace(
    store: Store, minidock: Minidock, image: str
) -> None:
    minidock.ok("network", "create", "crowd")

    def start(name: str) -> Result:
        flags = ("--network", "crowd", "-p", "127.0.0.1::80", "-v", f"{name}:/data")
        return minidock("run", "-d", "--name", name, *flags, image, "sh", "-c", SERVE, name,
                        timeout_seconds=120)  # fmt: skip

    started = at_once(start, NAMES)
    assert [result for result in started if result.code != 0] == []
    assert len({result.stdout for result in started}) == COUNT

    pids = minidock.ok("inspect", "-f", "{{.State.Pid}}", *NAMES).split()
    addresses = [address_inside(pid) for pid in pids]
    assert len(set(addresses)) == COUNT
    volumes = Path(store.volumes)
    written = [wait_for(volumes / name / "_data/address").strip() for name in NAMES]
    assert written == addresses
    format = '{{(index .NetworkSettings.Ports "80/tcp" 0).HostPort}}'
    ports = minidock.ok("inspect", "-f", format, *NAMES).split()
    assert len(set(ports)) == COUNT
    assert at_once(page, ports) == [f"I am {name}\n" for name in NAMES]
    ask = "for i in $(seq 0 $1); do nslookup many$i | awk '/^Name/{n=1} n&&/^Addr/{print $2}'; done"
    asked = minidock.ok("exec", NAMES[0], "sh", "-c", ask, "sh", str(COUNT - 1))
    assert asked.split() == addresses

    removed = at_once(lambda name: minidock("rm", "-f", name, timeout_seconds=120), NAMES)
    assert [result for result in removed if result.code != 0] == []
    assert [network for network in read_all(store) if network["Leases"]] == []
    assert sorted(minidock.ok("volume", "ls", "-q").split()) == sorted(NAMES)
    minidock.ok("volume", "rm", *NAMES)
    minidock.ok("network", "rm", "crowd")
    assert set(os.listdir(store.containers)) <= {".lock"}
    assert stores.leftovers(store) == []
