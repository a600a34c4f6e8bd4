"""A filter's value is read, as docker reads it, also where there is nothing to filter."""

from __future__ import annotations

import pytest

from minidock.paths import Store
from support.command import Minidock

pytestmark = pytest.mark.root

# What Docker 26.1 refuses with exit code 1, in an empty store.
REFUSED = [
    "ps -f status=bogus", "ps -f exited=x", "ps -f health=bogus", "ps -f is-task=maybe",
    "ps -f before=nosuch", "ps -f since=nosuch", "ps -f publish=x", "ps -f expose=70000",
    "images -f dangling=maybe", "images -f before=nosuch", "images -f since=nosuch",
    "images -f until=x", "volume ls -f dangling=maybe", "network ls -f dangling=maybe",
    "network ls -f type=x", "container prune -f --filter until=x", "volume prune -f --filter all=x",
    "image prune -f --filter until=x", "network prune -f --filter until=x",
    "builder prune -f --filter until=x",
]  # fmt: skip
# What it takes.
TAKEN = [
    "ps -f network=nosuch", "ps -f label=", "ps -f name=[", "ps -f ancestor=???",
    "images -f label=x", "images -f reference=[", "volume ls -f driver=x", "volume ls -f name=[",
    "network ls -f scope=x", "network ls -f driver=x", "container prune -f --filter label=",
]  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_a_bad_value_is_refused_with_nothing_to_filter(
    store: Store, minidock: Minidock, line: str
) -> None:
    refused = minidock(*line.split())
    assert (refused.code, refused.stdout) == (1, ""), str(refused)
    assert refused.stderr.startswith("minidock: "), str(refused)


@pytest.mark.parametrize("line", TAKEN)
def test_a_value_that_docker_takes_is_taken(store: Store, minidock: Minidock, line: str) -> None:
    minidock.ok(*line.split())


def test_a_bad_value_is_refused_beside_one_that_excludes_all(
    store: Store, minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("create", "--name", "box", busybox_image)
    refused = minidock("ps", "-a", "-f", "status=running", "-f", "exited=x")
    assert refused.code == 1 and 'strconv.Atoi: parsing "x"' in refused.stderr
