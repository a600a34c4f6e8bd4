"""A process that is stopped while it holds a lock, or traces, holds up no container that runs.

The monitor of a container takes locks while it serves: as it notes that the container runs, how a
health check ended, and when it joins or leaves a network. Whoever has such a lock may be stopped
(SIGSTOP). What each test freezes, and what goes on meanwhile, is in its name.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minidock.engine.container import lookup
from minidock.engine.monitor import protocol
from minidock.engine.network.bridge import MACHINE_LOCK
from minidock.engine.network.network_json import read_all
from minidock.paths import Store
from support import stores
from support.command import Minidock, command_line, environment
from support.lock_holder import stopped_holder
from support.patience import patience
from support.web import AT_ONCE, Web

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]

END = 15.0  # what the end of a container may wait for a lock, and some more


@pytest.fixture
def image(store: Store, busybox_tar: Path) -> Iterator[str]:
    yield from stores.busybox_and_no_leftovers(store, busybox_tar)
    assert [network for network in read_all(store) if network["Leases"]] == []


@pytest.fixture
def web(minidock: Minidock, store: Store, image: str) -> Web:
    return Web(minidock, store)


def test_a_full_events_file_that_is_locked(store: Store, web: Web) -> None:
    with open(store.events, "ab") as events:
        events.truncate(5 << 20)
    with stopped_holder(store.events):
        web.serves()
    web.serves()
    assert os.stat(store.events).st_size < 1 << 20


def test_a_health_check_ends_while_the_container_is_locked(web: Web) -> None:
    with stopped_holder(web.container.paths.lock):
        web.awaits_probe()
        web.serves(probes=False)
    deadline = time.monotonic() + patience(20)
    status = ("inspect", "--format", "{{.State.Health.Status}}", "web")
    while web.minidock.ok(*status) != "healthy":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    web.serves()


@pytest.mark.parametrize("lock", ["container", "networks"])
def test_a_network_is_joined_and_left_while_it_is_locked(store: Store, web: Web, lock: str) -> None:
    path = {"container": web.container.paths.lock, "networks": store.networks}[lock]
    for asked in ({}, None):
        change_while_locked(web, path, asked)
        held = web.minidock.ok("exec", "web", "ls", "/sys/class/net")
        assert ("eth1" in held) is (asked is not None)


def test_a_network_whose_bridge_is_gone_is_joined_while_the_machine_is_locked(
    store: Store, web: Web
) -> None:
    (device,) = [network["Device"] for network in read_all(store) if network["Name"] == "wan"]
    subprocess.run(["ip", "link", "delete", device], check=True)
    change_while_locked(web, MACHINE_LOCK, {})
    assert "eth1" in web.minidock.ok("exec", "web", "ls", "/sys/class/net")


def change_while_locked(web: Web, path: str, asked: dict[str, object] | None) -> None:
    """Have it join or leave a network, for which it needs a lock that a stopped process has."""
    with stopped_holder(path):
        waiting = protocol.connect(web.container.paths.run)
        waiting.send(protocol.message(protocol.NETWORK_CHANGE, {"network": "wan", "asked": asked}))
        time.sleep(0.5)  # in which it would answer, were there no lock
        web.serves(probes=path != web.container.paths.lock)
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.recv(1)
    waiting.settimeout(patience(20))
    assert waiting.recv(protocol.MESSAGE_BYTES) == protocol.STARTED
    waiting.close()


def test_a_join_gives_up_in_the_end_and_names_the_holder(store: Store, web: Web) -> None:
    with stopped_holder(web.container.paths.lock) as pid:
        refused = web.minidock("network", "connect", "wan", "web", timeout_seconds=60)
        assert refused.code == 1
        assert f"is locked by process {pid}" in refused.stderr
        web.serves(probes=False)
    assert "web" not in web.minidock.ok("network", "inspect", "wan")
    web.minidock.ok("network", "connect", "wan", "web")
    web.serves()


def test_a_join_that_fails_leaves_the_name_servers_as_they_were(
    store: Store, minidock: Minidock, image: str
) -> None:
    """On the default bridge a container has the host's; on a user network, minidock's own."""
    minidock.ok("network", "create", "lan")
    minidock.ok("run", "-d", "--name", "box", image, "sleep", "600")
    seen = ("exec", "box", "sh", "-c", "cat /etc/resolv.conf; ls /sys/class/net")
    before = minidock.ok(*seen)
    assert "127.0.0.11" not in before
    with stopped_holder(lookup.find(store, "box").paths.lock):
        refused = minidock("network", "connect", "lan", "box", timeout_seconds=60)
        assert refused.code == 1, str(refused)
    assert minidock.ok(*seen) == before
    minidock.ok("network", "connect", "lan", "box")
    assert "nameserver 127.0.0.11" in minidock.ok(*seen)


def test_names_are_answered_while_the_start_cannot_be_noted(
    store: Store, minidock: Minidock, image: str
) -> None:
    minidock.ok("network", "create", "lan")
    asks = "nslookup box && touch /answered; exec sleep 600"
    box = minidock.ok("create", "--name", "box", "--network", "lan", image, "sh", "-c", asks)
    paths = store.container(box)
    with stopped_holder(paths.lock):
        start = minidock.start("start", "box")
        deadline = time.monotonic() + patience(AT_ONCE)
        while not os.path.exists(f"{paths.upper}/answered"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert start.poll() is None
    out, err = start.communicate(timeout=patience(20))
    assert (start.returncode, out) == (0, b"box\n"), err
    assert minidock.ok("exec", "box", "hostname", "-i").startswith("172.")


def test_names_are_answered_while_the_disk_is_slow(
    store: Store, minidock: Minidock, image: str, require: Callable[[str], str]
) -> None:
    """That a container runs is written down, and each fsync(2) takes two seconds."""
    require("strace")
    minidock.ok("network", "create", "lan")
    asks = "nslookup box && touch /answered; exec sleep 600"
    box = minidock.ok("create", "--name", "box", "--network", "lan", image, "sh", "-c", asks)
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync",
            "-e", "inject=fsync:delay_enter=2000000"]  # fmt: skip
    start = subprocess.Popen(
        [*slow, *command_line(), "start", "box"],
        env=environment(store.root),
        stdout=subprocess.PIPE,
    )
    upper = store.container(box).upper
    deadline = time.monotonic() + patience(60)
    while not os.path.exists(f"{upper}/answered"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    noted = minidock.ok("inspect", "--format", "{{.State.Pid}}", "box")
    assert noted == "0", "that it runs is not on the disk yet"
    assert start.stdout is not None and start.stdout.readline() == b"box\n"
    assert minidock.ok("inspect", "--format", "{{.State.Pid}}", "box") != "0"
    minidock.ok("rm", "-f", "box")
    start.communicate(timeout=patience(30))  # strace ends with the monitor


@pytest.mark.parametrize("lock", ["container", "networks", "containers", "home", "volumes"])
def test_a_container_is_stopped_while_its_end_cannot_be_noted(
    store: Store, minidock: Minidock, image: str, lock: str
) -> None:
    minidock.ok("network", "create", "lan")
    scratch = ("-o", "type=tmpfs", "-o", "device=tmpfs")
    minidock.ok("volume", "create", *scratch, "scratch")
    flags = ("--rm", "--network", "lan", "-v", "scratch:/scratch")
    run = minidock.start("run", *flags, "--name", "box", image, "sh", "-c", "echo up; sleep 600")
    assert run.stdout is not None and run.stdout.readline() == b"up\n"
    container = lookup.find(store, "box")
    path = {
        "container": container.paths.lock,
        "networks": store.networks,
        "containers": f"{store.containers}/.lock",
        "home": container.paths.home,
        "volumes": f"{store.volumes}/.lock",
    }[lock]
    with stopped_holder(path):
        monitor = os.pidfd_open(container.monitor_pid)
        os.kill(int(container.state["Pid"]), signal.SIGKILL)
        assert run.wait(patience(END)) == 137
        assert select.select([monitor], [], [], patience(END))[0], "its monitor lives"
        os.close(monitor)
    assert minidock.ok("ps", "-aq") == ""
    assert stores.leftovers(store) == []
    for stream in (run.stdin, run.stdout, run.stderr):
        assert stream is not None
        stream.close()


def test_stop_names_the_process_that_blocks_the_cleanup_of_an_ended_container(
    store: Store, minidock: Minidock, image: str
) -> None:
    minidock.ok("network", "create", "lan")
    minidock.ok("run", "-d", "--name", "box", "--network", "lan", image, "sleep", "600")
    init = lookup.find(store, "box").state["Pid"]
    with stopped_holder(store.networks) as holder:
        stopped = minidock("stop", "-t", "1", "box", timeout_seconds=END)
        assert not os.path.exists(f"/proc/{init}")
        assert stopped.code == 1, str(stopped)
        assert f"{store.networks} is locked by process {holder} (" in stopped.stderr
    assert minidock.ok("inspect", "--format", "{{.State.ExitCode}}", "box") == "137"
    assert [network for network in read_all(store) if network["Leases"]] == []
    minidock.ok("start", "box")
    minidock.ok("stop", "-t", "1", "box")


@pytest.mark.parametrize("policy", ["no", "on-failure"])
def test_the_exit_code_of_a_container_whose_document_is_locked_at_its_end_is_not_lost(
    store: Store, minidock: Minidock, image: str, policy: str
) -> None:
    ends = "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"
    minidock.ok("run", "-d", "--name", "box", "--restart", policy, image, "sh", "-c", ends)
    while minidock.ok("logs", "box") != "up":
        time.sleep(0.05)
    container = lookup.find(store, "box")
    state = ("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "box")
    with stopped_holder(container.paths.lock) as holder:
        read_before = Path(container.paths.document).read_text()
        monitor = os.pidfd_open(container.monitor_pid)
        os.kill(int(container.state["Pid"]), signal.SIGTERM)
        assert select.select([monitor], [], [], patience(END))[0], "its monitor lives"
        os.close(monitor)
        assert minidock.ok(*state, timeout_seconds=AT_ONCE) == "exited 3"
        Path(container.paths.document).write_text(read_before)  # what the holder was about to do
    assert minidock.ok(*state) == "exited 3"
    ended = lookup.find(store, "box")
    assert f"is locked by process {holder} (" in ended.state["Error"]
    assert minidock.ok("wait", "box") == "3"
    events = ("events", "--since", "1h", "--until", "0s", "--filter", "event=die")
    assert minidock.ok(*events, "--format", "{{.Actor.Attributes.exitCode}}") == "3"
    minidock.ok("start", "box")
    os.kill(lookup.find(store, "box").monitor_pid, signal.SIGKILL)
    assert minidock.ok(*state) == "exited 137", "it is no earlier run's"


TRACER = """
import ctypes, os, signal, sys
PTRACE_SEIZE = 0x4206
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
if ptrace(PTRACE_SEIZE, int(sys.argv[1]), None, None):
    sys.exit(os.strerror(ctypes.get_errno()))
