"""What a process inside can do to one that is entering, and to the monitor outside."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from minidock.engine.container.lookup import find
from minidock.paths import Store
from support import attack
from support.command import Minidock
from support.patience import patience

pytestmark = pytest.mark.root

MARK = "written by a neighbour"
NEIGHBOUR = f"""
import os, time
print("looking", flush=True)
while True:
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or int(pid) in (1, os.getpid()):
            continue
        for number in range(3, 50):
            try:
                flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK
                fd = os.open(f"/proc/{{pid}}/fd/{{number}}", flags)
                os.write(fd, b"{MARK}")
                os.close(fd)
            except OSError:
                pass
    time.sleep(0.05)
"""
# Two guards: an entering process closes what it does not need, and is not dumpable, so that its
# /proc/PID/fd is shut. The window is the moment before execve, when it has only the container's
# capabilities left: it stays open for as long as the neighbour needs.
WIDE_WINDOW = """
import os, time
from minidock.kernel import process
_execute = process.execute
def slowly(path, argv, environment):
    time.sleep({seconds})
    os.execve(path, argv, {{}})
process.execute = slowly
"""
NOT_CLOSING = "process.close_all_but = lambda kept: None\n"
DUMPABLE = "process.set_not_dumpable = lambda: None\n"
GUARDS = {
    "both guards": ("", False),
    "not dumpable": (NOT_CLOSING, False),
    "closing": (DUMPABLE, False),
    "no guard": (NOT_CLOSING + DUMPABLE, True),
}


@pytest.fixture
def attacker(minidock: Minidock, store: Store) -> str:
    return attack.Rootfs().host_python().into(minidock, "attacker")


def _written_in(store: Store) -> list[str]:
    """The store's files in which the neighbour wrote, other than its own."""
    found = []
    for folder, _, names in os.walk(store.containers):
        for name in names:
            path = f"{folder}/{name}"
            try:
                if os.path.isfile(path) and MARK.encode() in Path(path).read_bytes():
                    found.append(name)
            except FileNotFoundError:
                continue  # a monitor has put it in the place of another
    return [name for name in found if name not in ("container.json", "config.json")]


def _wait_for_log(minidock: Minidock, words: str) -> str:
    """What box has said, once it has said this."""
    deadline = time.monotonic() + patience(10)
    while words not in (said := minidock.ok("logs", "box")):
        assert time.monotonic() < deadline, said
    return said


@pytest.mark.parametrize(
    ("entering", "guards"),
    [*(("exec", name) for name in GUARDS), ("run", "both guards"), ("run", "no guard")],
)
def test_neighbour_writes_through_descriptors_of_an_entering_process_only_if_unguarded(
    minidock: Minidock, store: Store, attacker: str, entering: str, guards: str
) -> None:
    taken_away, succeeds = GUARDS[guards]
    prelude = WIDE_WINDOW.format(seconds=patience(0.3)) + taken_away
    line = ["run", "-d", "--name", "box", "--network", "none", *attack.python_flags(), attacker]
    started = attack.without(minidock, prelude, *line, *attack.python_command(NEIGHBOUR))
    assert started.code == 0, str(started)
    _wait_for_log(minidock, "looking")
    if entering == "exec":
        minidock.ok("exec", "box", "/usr/bin/true")
    else:
        joining = ["run", "--network", "none", "--pid", "container:box", *attack.python_flags()]
        attack.without(minidock, prelude, *joining, attacker, "/usr/bin/true")
    assert bool(_written_in(store)) is succeeds
    minidock.ok("rm", "-f", "box")


def test_container_s_init_has_no_parent_to_be_seen_or_signalled(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    look = "cat /proc/1/stat | cut -d' ' -f4; ls /proc | grep -c '^[0-9]'; kill -9 1 0 -1; "
    look += "echo killed; sleep 60"
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sh", "-c", look)
    container = find(store, "box")
    parent, processes, _ = _wait_for_log(minidock, "killed").split()
    assert parent == "0" and int(processes) <= 4
    assert os.path.exists(f"/proc/{container.monitor_pid}")
    assert find(store, "box").monitor_pid == container.monitor_pid != 0
    minidock.ok("rm", "-f", "box")


REACH = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
found = {}
def tried(name, act):
    try:
        act()
        found[name] = "ok"
    except OSError as error:
        found[name] = error.errno
def ptrace():
    if libc.ptrace(16, int(sys.argv[1]), None, None):
        raise OSError(ctypes.get_errno(), "")
base = "/proc/" + sys.argv[1]
tried("list", lambda: os.listdir(base + "/fd"))
for number in range(0, 12):
    tried(f"fd {number}", lambda: os.open(f"{base}/fd/{number}", os.O_RDWR | os.O_NONBLOCK))
for name in ("mem", "maps", "environ", "auxv", "exe", "cwd/etc", "root/etc", "ns/mnt"):
    tried(name, lambda: os.open(f"{base}/{name}", os.O_RDONLY))
tried("trace", ptrace)
print(json.dumps(found))
"""


def test_monitor_is_out_of_reach_even_in_the_host_s_pid_namespace(
    minidock: Minidock, store: Store, attacker: str
) -> None:
    attack.Rootfs().busybox().into(minidock, "quiet")
    minidock.ok("run", "-d", "--name", "box", "--network", "none", "quiet", "sleep", "60")
    monitor = find(store, "box").monitor_pid
    line = ["run", "--rm", "--pid", "host", "--network", "none", *attack.python_flags(), attacker]
    found = attack.answer(minidock.ok(*line, *attack.python_command(REACH, str(monitor))))
    assert {name for name, outcome in found.items() if outcome == "ok"} <= {"list"}
    minidock.ok("rm", "-f", "box")


def test_killed_init_is_reported_with_137(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "60")
    os.kill(find(store, "box").state["Pid"], signal.SIGKILL)
    assert minidock.ok("wait", "box") == "137"


def test_process_that_never_stops_talking_does_not_hold_the_monitor(
    minidock: Minidock, busybox_image: str
) -> None:
    """What an ended exec left behind writes on; the monitor goes on to serve the others."""
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "60")
    minidock.ok("exec", "-d", "box", "sh", "-c", "cat /dev/zero & cat /dev/zero & exit 7")
    deadline = time.monotonic() + patience(10)
    while "exit 7" in minidock.ok("top", "box"):
        assert time.monotonic() < deadline
    assert minidock.ok("exec", "box", "echo", "served", timeout_seconds=20) == "served"
    minidock.ok("rm", "-f", "box", timeout_seconds=20)
