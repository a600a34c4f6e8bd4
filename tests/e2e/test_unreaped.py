"""A zombie in a container's PID namespace keeps the container from ending, and is named."""

from __future__ import annotations

import os
import signal

import pytest

from minidock.engine.container.lookup import find
from minidock.paths import Store
from support.command import Minidock
from support.orphans import adopting
from support.patience import long

pytestmark = [pytest.mark.root, pytest.mark.slow]

COMMANDS = long([("rm", "-f")], [("rm", "-f"), ("stop", "-t", "0"), ("kill",)])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_process_that_its_parent_does_not_reap_is_named(
    store: Store, minidock: Minidock, busybox_image: str, command: tuple[str, ...]
) -> None:
    run = ("run", "-d", "--network", "none", "--name")
    sleep = (busybox_image, "sleep", "600")
    minidock.ok(*run, "base", *sleep)
    with adopting():  # and it waits for none of them
        minidock.ok(*run, "joined", "--pid", "container:base", busybox_image, "sleep", "600")
        joined = int(minidock.ok("inspect", "-f", "{{.State.Pid}}", "joined"))
        os.kill(find(store, "joined").monitor_pid, signal.SIGKILL)
        minidock.ok("system", "check", "--repair")
        refused = minidock(*command, "base")
        assert refused.code == 1
        assert "container base did not end after SIGKILL" in refused.stderr
        assert f"process {joined} (sleep) in its PID namespace has exited" in refused.stderr
        assert f"process {os.getpid()} (" in refused.stderr and "not reaped" in refused.stderr
        os.waitpid(joined, 0)
    minidock.ok("rm", "-f", "base", "joined")
