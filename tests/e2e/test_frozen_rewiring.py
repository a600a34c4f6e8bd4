"""A running container joins or leaves a network, and what that waits for is frozen.

That is iptables-restore, which strace stops (SIGSTOP) as it begins, or the disk. The container is
served meanwhile; whatever is killed then, nothing is left of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minidock.engine.container import lookup
from minidock.engine.network import bridge
from minidock.engine.network.network_json import read_all
from minidock.paths import Store
from support import stores
from support.command import Minidock
from support.patience import patience
from support.ports import free_port
from support.web import AT_ONCE, SERVER, Web

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]

RESTORE = "iptables-restore"


@pytest.fixture
def image(store: Store, busybox_tar: Path) -> Iterator[str]:
    yield from stores.busybox_and_no_leftovers(store, busybox_tar)
    assert [network for network in read_all(store) if network["Leases"]] == []


@pytest.fixture
def web(minidock: Minidock, store: Store, image: str, require: Callable[[str], str]) -> Web:
    require("strace")
    return Web(minidock, store)


def lose_rules(store: Store, name: str) -> None:
    """Who joins the network next makes its rules again."""
    (device,) = [network["Device"] for network in read_all(store) if network["Name"] == name]
    saved = subprocess.run(["iptables-save"], check=True, capture_output=True, text=True).stdout
    removal = bridge.rules_removal(store, saved, device)
    subprocess.run([RESTORE, "--noflush"], input=removal, check=True, text=True)


@contextmanager
def traced(monitor: int, *options: str) -> Iterator[None]:
    """strace has a monitor, and all that it begins, while the block runs."""
    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", *options, "-p", str(monitor)]
    )
    deadline = time.monotonic() + patience(20)
    while "TracerPid:\t0\n" in Path(f"/proc/{monitor}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield
    strace.terminate()
    strace.wait(patience(20))


def grandchildren(pid: int) -> dict[int, str]:
    """The iptables-restore that children of a process have begun, with the state of each."""
    found = {}
    for child in _children(pid):
        for program in _children(child):
            try:
                if Path(f"/proc/{program}/comm").read_text().strip() == RESTORE[:15]:
                    stat = Path(f"/proc/{program}/stat").read_text()
                    found[program] = stat.rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


class Stopped:
    """A command whose monitor waits for an iptables-restore that is stopped."""

    def __init__(self, command: subprocess.Popen[bytes], monitor: int, program: int) -> None:
        self.command = command
        self.monitor = monitor
        self.program = program

    @property
    def program_is_there(self) -> bool:
        deadline = time.monotonic() + patience(1)  # it is killed, and dies a moment later
        while os.path.exists(f"/proc/{self.program}/exe"):  # a zombie has none
            if time.monotonic() > deadline:
                return True
            time.sleep(0.02)
        return False


@contextmanager
def stopped_program(store: Store, *change: str) -> Iterator[Stopped]:
    """A change of a container's networks, in which iptables-restore stands as it has begun."""
    monitor = lookup.find(store, change[-1]).monitor_pid
    with traced(
        monitor, "-P", shutil.which(RESTORE) or "", "-e", "trace=execve",
        "-e", "inject=execve:signal=SIGSTOP",
    ):  # fmt: skip
        command = Minidock(store.root).start(*change)
        deadline = time.monotonic() + patience(20)
        while "t" not in (found := grandchildren(monitor)).values():
            assert time.monotonic() < deadline and command.poll() is None
            time.sleep(0.02)
        time.sleep(0.3)  # strace's own stops look the same: one that it has still to end
    while "T" not in (found := grandchildren(monitor)).values():
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    (program,) = found
    try:
        yield Stopped(command, monitor, program)
    finally:
        try:
            os.kill(program, signal.SIGCONT)
        except ProcessLookupError:
            pass
        if command.stdout is not None and not command.stdout.closed:
            command.communicate(timeout=patience(30))


def test_a_container_is_served_while_the_program_for_its_firewall_is_stopped(
    web: Web, store: Store
) -> None:
    lose_rules(store, "wan")
    with stopped_program(store, "network", "connect", "wan", "web") as stopped:
        web.serves()
        assert stopped.command.poll() is None
    assert stopped.command.returncode == 0
    assert "eth1" in web.minidock.ok("exec", "web", "ls", "/sys/class/net")
    assert web.container.id in web.minidock.ok("network", "inspect", "wan")
    web.serves()


def test_a_container_is_served_while_its_ports_move_to_another_network(
    minidock: Minidock, store: Store, image: str, require: Callable[[str], str]
) -> None:
    """It leaves its gateway network: the rules for its port use the other network then."""
    require("strace")
    port = free_port()
    for name in ("lan", "wan"):
        minidock.ok("network", "create", name)
    minidock.ok("run", "-d", "--name", "web", "--network", "lan", "-p", f"{port}:8080", image,
                "sh", "-c", SERVER)  # fmt: skip
    minidock.ok("network", "connect", "wan", "web")
    with stopped_program(store, "network", "disconnect", "lan", "web") as stopped:
        assert minidock.ok("exec", "web", "echo", "hi", timeout_seconds=AT_ONCE) == "hi"
        assert "web" in minidock.ok("exec", "web", "nslookup", "web", timeout_seconds=AT_ONCE)
        last = minidock.ok("logs", "--tail", "1", "web", timeout_seconds=AT_ONCE)
        assert stopped.command.poll() is None
    assert stopped.command.returncode == 0
    assert minidock.ok("logs", "--tail", "1", "web") != last
    held = minidock.ok("exec", "web", "ls", "/sys/class/net")
    assert "eth1" in held and "eth0" not in held
    for address in ("127.0.0.1", "::1"):
        with socket.create_connection((address, port), timeout=patience(AT_ONCE)) as connection:
            connection.sendall(b"GET /passwd HTTP/1.0\r\n\r\n")
            assert connection.recv(12).startswith(b"HTTP/1")


