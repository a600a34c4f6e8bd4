"""`system down`: what a store keeps in the kernel between containers is gone, and comes again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from minidock.engine.store.locks import Ownership
from minidock.paths import Store
from support import machine, stores
from support.command import Minidock
from support.patience import patience

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def image(store: Store, busybox_image: str) -> Iterator[str]:
    yield busybox_image
    assert Minidock(store.root)("rm", "-f", "box").code == 0


def _kept(store: Store) -> list[str]:
    """All that the kernel has of a store, and its directory in /run."""
    found = [f"mount {m}" for m in machine.mounts() if m.startswith(f"{store.run}/")]
    found += [f"link {link}" for link in machine.links() if store.bridge in link]
    found += [f"rule {rule}" for rule in machine.firewall_rules() if store.bridge in rule]
    found += [f"cgroup {c}" for c in machine.cgroups() if f"/{store.cgroup_parent}" in c]
    return found + [store.run] * os.path.isdir(store.run)


def test_nothing_of_a_store_is_left_in_the_kernel(
    store: Store, minidock: Minidock, image: str
) -> None:
    minidock.ok("run", "-d", "--name", "box", "-p", "80", image, "true")
    minidock.ok("wait", "box")
    assert {line.split()[0] for line in _kept(store)} >= {"mount", "link", "rule", "cgroup"}
    assert minidock.ok("system", "down") == ""
    assert _kept(store) == [] == stores.leftovers(store)
    assert minidock.ok("system", "down") == "", "again does nothing"
    assert minidock.ok("ps", "-aq", "--filter", "name=box"), "the container itself stays"
    minidock.ok("start", "-a", "box")


@pytest.mark.parametrize(
    "command", (("sleep", "600"), ("false",)), ids=("running", "waiting for its restart")
)
def test_a_container_keeps_its_network(
    store: Store, minidock: Minidock, image: str, command: tuple[str, ...]
) -> None:
    minidock.ok("run", "-d", "--name", "box", "--restart", "always", image, *command)
    refused = minidock("system", "down")
    assert refused.code == 1 and "containers are running: box" in refused.stderr, str(refused)
    assert "minidock system stop-all" in refused.stderr
    assert any(store.bridge in link for link in machine.links())


def test_a_container_that_is_just_being_cleared_away_is_waited_for(
    store: Store, minidock: Minidock, image: str
) -> None:
    container = minidock.ok("run", "-d", "--name", "box", image, "true")
    minidock.ok("wait", "box")
    ownership = Ownership(store.container(container).monitor_lock)
    deadline = time.monotonic() + patience(5)
    while not ownership.take():  # as its monitor does until its last moment
        assert time.monotonic() < deadline
    down = minidock.start("system", "down")
    time.sleep(min(5, patience(0.5)))  # for it to come to where it finds that out
    ownership.release()
    _, told = down.communicate(timeout=patience(20))
    assert (down.returncode, told) == (0, b"")
    assert _kept(store) == []
