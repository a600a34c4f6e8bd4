"""A process number proves nothing, and a path below /proc need not be procfs's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from minidock.engine.container.containers import Container
from minidock.engine.monitor.joined_namespaces import JoinTargets
from minidock.errors import Conflict, MinidockError
from minidock.kernel import process, sysctl
from minidock.kernel.procfs import open_procfs
from minidock.paths import Store
from minidock.runtime import state


def start_time(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def known(pid: int, *, began: int) -> state.State:
    return state.State("/run/x", {"id": "x", "pid": pid, "startTime": began, "cgroup": ["", ""]})


def test_a_pidfd_is_of_the_process_that_the_state_means() -> None:
    mine = os.getpid()
    pidfd = known(mine, began=start_time(mine)).open_pidfd()
    assert f"Pid:\t{mine}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    os.close(pidfd)
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Conflict, match="is not running"):
        known(mine, began=start_time(mine) - 1).open_pidfd()
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_namespace_is_not_joined_when_its_process_has_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = subprocess.Popen(["sleep", "60"])
    document = {
        "Id": "b" * 64, "Name": "/other", "HostConfig": {"NetworkMode": f"container:{'b' * 64}"},
        "State": {"Running": True, "Restarting": False, "Pid": other.pid},
    }  # fmt: skip
    container = Container(store, document)
    monkeypatch.setattr("minidock.engine.monitor.joined_namespaces.find", lambda *_: container)
    found = known(other.pid, began=start_time(other.pid))
    monkeypatch.setattr(state, "load", lambda *_: found)
    with JoinTargets(container) as joined:
        joined.require_alive()
        other.kill()
        other.wait()
        with pytest.raises(Conflict, match="cannot join the namespaces of other"):
            joined.require_alive()


def test_nothing_is_written_into_a_file_that_stands_in_for_proc(tmp_path: Path) -> None:
    stand_in = tmp_path / "exec"
    stand_in.write_text("")
    with pytest.raises(MinidockError, match="is not a file of procfs"):
        process.write_proc(str(stand_in), "exec confined")
    assert stand_in.read_text() == ""
    os.close(open_procfs("/proc/self/comm", os.O_WRONLY))
    with pytest.raises(MinidockError, match="is not a file of procfs"):
        sysctl.write(f"../..{tmp_path}/exec", "1")
    assert stand_in.read_text() == ""
