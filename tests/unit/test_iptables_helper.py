"""Nobody waits without end for a program that changes the firewall: it may be stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minidock.errors import MinidockError
from minidock.kernel import iptables
from support.command import environment
from support.patience import patience


def test_a_stopped_program_is_ended_and_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iptables, "_LIMIT_SECONDS", 0.3)
    helper = iptables._Helper("sleep", ["1000"])
    pid = helper._pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(MinidockError, match="sleep did not end within 0.3 s"):
        helper.output()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_ends_with_the_process_that_wanted_it() -> None:
    """Stopped, it would change the firewall at some later time."""
    code = "from minidock.kernel.iptables import _Helper; print(_Helper('sleep', ['1000'])._pid)"
    parent = [sys.executable, "-c", f"{code}; import sys; sys.stdout.flush(); input()"]
    begun = subprocess.Popen(
        parent, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert begun.stdout is not None
    pid = int(begun.stdout.readline())
    deadline = time.monotonic() + patience(10)
    while "sleep" not in Path(f"/proc/{pid}/comm").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pid, signal.SIGSTOP)
    begun.kill()
    begun.communicate()
    while os.path.exists(f"/proc/{pid}/exe"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