def test_a_container_is_served_while_the_disk_is_slow(web: Web) -> None:
    """Each fsync(2) takes two seconds: that of the network's file, and of container.json."""
    slow = ("-e", "trace=fsync", "-e", "inject=fsync:delay_enter=2000000")
    with traced(web.container.monitor_pid, *slow):
        for change in ("connect", "disconnect"):
            begun = time.monotonic()
            command = web.minidock.start("network", change, "wan", "web")
            web.serves(probes=False)
            assert command.poll() is None
            out, err = command.communicate(timeout=patience(60))
            assert command.returncode == 0, err
            assert time.monotonic() - begun > 4
    web.serves()


def test_a_container_is_renamed_while_it_joins_a_network(web: Web, store: Store) -> None:
    """Its neighbours there know it by its new name, whichever comes first."""
    slow = ("-e", "trace=fsync", "-e", "inject=fsync:delay_enter=500000")
    with traced(web.container.monitor_pid, *slow):
        command = web.minidock.start("network", "connect", "wan", "web")
        deadline = time.monotonic() + patience(20)
        while not [n for n in read_all(store) if n["Name"] == "wan" and n["Leases"]]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        web.minidock.ok("rename", "web", "other")
        assert command.wait(patience(60)) == 0
        command.communicate()
    for network in read_all(store):
        for lease in network["Leases"].values():
            assert "other" in lease["Names"] and "web" not in lease["Names"]
    endpoints = lookup.find(store, "other").document["NetworkSettings"]["Networks"]
    assert [each["DNSNames"][0] for each in endpoints.values()] == ["other", "other"]


@pytest.mark.parametrize("repair", [("system", "check", "--repair"), ("rm", "-f", "web")])
def test_a_monitor_is_killed_while_its_container_joins_a_network(
    web: Web, store: Store, repair: tuple[str, ...]
) -> None:
    lose_rules(store, "wan")
    with stopped_program(store, "network", "connect", "wan", "web") as stopped:
        os.kill(stopped.monitor, signal.SIGKILL)
        assert stopped.command.wait(patience(AT_ONCE)) == 1
        assert not stopped.program_is_there, "it ends with the monitor"
        web.minidock(*repair, timeout_seconds=AT_ONCE)
        assert stores.leftovers(store) == []
        assert [network for network in read_all(store) if network["Leases"]] == []
    assert web.minidock("system", "check").code == 0


def test_a_container_ends_while_it_joins_a_network(web: Web, store: Store) -> None:
    lose_rules(store, "wan")
    with stopped_program(store, "network", "connect", "wan", "web") as stopped:
        web.minidock.ok("stop", "-t", "0", "web", timeout_seconds=AT_ONCE)
        _, err = stopped.command.communicate(timeout=patience(AT_ONCE))
        assert stopped.command.returncode == 1 and b"has just ended" in err
        assert not stopped.program_is_there
        state = ("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "web")
        assert web.minidock.ok(*state) == "exited 137"
    web.minidock.ok("start", "web")
    web.minidock.ok("network", "connect", "wan", "web")


def test_what_a_killed_child_of_the_monitor_has_made_of_a_join_is_undone(
    web: Web, store: Store
) -> None:
    lose_rules(store, "wan")
    with stopped_program(store, "network", "connect", "wan", "web") as stopped:
        child = Path(f"/proc/{stopped.program}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(child), signal.SIGKILL)
        _, err = stopped.command.communicate(timeout=patience(AT_ONCE))
        assert stopped.command.returncode == 1 and b"was killed" in err
        assert not stopped.program_is_there
    assert [n["Name"] for n in read_all(store) if n["Leases"]] == ["lan"]
    web.minidock.ok("network", "connect", "wan", "web")
    web.serves()
    assert lookup.find(store, "web").document["NetworkSettings"]["Networks"].keys() == {
        "lan", "wan",
    }  # fmt: skip


def test_two_changes_at_once_are_made_one_after_the_other(web: Web, store: Store) -> None:
    lose_rules(store, "wan")
    with stopped_program(store, "network", "connect", "wan", "web") as stopped:
        again = web.minidock.start("network", "connect", "wan", "web")
        time.sleep(0.5)  # in which it would end, if it did not wait
        assert again.poll() is None
    assert stopped.command.returncode == 0
    _, err = again.communicate(timeout=patience(20))
    assert again.returncode == 1 and b"already exists in network wan" in err
    web.serves()
