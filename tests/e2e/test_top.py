"""top: the processes of a container by the host's ps, with ps's own options."""

from __future__ import annotations

import pytest

from support.command import Minidock

pytestmark = pytest.mark.root


def test_processes_are_listed_with_the_columns_that_ps_was_asked_for(
    minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "600")
    titles, row = minidock.ok("top", "box").splitlines()
    assert titles.split()[:2] == ["UID", "PID"] and "sleep 600" in row
    titles, row = minidock.ok("top", "box", "-o", "pid,comm").splitlines()
    assert titles.split() == ["PID", "COMMAND"] and row.split()[1] == "sleep"
    minidock.ok("rm", "-f", "box")
