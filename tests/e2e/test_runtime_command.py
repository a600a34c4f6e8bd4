"""minidock-runtime's command line, beside runc's on the same bundle: states, exit codes, errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support import runtime
from support.patience import await_true, patience
from support.runtime import Bundle, Runtime

pytestmark = pytest.mark.root


@pytest.fixture
def bundle(tmp_path: Path, busybox_tar: Path, require: Callable[[str], str]) -> Bundle:
    require("runc")
    return Bundle(tmp_path / "bundle", busybox_tar)


@pytest.fixture(params=["minidock-runtime", "runc"])
def either(
    request: pytest.FixtureRequest, tmp_path: Path, bundle: Bundle, store: Store
) -> Iterator[Runtime]:
    """Each test runs with both: what it states of ours is true of runc's too."""
    words = runtime.minidock_runtime() if request.param == "minidock-runtime" else ["runc"]
    made = Runtime(words, tmp_path / "state", bundle)
    yield made
    made.clear("box", "other")


@pytest.fixture
def ours(tmp_path: Path, bundle: Bundle, store: Store) -> Iterator[Runtime]:
    made = Runtime(runtime.minidock_runtime(), tmp_path / "state", bundle)
    yield made
    made.clear("box")


# A container's life


def test_run_passes_streams_and_the_exit_code(either: Runtime) -> None:
    either.bundle.write("sh", "-c", "cat; echo problem >&2; exit 7")
    done = either("run", "box", stdin=b"through")
    assert (done.returncode, done.stdout, done.stderr) == (7, "through", "problem\n")
    assert either("state", "box").returncode == 1, "run deletes what it made"