os.kill(os.getpid(), signal.SIGSTOP)
"""


@contextmanager
def stopped_tracer(pid: int) -> Iterator[None]:
    """A process that traces another one, which goes on, and is stopped itself."""
    tracer = subprocess.Popen([sys.executable, "-c", TRACER, str(pid)])
    try:
        assert os.waitid(os.P_PID, tracer.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert f"TracerPid:\t{tracer.pid}\n" in Path(f"/proc/{pid}/status").read_text()
        yield
    finally:
        tracer.kill()
        tracer.wait()


def test_a_program_in_a_container_ends_while_its_tracer_is_stopped(web: Web) -> None:
    """To its parent, a traced process has not ended before its tracer has seen that."""
    added = web.minidock.start("exec", "web", "sleep", "12345")
    deadline = time.monotonic() + patience(10)
    while not (found := _pids_of("sleep\0" + "12345")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with stopped_tracer(found[0]):
        os.kill(found[0], signal.SIGKILL)
        time.sleep(0.3)  # in which its monitor would hear of it
        web.serves()
        assert added.wait(patience(AT_ONCE)) == 137
    added.communicate()
    web.minidock.ok("exec", "web", "true")
    assert not os.path.exists(f"/proc/{found[0]}"), "it is reaped once that is possible"


def test_a_container_is_stopped_while_its_tracer_is_stopped(
    store: Store, minidock: Minidock, image: str
) -> None:
    minidock.ok("run", "-d", "--name", "box", image, "sleep", "600")
    with stopped_tracer(int(lookup.find(store, "box").state["Pid"])):
        os.kill(int(lookup.find(store, "box").state["Pid"]), signal.SIGKILL)
        deadline = time.monotonic() + patience(AT_ONCE)
        status = ("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "box")
        while minidock.ok(*status) != "exited 137":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    minidock.ok("rm", "box")


def _pids_of(words: str) -> list[int]:
    """The processes whose command line begins so."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cmdline").read_text().startswith(words):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
