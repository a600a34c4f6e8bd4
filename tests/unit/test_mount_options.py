"""--mount's options, one and two at a time, against what docker 26.1 said of each."""

from __future__ import annotations

import itertools

import pytest

from minidock.cli.flags.storage import parse_mount
from minidock.engine.container.mount_points import mount_points
from minidock.errors import UsageError
from minidock.paths import Store
from support.command import REPOSITORY

LINES = (REPOSITORY / "tests/support/mount_options.txt").read_text().splitlines()
MOUNTS, OPTIONS = (
    next(line.split(": ")[1].split() for line in LINES if line.startswith(f"# {what}: "))
    for what in ("mounts", "options")
)
ACCEPTED = {line for line in LINES if not line.startswith("#")}


def is_accepted(store: Store, text: str) -> bool:
    try:
        body = {"HostConfig": {"Mounts": [parse_mount(text)]}, "Config": {}}
        mount_points(store, body)
    except (UsageError, ValueError):
        return False
    return True


@pytest.mark.parametrize("mount", MOUNTS)
def test_each_pair_of_options_is_taken_or_refused_as_by_docker(store: Store, mount: str) -> None:
    texts = [
        ",".join([mount, *some])
        for count in (0, 1, 2)
        for some in itertools.combinations(OPTIONS, count)
    ]
    assert len(texts) > 300
    assert {t: t in ACCEPTED for t in texts if is_accepted(store, t) != (t in ACCEPTED)} == {}