def test_run_returns_128_and_the_signal_that_ended_the_command(either: Runtime) -> None:
    either.bundle.write("sh", "-c", "(sleep 0.2; kill -9 -1) & trap '' TERM; sleep 60")
    started = subprocess.Popen(
        either.line("run", "box"), cwd=either.bundle.directory, env=runtime.environment(),
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    await_true(lambda: either("state", "box").returncode == 0)
    either.ok("kill", "box", "KILL")
    assert started.wait(patience(10)) == 128 + signal.SIGKILL


def test_a_container_goes_through_its_states(either: Runtime) -> None:
    either.bundle.write("sleep", "60")
    either.ok("create", "box")
    created = either.state("box")
    assert created["status"] == "created"
    assert (created["bundle"], created["id"]) == (str(either.bundle.directory), "box")
    assert os.path.exists(f"/proc/{created['pid']}")
    either.ok("start", "box")
    assert either.status("box") == "running"
    either.ok("pause", "box")
    assert either.status("box") == "paused"
    either.ok("resume", "box")
    assert either.status("box") == "running"
    either.ok("kill", "box", "KILL")
    await_true(lambda: either.status("box") == "stopped")
    assert either.state("box")["pid"] == 0
    either.ok("delete", "box")
    assert either("state", "box").returncode == 1


def test_state_has_the_fields_that_runc_prints(either: Runtime) -> None:
    either.bundle.write("true", change=lambda c: c.update(annotations={"a": "b"}))
    either.ok("create", "box")
    told = either.state("box")
    assert list(told) == [
        "ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner",
    ]  # fmt: skip
    assert told["annotations"]["a"] == "b"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z", told["created"])


def test_a_created_container_waits_and_is_deleted_without_force(either: Runtime) -> None:
    either.bundle.write("sh", "-c", "echo never")
    either.ok("create", "box")
    either.ok("delete", "box")
    assert either("start", "box").returncode == 1


def test_a_container_is_started_once(either: Runtime) -> None:
    either.bundle.write("sleep", "60")
    either.ok("create", "box")
    either.ok("start", "box")
    again = either("start", "box")
    assert again.returncode == 1
    assert "cannot start an already running container" in again.stderr


def test_list_shows_every_container(either: Runtime) -> None:
    either.bundle.write("sleep", "60")
    either.ok("create", "box")
    either.bundle.write("sleep", "60")
    either.ok("create", "other")
    assert either.ok("list", "--quiet").split() == ["box", "other"]
    title, first, second = either.ok("list").splitlines()
    assert title.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert title.index("STATUS") == first.index("created") == second.index("created")
    assert [each["owner"] for each in json.loads(either.ok("list", "-f", "json"))] == ["root"] * 2


def test_run_detached_writes_the_pid_and_returns(either: Runtime, tmp_path: Path) -> None:
    either.bundle.write("sleep", "60")
    either.ok("run", "--detach", "--pid-file", str(tmp_path / "pid"), "box")
    pid = int((tmp_path / "pid").read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0060\0"
    assert either.state("box")["pid"] == pid


def test_run_keeps_a_container_when_asked(either: Runtime) -> None:
    either.bundle.write("true")
    either.ok("run", "--keep", "box")
    assert either.status("box") == "stopped"


def test_a_signal_to_run_reaches_the_command(either: Runtime) -> None:
    either.bundle.write("sh", "-c", "trap 'exit 21' USR1; echo ready; while :; do sleep 0.1; done")
    started = subprocess.Popen(
        either.line("run", "box"), cwd=either.bundle.directory, env=runtime.environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert started.stdout is not None
    assert started.stdout.readline() == b"ready\n"
    started.send_signal(signal.SIGUSR1)
    assert started.wait(patience(10)) == 21


def test_delete_refuses_a_running_container_unless_forced(either: Runtime) -> None:
    either.bundle.write("sleep", "60")
    either.ok("run", "--detach", "box")
    refused = either("delete", "box")
    assert refused.returncode == 1
    assert "cannot delete container box that is not stopped: running" in refused.stderr
    either.ok("delete", "--force", "box")
    assert either("delete", "box").returncode == 1
    either.ok("delete", "--force", "box")


# Processes in it


def test_exec_passes_streams_and_the_exit_code(either: Runtime) -> None:
    either.bundle.write("sleep", "60")
    either.ok("run", "--detach", "box")
    done = either("exec", "box", "sh", "-c", "cat; exit 5", stdin=b"hello")
    assert (done.returncode, done.stdout) == (5, "hello")


def test_exec_changes_user_directory_environment_and_capabilities(either: Runtime) -> None:
    either.bundle.write("sleep", "60")
    either.ok("run", "--detach", "box")
    flags = "-e COLOUR=red --cwd /tmp -u 5:6 -g 7 -c CAP_NET_RAW".split()
    script = "echo $COLOUR; pwd; id -u; id -g; id -G; grep CapBnd /proc/self/status"
    told = either.ok("exec", *flags, "box", "sh", "-c", script).splitlines()
    assert told == ["red", "/tmp", "5", "6", "6 7", "CapBnd:\t0000000020002420"]


def test_exec_takes_a_process_file_and_goes_on_detached(either: Runtime, tmp_path: Path) -> None:
    either.bundle.write("sleep", "60")
    either.ok("run", "--detach", "box")
    spec = {"args": ["sleep", "61"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 3, "gid": 3}}
    (tmp_path / "process.json").write_text(json.dumps(spec))
    wanted = ["--process", str(tmp_path / "process.json"), "--pid-file", str(tmp_path / "pid")]
    either.ok("exec", "--detach", *wanted, "box")
    pid = (tmp_path / "pid").read_text()
    deadline = time.monotonic() + patience(10)
    while Path(f"/proc/{pid}/cmdline").read_bytes() != b"sleep\x0061\0":  # runc waits less than we
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "Uid:\t3\t3\t3\t3\n" in Path(f"/proc/{pid}/status").read_text()


def test_exec_is_refused_in_a_paused_container(either: Runtime) -> None:
    either.bundle.write("sleep", "60")
    either.ok("run", "--detach", "box")
    either.ok("pause", "box")
    refused = either("exec", "box", "true")
    assert refused.returncode == 255
    assert "cannot exec in a paused container" in refused.stderr


def test_ps_lists_the_processes(either: Runtime) -> None:
    either.bundle.write("sleep", "60")
    either.ok("run", "--detach", "box")
    pid = either.state("box")["pid"]
    assert json.loads(either.ok("ps", "--format", "json", "box")) == [pid]
    title, line = either.ok("ps", "box").splitlines()
    assert (title.split()[1], line.split()[1]) == ("PID", str(pid))
    shown = either.ok("ps", "box", "-o", "pid,args").split()
    assert shown == ["PID", "COMMAND", str(pid), "sleep", "60"]


def test_kill_takes_names_numbers_and_all(either: Runtime) -> None:
    script = "for n in 1 2 3; do sleep 60 & done; trap 'echo heard; exit 3' HUP; wait; sleep 60"
    either.bundle.write("sh", "-c", script)
    either.ok("run", "--detach", "box")
    await_true(lambda: len(json.loads(either.ok("ps", "-f", "json", "box"))) == 4)
    assert "unknown signal" in either("kill", "box", "NONSENSE").stderr
    either.ok("kill", "box", "0")
    either.ok("kill", "--all", "box", "SIGKILL")
    await_true(lambda: either.status("box") == "stopped")


def test_update_changes_limits(either: Runtime) -> None:
    either.bundle.write("sleep", "60")
    either.ok("run", "--detach", "box")
    either.ok("update", "--pids-limit", "123", "box")
    resources = b'{"memory": {"limit": 67108864, "swap": 134217728}}'
    either.ok("update", "--resources", "-", "box", stdin=resources)
    script = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max 2>/dev/null || "
    script += "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    assert either.ok("exec", "box", "sh", "-c", script).split() == ["123", "67108864"]


# Refusals


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["nonsense"], r'exec: "nonsense": executable file not found in $PATH'),
        (["/etc/passwd"], r'exec: "/etc/passwd": permission denied'),
        (["/etc"], r'exec: "/etc": is a directory'),
    ],
)
def test_a_command_that_cannot_run_is_an_error(
    either: Runtime, args: list[str], named: str
) -> None:
    either.bundle.write(*args)
    done = either("--log-format", "json", "run", "box")
    assert done.returncode == 1
    told = json.loads(done.stderr.splitlines()[-1])["msg"]
    assert f"run failed: unable to start container process: {named}" in told
    assert either("state", "box").returncode == 1


