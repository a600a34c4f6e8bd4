"""exec of what cannot be run: nothing of it stays, in the container or in its monitor.

A child that nobody reaps would hold its PID namespace, and PID 1 could not end (pid_namespaces(7)).
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.engine.container.bundle import bundle_config
from minidock.engine.container.lookup import find
from minidock.errors import CommandNotFound, Conflict
from minidock.kernel import namespace
from minidock.kernel.op import Journal, use_journal
from minidock.paths import Store
from minidock.runtime import state
from minidock.runtime.channel import Channel
from minidock.runtime.exec import ExecStart, execute
from support.command import Minidock
from support.patience import patience

pytestmark = pytest.mark.root


def late(report: Callable[[Channel, int], None]) -> Callable[[Channel, int], None]:
    """Report the pid late, when the process has already run."""

    def send_pid(channel: Channel, pid: int) -> None:
        time.sleep(0.5)  # longer than the process lives
        report(channel, pid)

    return send_pid


def test_a_process_that_fails_before_its_start_is_reported_is_reaped(
    minidock: Minidock, store: Store, busybox_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage clones the process: its failure may be reported before its pid."""
    minidock.ok("run", "-d", "--network", "none", "--name", "box", busybox_image, "sleep", "600")
    container = find(store, "box")
    config = bundle_config(container)
    spec = {**config["process"], "args": ["nosuch"]}
    monkeypatch.setattr(Channel, "send_pid", late(Channel.send_pid))
    null = os.open("/dev/null", os.O_RDWR)
    children = set(_children())
    with pytest.raises(CommandNotFound):
        execute(state.load(store.run, container.id), config, spec,
                stdio=(null, null, null), filter_program=None)  # fmt: skip
    os.close(null)
    assert set(_children()) == children
    minidock.ok("rm", "-f", "box", timeout_seconds=30)


def test_the_acts_of_a_process_that_is_killed_on_its_way_in_are_in_the_journal(
    minidock: Minidock, store: Store, busybox_image: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It had sent their records; the container's end came before anybody had received them."""
    minidock.ok("run", "-d", "--network", "none", "--name", "box", busybox_image, "sleep", "600")
    container = find(store, "box")
    config = bundle_config(container)
    mark = tmp_path / "entering"
    monkeypatch.setattr(namespace, "setns", lambda *_, **__: (mark.mkdir(), time.sleep(600)))
    null = os.open("/dev/null", os.O_RDWR)
    records: list[str] = []
    use_journal(Journal(records.append, actor="monitor"))
    entering = ExecStart(state.load(store.run, container.id), config, config["process"],
                        stdio=(null, null, null), filter_program=None)  # fmt: skip
    deadline = time.monotonic() + patience(30)
    while not mark.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    entering.give_up(Conflict("the container ended"))
    with pytest.raises(Conflict):
        while True:
            entering.proceed(wait=True)
    use_journal(None)
    os.close(null)
    told = [json.loads(record) for record in records]
    begun = [record["op"] for record in told if "begin" in record and record["actor"] == "stage"]
    assert begun[:3] == [
        "process.set_not_dumpable", "process.close_all_but", "cgroup.write_file",
    ]  # fmt: skip


def _children() -> list[str]:
    return Path("/proc/thread-self/children").read_text().split()


def test_the_terminal_of_a_command_that_is_not_there_is_closed(
    minidock: Minidock, store: Store, busybox_image: str
) -> None:
    minidock.ok("run", "-d", "--network", "none", "--name", "box", busybox_image, "sleep", "600")
    held = f"/proc/{find(store, 'box').monitor_pid}/fd"
    before = sorted(os.listdir(held))
    for _ in range(3):
        assert "nosuch" in minidock("exec", "-t", "box", "nosuch").stderr
    assert sorted(os.listdir(held)) == before


def test_a_program_that_ends_before_its_monitor_hears_of_it_has_its_exit_code(
    minidock: Minidock, busybox_image: str
) -> None:
    """A busy machine's monitor: here it is stopped from the process's creation until its end."""
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "600")
    pid = int(minidock.ok("inspect", "-f", "{{.State.Pid}}", "box"))
    monitor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    children = Path(f"/proc/{monitor}/task/{monitor}/children")
    for _ in range(5):
        client = minidock.start("exec", "box", "sh", "-c", "sleep 0.2; exit 3")
        while children.read_text().split() == [str(pid)]:
            assert client.poll() is None, "nobody has seen its process"
        os.kill(monitor, signal.SIGSTOP)
        time.sleep(patience(0.6))  # three times what it takes; it dies beside its stopped parent
        os.kill(monitor, signal.SIGCONT)
        said, wrong = client.communicate(timeout=patience(30))
        assert (client.returncode, said, wrong) == (3, b"", b"")
    minidock.ok("rm", "-f", "box")
