"""The sandbox: a small machine in which a student's program runs, examined from outside.

It is a "host" of its own: user, mount, PID, network, UTS, IPC and cgroup namespaces, whose root is
an unprivileged user of the real host. The program may do there what root does to create containers.
The exam reads the effects from outside, as the real root, from the kernel.

    /usr /bin /lib /etc /opt   the host's, read-only        /lab   the student's folder, read-only
    /rootfs                    busybox, writable            /tmp /run /root   writable, empty
    /sys/fs/cgroup             v1 or v2 as on the host; its root is the sandbox's cgroup
    "/" is a shared mount, as under systemd; lo is up; there is no other network

Limits: memory and processes by the sandbox's cgroup, time by the waiting grader, output and file
sizes by RLIMIT_FSIZE. When a sandbox closes, or its grader ends in any way, the kernel kills its
PID 1 and so all its processes. Nothing of it is ever on the host's disk.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from minidock.errors import MinidockError
from minidock.teach.lab import (
    adopted_children,
    enter_sandbox,
    sandbox_clone,
    sandbox_files,
    snapshot,
)
from minidock.teach.lab.failure import Failure, scale_timeout
from minidock.teach.lab.lan import Neighbour, Network
from minidock.teach.lab.sandbox_cgroup import SandboxCgroup
from minidock.teach.lab.sandbox_process import Process
from minidock.teach.lab.sandbox_tree import ROOT_ID, busybox
from minidock.teach.lab.snapshot import Snapshot
from minidock.teach.lab.student_program import Program, ProgramResult, streams_in_memory
from minidock.teach.lab.submission_files import Files

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
_SIZE_MIB = 256
_PAUSE_SECONDS = 0.002
_NSENTER_SECONDS = 10


@dataclass(frozen=True)
class Limits:
    """seconds: for each run of the program, on the reference machine. The rest: for the sandbox."""

    seconds: float = 10
    memory_mib: int = 512
    pids: int = 256


@dataclass(frozen=True)
class RunningBox:
    """A running box: the program that created it, and the command inside, as the host sees them."""

    program: Program
    command: Process


class Sandbox:
    """One sandbox; `close` ends it. rootfs: the root file system for the program's boxes."""

    rootfs = "/rootfs"
    hostname = "lab"

    def __init__(self, lab: Files, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._programs: list[Program] = []
        self._cgroup = SandboxCgroup(memory_mib=self.limits.memory_mib, pids=self.limits.pids)
        try:
            pid = sandbox_clone.create_init(
                self._cgroup, lab, hostname=self.hostname, size_mib=_SIZE_MIB
            )
        except BaseException:
            self._cgroup.close()
            raise
        self.init = self._process(pid)

    # The student's program --------------------------------------------------------------------

    def run(
        self,
        *argv: str,
        seconds: float | None = None,
        uid: int = 0,
        stdin: str = "",
        env: dict[str, str] | None = None,
    ) -> ProgramResult:
        """Run `/lab/box ARGV…` to its end; kill it after these seconds (`timed_out`).

        uid: in the sandbox: 0, or 1000 for an ordinary user. stdin: its input. env: added to PATH,
        HOME and LANG.
        """
        program = self.start(*argv, uid=uid, stdin=stdin, env=env)
        return program.wait(self.limits.seconds if seconds is None else seconds)

    def start(
        self, *argv: str, uid: int = 0, stdin: str = "", env: dict[str, str] | None = None
    ) -> Program:
        """Start `/lab/box ARGV…` in the background; it ends with the sandbox at the latest."""
        return self.start_command("/lab/box", *argv, uid=uid, stdin=stdin, env=env)

    def start_command(
        self, *argv: str, uid: int = 0, stdin: str = "", env: dict[str, str] | None = None
    ) -> Program:
        """Start any program of the sandbox by its path, such as "/bin/sh"."""
        with streams_in_memory(stdin) as streams:
            pid = enter_sandbox.enter(
                self.init.pid,
                enter_sandbox.ALL_NAMESPACES,
                argv,
                program=argv[0],
                environment={**_ENVIRONMENT, **(env or {})},
                streams=streams,
                uid=uid,
                cgroup=self._cgroup.leaf,
                limit_files=True,
            )
        program = Program(pid, streams[1], streams[2], end_session=self._end_session)
        self._programs.append(program)
        return program

    def start_box(
        self,
        *argv_before: str,
        seconds: float = 10,
        uid: int = 0,
        env: dict[str, str] | None = None,
    ) -> RunningBox:
        """Start `box run ARGV_BEFORE… sleep N`, and wait until the sleep runs in the box.

        argv_before: options and the root file system, such as ("--tmpfs", "/x", sandbox.rootfs).
        Raises Failure, with the program's output, if the command does not appear.
        """
        number = str(random.randrange(100_000_000, 999_999_999))
        program = self.start("run", *argv_before, "sleep", number, uid=uid, env=env)
        return RunningBox(program, self.find(program, "sleep", number, seconds=seconds))

    def find(self, program: Program, *argv: str, seconds: float = 10) -> Process:
        """Wait for a process of the sandbox with exactly this command line.

        Raises Failure where the program and its whole session have ended without it, or after
        these seconds. The session counts: a program that does not wait for its child may end
        before the child calls execve.
        """
        deadline = time.monotonic() + scale_timeout(seconds)
        wanted = "\0".join((*argv, "")).encode()
        while True:
            result = program.poll()
            pids = self._cgroup.pids()
            for pid in pids:
                if _command_line(pid) == wanted:
                    return self._process(pid)
            if result and not any(_is_of_session(pid, program.pid) for pid in pids):
                raise Failure(f"`{' '.join(argv)}` never ran in the box: {result.summary()}")
            if time.monotonic() > deadline:
                raise Failure(f"`{' '.join(argv)}` does not run in the box after {seconds:.0f} s")
            time.sleep(_PAUSE_SECONDS)

    # What the exam reads and changes ----------------------------------------------------------

    def processes(self) -> list[Process]:
        """All processes of the sandbox, including its PID 1 and zombies."""
        return [self._process(pid) for pid in self._cgroup.pids()]

    def signal(self, process: Process, number: int) -> None:
        """Send a process a signal from outside; does nothing if it has ended.

        The pid is looked up again: by now another process may have it, even one of the host.
        """
        try:
            pidfd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return
        try:
            if process.pid in self._cgroup.pids():
                signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)

    def cgroups(self) -> list[str]:
        """The cgroups that were created in the sandbox: "memory/box1" (v1), "box1" (v2)."""
        return self._cgroup.list_cgroups()

    def cgroup_file(self, controller: str, path: str, name: str) -> str:
        """Read a file of a cgroup of the sandbox: ("memory", "/box1", "memory.max").

        controller: selects the hierarchy in v1; ignored in v2. path: from Process.cgroups.
        Raises Failure if it does not exist.
        """
        tops = self._cgroup.root.paths()
        top = tops.get(controller) or tops.get("")
        file = os.path.normpath(f"{top}/{path}/{name}")
        if top is None or not file.startswith(f"{top}/"):
            raise Failure(f"there is no cgroup {path} of {controller}")
        try:
            with open(file, encoding="utf-8") as opened:
                return opened.read().strip()
        except OSError as error:
            raise Failure(f"cgroup {controller} {path}: {name}: {error.strerror}") from None

    def nsenter(self, *argv: str, check: bool = True) -> str:
        """Run a command of the host in the sandbox's network, UTS and IPC namespaces.

        Such as nsenter("ip", "-j", "address"). Returns its output. It sees files, mounts and
        processes of the host; `read`, `init.mounts()` and `processes()` give the sandbox's. Raises
        MinidockError if it fails or is missing; check=False: returns its output anyway.
        """
        program = shutil.which(argv[0], path=_PATH)
        if program is None:
            raise MinidockError(f"the grader needs {argv[0]}, which is not installed")
        kinds = ["network", "uts", "ipc"]
        result = self._run_host_program(self.init.pid, kinds, argv, program)
        if check and result.exit_code:
            raise MinidockError(f"{' '.join(argv)}: {result.summary()}")
        return result.output

    def network(self) -> Network:
        """The sandbox's network namespace: "the host" to which boxes are connected."""
        return Network.of_process(self.init.pid, "the host")

    def neighbour(self) -> Neighbour:
        """Another machine, on a veth pair: 10.77.0.2; the sandbox is 10.77.0.1."""
        return Neighbour.of_sandbox(self.network())

    def read(self, path: str) -> str:
        """Read a file, as the sandbox's root would. Raises Failure if it does not exist."""
        return sandbox_files.read(self.init.pid, path)

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """Write a file, owned by the sandbox's root, and create its parent directories.

        Raises Failure if the sandbox's root may not write there.
        """
        sandbox_files.write(self.init.pid, path, text, mode)

    def exists(self, path: str) -> bool:
        """Whether a path exists in the sandbox; links are followed inside it."""
        return sandbox_files.exists(self.init.pid, path)

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted. Raises Failure if it does not exist."""
        return sandbox_files.listdir(self.init.pid, path)

    def read_tree(self, path: str) -> Files:
        """Read all files and links below a directory. Raises Failure if they are too many."""
        return sandbox_files.read_tree(self.init.pid, path)

    def snapshot(self) -> Snapshot:
        """Record mounts, links, rules, cgroups and processes; see Snapshot.list_new_since."""
        return snapshot.take_snapshot(
            self.init,
            iptables=self.nsenter("iptables-save"),
            cgroups=self.cgroups(),
            processes=self.processes(),
        )

    # Inside -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Kill all its processes, and remove its cgroup. Idempotent."""
        if self.init.pid:
            os.kill(self.init.pid, signal.SIGKILL)
            self._cgroup.thaw()
            for program in self._programs:
                program.kill()
                program.close()
            self._programs.clear()
            adopted_children.wait_for_init(self.init.pid, on_poll=self._cgroup.thaw)
            self.init.pid = 0
        self._cgroup.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _process(self, pid: int) -> Process:
        return Process(pid, path_inside=self._cgroup.path_inside, nsenter=self._nsenter_busybox)

    def _end_session(self, leader: int) -> None:
        """Kill the processes of a program's session, frozen or not."""
        for _ in range(20):  # in each round, fewer can fork
            left = [pid for pid in self._cgroup.pids() if _is_of_session(pid, leader)]
            if not left:
                return
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._cgroup.thaw()

    def _nsenter_busybox(
        self, pid: int, argv: Sequence[str], *, check: bool, own_root: bool
    ) -> str:
        fd = os.open(busybox(), os.O_RDONLY | os.O_CLOEXEC)
        try:
            kinds = [kind for kind in enter_sandbox.ALL_NAMESPACES if kind != "user"]
            # A box may trick busybox into executing a file of its tree: never as root.
            result = self._run_host_program(pid, kinds, argv, fd, chroot=own_root, uid=ROOT_ID)
        finally:
            os.close(fd)
        if check and result.exit_code:
            raise Failure(f"{' '.join(argv)} in the box: {result.summary()}")
        return result.output

    def _run_host_program(
        self,
        pid: int,
        kinds: Sequence[str],
        argv: Sequence[str],
        program: str | int,
        *,
        chroot: bool = False,
        uid: int | None = None,
    ) -> ProgramResult:
        """Run a program of the host in namespaces of a process; uid: instead of root."""
        with streams_in_memory("") as streams:
            pid = enter_sandbox.enter(
                pid,
                kinds,
                argv,
                program=program,
                environment=_ENVIRONMENT,
                streams=streams,
                chroot=chroot,
                uid=uid,
            )
        running = Program(pid, streams[1], streams[2], end_session=lambda leader: None)
        try:
            return running.wait(_NSENTER_SECONDS)
        finally:
            running.close()


def _command_line(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def _is_of_session(pid: int, leader: int) -> bool:
    """Whether a process that has not ended has this session leader."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # The fields after the name: state, ppid, pgrp, session, …
            fields = file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return False
    return int(fields[3]) == leader and fields[0] not in "ZX"
