"""Nobody waits without end for a program that changes the firewall: it may be stopped."""

from __future__ import annotations

import os
import signal

import pytest

from minidock.errors import MinidockError
from minidock.kernel import iptables


def test_a_stopped_program_is_ended_and_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iptables, "_LIMIT_SECONDS", 0.3)
    helper = iptables._Helper("sleep", ["1000"])
    pid = helper._pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(MinidockError, match="sleep failed"):
        helper.output()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
