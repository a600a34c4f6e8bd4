"""Lab 02: what is in a mount namespace after pivot_root, and what leads out of it?

A process with CAP_SYS_CHROOT gets to the root of its mount namespace, whatever its own root is (lab
00). So the exam looks from there: setns(2) into a mount namespace starts at its root.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass

from minidock.teach.lab.exam import Exam, Failure, Process, RunningBox, Sandbox, scene

_MARK = "mark-" + secrets.token_hex(8)  # a name that only this exam knows
_MOUNTED = "/srv/root"
_OPTIONS = ("--tmpfs", "/scratch", "--volume", "/srv/data:/data")
_ASKED_FOR = {"/", "/scratch", "/data"}
_COMMON = ("/proc", "/sys", "/dev")  # a box may have these of its own; lab 03 is about the first


@dataclass
class Box:
    """A box that runs, and the host around it: what it has mounted, and what ROOTFS had."""

    running: RunningBox
    mounts_before: list[str]
    mounts_during: list[str]
    names_before: list[str]


@scene
def on_a_mount(sandbox: Sandbox) -> Box:
    """ROOTFS is a mount point, so that a missing bind mount costs only its own item."""
    script = f"mkdir -p {_MOUNTED} /srv/data && mount --bind {sandbox.rootfs} {_MOUNTED}"
    result = sandbox.start_command("/bin/sh", "-ec", script).wait(10)
    if result.exit_code:
        raise RuntimeError(f"the sandbox cannot be set up: {result.summary()}")
    sandbox.write(f"{sandbox.rootfs}/{_MARK}", "")
    mounts, names = _mounts(sandbox.init), sandbox.listdir(sandbox.rootfs)
    box = sandbox.start_box(*_OPTIONS, _MOUNTED)
    return Box(box, mounts, _mounts(sandbox.init), names)


@scene
def on_a_directory(sandbox: Sandbox) -> RunningBox:
    sandbox.write(f"{sandbox.rootfs}/{_MARK}", "")
    return sandbox.start_box(sandbox.rootfs)


def root_of_the_namespace(exam: Exam) -> str:
    return _root_of_namespace(exam.of(on_a_mount).running.command)


def nothing_of_the_old_root(exam: Exam) -> str:
    mounts = _mounts(exam.of(on_a_mount).running.command)
    left = [target for target in mounts if not _is_expected(target)]
    if left or mounts.count("/") > 1:
        raise Failure(f"{len(mounts)} mounts in the box: {', '.join(mounts)[:200]}")
    return f"mounted in the box: {', '.join(mounts)}"


def any_directory(exam: Exam) -> str:
    return _root_of_namespace(exam.of(on_a_directory).command)


def volumes_are_still_there(exam: Exam) -> str:
    mounts = _mounts(exam.of(on_a_mount).running.command)
    missing = _ASKED_FOR - set(mounts)
    if missing:
        raise Failure(f"nothing is mounted on {', '.join(sorted(missing))}")
    return "/scratch and /data are mounted in the box"


def no_trace_in_the_rootfs(exam: Exam) -> str:
    box = exam.of(on_a_mount)
    allowed = {*box.names_before, "scratch", "data"}
    names = box.running.command.nsenter("ls", "-A", "/").split()
    left = [name for name in names if name not in allowed]
    if left:
        raise Failure(f"new in ROOTFS: {', '.join(left)}")
    return "ROOTFS has its own files, and the two mount points"


def working_directory(exam: Exam) -> str:
    command = exam.of(on_a_mount).running.command
    if not os.path.lexists(f"/proc/{command.pid}/cwd/{_MARK}"):
        raise Failure(f"the command's working directory is {command.link('cwd')} of another tree")
    return "the command's working directory is the new root"


def no_open_descriptors(exam: Exam) -> str:
    command = exam.of(on_a_mount).running.command
    more = [fd for fd in _open_files(command) if int(fd) > 2]
    if more:
        raise Failure(f"open in the command: {more[0]} -> {command.link(f'fd/{more[0]}')}")
    return "open in the command: 0, 1, 2"


def host_keeps_its_root(exam: Exam) -> str:
    box = exam.of(on_a_mount)
    if box.mounts_during != box.mounts_before:
        changed = set(box.mounts_during) ^ set(box.mounts_before)
        raise Failure(f"on the host, added or removed: {', '.join(sorted(changed))[:200]}")
    return f"the host has its {len(box.mounts_before)} mounts as before"


def _root_of_namespace(command: Process) -> str:
    names = command.nsenter("ls", "/", own_root=False).split()
    if _MARK not in names:
        raise Failure(f"the namespace's root has: {' '.join(names)[:200]}")
    return "ROOTFS is the root of the command's mount namespace"


def _is_expected(target: str) -> bool:
    return target in _ASKED_FOR or any(f"{target}/".startswith(f"{top}/") for top in _COMMON)


def _mounts(process: Process) -> list[str]:
    return sorted(mount.target for mount in process.mounts())


def _open_files(process: Process) -> list[str]:
    """The numbers of a process's open files. Raises Failure."""
    try:
        return os.listdir(f"/proc/{process.pid}/fd")
    except OSError as error:
        raise Failure(f"the command has ended ({error.strerror})") from None
