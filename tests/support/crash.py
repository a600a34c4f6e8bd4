"""A stage on which processes of minidock die: each command is a process, and what is left is seen.

A crash test has hundreds of cases, so nothing may cost much. A command is a fork of the test's
process, which has the engine imported already; and its monitor is a fork too, in the place of the
sealed interpreter that `posix_spawn` would bring up (`Stage(real_monitor=True)` has the real one;
a test holds the two side by side). What they do from there on is what the product does.

The test's process adopts orphans (support/orphans.py), so a process that outlives its container is
a child of ours, and is found without reading all of /proc.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from minidock.engine.container import containers, create, removal
from minidock.engine.lifecycle import remove, stop
from minidock.engine.monitor import attach, session
from minidock.engine.monitor import exec_client as engine_exec
from minidock.engine.monitor import main as monitor
from minidock.engine.store import journal
from minidock.errors import MinidockError
from minidock.kernel.cgroup import MONITORS, ROOT, is_v2
from minidock.kernel.cgroup_tree import home_of
from minidock.kernel.op import REGISTRY, use_journal
from minidock.paths import Store
from minidock.runtime.channel import describe_error, rebuild_error
from support.orphans import children, is_dead
from support.patience import patience

PATIENCE_SECONDS = 30
_COMMANDS = (
    stop,
    remove,
    attach,
    containers,
    create,
    engine_exec,
    removal,
    session,
)  # all are warm now


class Outcome:
    """How a command's process ended.

    value: what its function returned. error: what it raised, or None. signal: what killed it, or 0.
    """

    def __init__(self, value: Any, error: MinidockError | None, killed_by: int) -> None:
        self.value = value
        self.error = error
        self.signal = killed_by

    def __repr__(self) -> str:
        return f"Outcome({self.value!r}, {self.error!r}, signal {self.signal})"


class Stage:
    """A store, and what the kernel held of it before the first case."""

    def __init__(self, store: Store, *, real_monitor: bool = False) -> None:
        self.store = store
        self._real_monitor = real_monitor
        self._known = set(children())
        self.before: set[str] = set()
        self._victim = Path(f"{store.root}/somebody-was-killed")

    def settle(self) -> None:
        """From here on, what is there is not a leftover (bridge, chains, a volume)."""
        self.before = self._look()

    def command(
        self,
        act: Callable[[], Any],
        *,
        fault: str = "",
        at_file: int = 0,
        monitor_at_file: int = 0,
    ) -> Outcome:
        """Run a function as a command: in a process of its own.

        fault: MINIDOCK_FAULT of that process, and of the monitor that it bears. at_file,
        monitor_at_file: kill it, or the monitor, before its n-th change of a file or directory;
        `was_killed` tells whether there was one.
        """
        self._victim.unlink(missing_ok=True)
        return self.begin(act, fault=fault, at_file=at_file, monitor_at_file=monitor_at_file).wait()

    def was_killed(self) -> bool:
        """Whether the last command's at_file, or monitor_at_file, was reached."""
        return self._victim.exists()

    def last_victim(self) -> str:
        """Which change it was that was not made."""
        return self._victim.read_text() if self.was_killed() else "none"

    def begin(
        self,
        act: Callable[[], Any],
        *,
        fault: str = "",
        at_file: int = 0,
        monitor_at_file: int = 0,
    ) -> Command:
        """The same, without waiting for its end."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            if not self._real_monitor:
                REGISTRY["process.spawn"].act = self._fork_monitor(monitor_at_file)
            self._be_command(act, writing, fault, at_file)
        os.close(writing)
        self._known.add(pid)
        return Command(pid, reading)

    def _be_command(
        self, act: Callable[[], Any], writing: int, fault: str, at_file: int
    ) -> NoReturn:
        try:
            os.environ["MINIDOCK_ROOT"] = self.store.root
            os.environ["MINIDOCK_FAULT"] = fault
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
            if at_file:
                die_at_file(at_file, self._victim)
            answer: tuple[Any, ...] = ("value", act())
        except MinidockError as error:
            answer = ("error", describe_error(error))
        except BaseException:
            answer = ("traceback", traceback.format_exc())
        os.write(writing, pickle.dumps(answer))
        os._exit(0)

    def _fork_monitor(self, at_file: int) -> Callable[..., int]:
        """Stand-in for the op that spawns a monitor: the same main(), in a fork that is warm."""

        def spawn(path: str, argv: list[str], environment: list[str], *, control: int) -> int:
            pid = os.fork()
            if pid == 0:
                os.setsid()
                os.dup2(control, monitor.CONTROL_FD)
                os.closerange(monitor.CONTROL_FD + 1, 256)
                use_journal(None)
                journal._last = 0
                if at_file:
                    die_at_file(at_file, self._victim)
                try:
                    monitor.main([])
                finally:
                    os._exit(0)
            return pid

        return spawn

    def leftovers(self) -> set[str]:
        """What is there of the store and was not there before; the dying get a moment to die."""
        deadline = time.monotonic() + patience(2)
        while (left := self._look() - self.before) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left

    def children(self) -> list[int]:
        """Living processes that were created on this stage; ended ones are reaped."""
        living = []
        for pid in set(children()) - self._known:
            if is_dead(pid):
                os.waitpid(pid, 0)
            else:
                living.append(pid)
        return living

    def _look(self) -> set[str]:
        store = self.store
        seen = {f"process {pid} {_command_line(pid)}" for pid in self.children()}
        seen |= set(_mounts_below(store))
        seen |= {
            f"link {name}"
            for name in os.listdir("/sys/class/net")
            if name.startswith("veth") and _bridge_of(name) in ("", store.bridge)
        }
        seen |= _rules(store)
        seen |= {f"cgroup {path}" for path in _cgroups(store)}
        for folder in (
            store.run,
            store.containers,
            store.names,
            store.staging,
            store.volumes,
            f"{store.root}/networks",
        ):
            if os.path.isdir(folder):
                seen |= {f"file {folder}/{name}" for name in os.listdir(folder)}
        seen |= {f"lease {line}" for line in _leases(store)}
        return seen


class Command:
    """A command that runs."""

    def __init__(self, pid: int, reading: int) -> None:
        self.pid = pid
        self._reading = reading

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Outcome:
        """Its outcome, once it has ended; a command that hangs is a failed test."""
        said = b""
        deadline = time.monotonic() + patience(PATIENCE_SECONDS)
        while select.select([self._reading], [], [], max(0, deadline - time.monotonic()))[0]:
            block = os.read(self._reading, 1 << 16)
            if not block:
                break
            said += block
        else:
            self.kill()
            os.waitpid(self.pid, 0)
            raise AssertionError("a command hangs")
        os.close(self._reading)
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSIGNALED(status):
            return Outcome(None, None, os.WTERMSIG(status))
        kind, content = pickle.loads(said)
        assert kind != "traceback", f"a command ended in a traceback:\n{content}"
        if kind == "error":
            return Outcome(None, rebuild_error(content), 0)
        return Outcome(content, None, 0)


def die_at_file(number: int, note: Path) -> None:
    """Have this process killed before its n-th change of a file or directory.

    Python tells audit hooks before it makes, opens for writing, renames or removes one.
    note: a file that is made then.
    """
    victim = os.getpid()
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if changes_files(event, arguments) and os.getpid() == victim:
            count += 1
            if count == number:
                note.write_text(f"{event} {arguments}")
                os.kill(victim, signal.SIGKILL)

    sys.addaudithook(hook)


def changes_files(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event is about to change what is on disk."""
    if event == "open":
        flags = arguments[2]
        return bool(flags and flags & (os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_RDWR))
    return event in (
        "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate",
        "os.chmod", "os.chown", "socket.bind",
    )  # fmt: skip


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:80]
    except OSError:
        return ""


def _mounts_below(store: Store) -> list[str]:
    places = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [f"mount {p}" for p in places if p.startswith((f"{store.root}/", f"{store.run}/"))]


def _bridge_of(link: str) -> str:
    try:
        return os.path.basename(os.readlink(f"/sys/class/net/{link}/master"))
    except OSError:
        return ""


def _rules(store: Store) -> set[str]:
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    return {f"rule {line}" for line in saved.splitlines() if store.bridge in line}


def _cgroups(store: Store) -> list[str]:
    found = []
    trees = [""] if is_v2() else os.listdir(ROOT)
    for tree in trees:
        top = os.path.join(ROOT, tree, home_of(store.cgroup_parent))
        if os.path.isdir(top):
            found += [entry.path for entry in os.scandir(top) if entry.is_dir()]
    return [path for path in found if os.path.basename(path) != MONITORS]


def _leases(store: Store) -> list[str]:
    from minidock.engine.network.network_json import read

    network = read(store, "bridge") or {}
    return [f"{key[:12]} {lease['Address']}" for key, lease in network.get("Leases", {}).items()]