def test_errors_go_to_the_log_as_json_and_bare_to_stderr(either: Runtime, tmp_path: Path) -> None:
    done = either("--log", str(tmp_path / "log"), "--log-format", "json", "state", "nobody")
    assert (done.returncode, done.stderr) == (1, "container does not exist\n")
    told = json.loads((tmp_path / "log").read_text())
    assert (told["level"], told["msg"]) == ("error", "container does not exist")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["time"])


@pytest.mark.parametrize("container_id", ["a/b", "..", ".", "", "ü"])
def test_an_id_that_would_be_a_path_is_refused(ours: Runtime, container_id: str) -> None:
    ours.bundle.write("true")
    for command in ("run", "state", "kill", "delete"):
        done = ours(command, container_id)
        assert done.returncode == 1
        assert "invalid container ID format" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--systemd-cgroup", "list"], "systemd-cgroup"),
        (["--rootless", "true", "list"], "rootless"),
        (["run", "--no-pivot", "box"], "no-pivot"),
        (["exec", "--cgroup", "x", "box", "true"], "cgroup"),
        (["checkpoint", "box"], "checkpoint"),
        (["events", "box"], "events"),
        (["run", "--nonsense", "box"], "-nonsense"),
        (["nonsense"], "nonsense"),
        (["run"], "requires exactly 1 argument"),
        (["run", "a", "b"], "requires exactly 1 argument"),
        (["--log-format", "xml", "list"], "invalid log-format: xml"),
        (["run", "--preserve-fds", "2", "box"], "preserved-fd 1 of 2"),
        (["run", "--bundle", "/nonexistent", "box"], "no such file or directory"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(
    ours: Runtime, arguments: list[str], named: str
) -> None:
    ours.bundle.write("true")
    done = ours(*arguments)
    assert done.returncode in (1, 255)
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_rootless_false_asks_for_nothing(ours: Runtime) -> None:
    assert ours("--rootless", "false", "list", "-q").returncode == 0
    assert ours("--rootless=false", "list", "-q").returncode == 0


def test_spec_writes_runcs_config_once(ours: Runtime, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    ours.ok("spec", "--bundle", str(tmp_path / "new"))
    told = json.loads((tmp_path / "new/config.json").read_text())
    theirs = json.loads(json.dumps(ours.bundle.config))
    theirs["process"]["terminal"] = True
    theirs["process"]["capabilities"].pop("ambient", None)
    theirs["hostname"] = told["hostname"]
    theirs["ociVersion"] = told["ociVersion"]
    assert told == theirs
    assert "File config.json exists" in ours("spec", "--bundle", str(tmp_path / "new")).stderr


def test_a_symbolic_link_is_no_rootfs(either: Runtime) -> None:
    (either.bundle.directory / "link").symlink_to("rootfs")
    either.bundle.write("true", change=lambda c: c["root"].update(path="link"))
    assert "invalid rootfs: not an absolute path, or a symlink" in either("run", "box").stderr
