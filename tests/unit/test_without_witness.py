"""Nobody waits without end for the process that probes: it may be stopped."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from minidock.errors import MinidockError
from minidock.runtime.exec import ExecProcess
from minidock.teach.without import witness
from minidock.teach.without.probes import Host


def _begin(then: str, pids: list[int]) -> Any:
    def execute(*_arguments: object, stdio: tuple[int, ...], **_flags: object) -> ExecProcess:
        pid = os.fork()
        if pid == 0:
            if then == "says nothing":
                os.kill(os.getpid(), signal.SIGSTOP)
            os.write(stdio[1], b'{"end": ""}')
            os.kill(os.getpid(), signal.SIGSTOP)  # and does not end
            os._exit(0)
        pids.append(pid)
        return ExecProcess(pid, None)

    return execute


@pytest.mark.parametrize("then", ["says nothing", "has said its last word"])
def test_a_stopped_process_is_ended_and_reaped(monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    pids: list[int] = []
    monkeypatch.setattr(witness, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(witness, "execute", _begin(then, pids))
    created = cast(Any, SimpleNamespace(state=None, config={"linux": {}, "process": {}}))
    answers = witness._run_inside(cast(Any, None), created, cast(Host, None))
    if then == "says nothing":
        with pytest.raises(MinidockError, match="sent nothing for 0.5 s"):
            list(answers)
    else:
        assert list(answers) == []
    assert not os.path.exists(f"/proc/{pids[0]}")
