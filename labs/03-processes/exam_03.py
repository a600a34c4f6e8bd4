"""Lab 03: PIDs, /proc, and which processes end together."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from minidock.teach.lab.exam import (
    Exam,
    Failure,
    Process,
    RunningBox,
    Sandbox,
    eventually,
    scene,
)

ORPHAN = ("sleep", "271828182")  # a command line that nothing else in the sandbox has
LEAVES_ORPHAN = ("sh", "-c", f'({" ".join(ORPHAN)} &); exec "$@"', "sh")
FLAGS = ("nosuid", "nodev", "noexec")


@dataclass(frozen=True)
class Scene:
    """A running box and its sandbox. Probes that end a box start another one there."""

    sandbox: Sandbox
    box: RunningBox


@scene
def plain(sandbox: Sandbox) -> Scene:
    return Scene(sandbox, sandbox.start_box(sandbox.rootfs))


@scene
def with_init(sandbox: Sandbox) -> Scene:
    sandbox.write(f"{sandbox.rootfs}/dev/null", "")  # a shell's & opens it
    return Scene(
        sandbox, sandbox.start_box("--init", "--tmpfs", "/mnt", sandbox.rootfs, *LEAVES_ORPHAN)
    )


# Numbers -----------------------------------------------------------------------------------------


def own_pid_namespace(exam: Exam) -> str:
    seen = exam.of(plain)
    inside, outside = seen.box.command.namespace("pid"), seen.sandbox.init.namespace("pid")
    if inside == outside:
        raise Failure(f"the command is in {inside}, and so is the host")
    return f"the command is in {inside}, the host in {outside}"


def pid_one(exam: Exam) -> str:
    number = exam.of(plain).box.command.pid_inside()
    if number != 1:
        raise Failure(f"the command is PID {number} of its namespace")
    return "the command is PID 1 of its namespace"


# /proc -------------------------------------------------------------------------------------------


def own_proc(exam: Exam) -> str:
    command = exam.of(plain).box.command
    if not any(mount.fstype == "proc" for mount in command.mounts() if mount.target == "/proc"):
        raise Failure("no file system of type proc is mounted at the box's /proc")
    path = f"/proc/{command.pid_inside()}"
    listed = command.nsenter("cat", f"{path}/cmdline", check=False).split("\0")[:-1]
    if listed != command.argv():
        raise Failure(f"in the box, {path} is `{' '.join(listed)[:60]}`, which is not the command")
    return f"in the box, {path} is `{' '.join(listed)}`, the command"


def proc_flags(exam: Exam) -> str:
    mounts = exam.of(plain).box.command.mounts()
    options = next((m.options for m in reversed(mounts) if m.target == "/proc"), ())
    missing = [flag for flag in FLAGS if flag not in options]
    if missing:
        raise Failure(f"/proc is mounted {','.join(options)}: without {', '.join(missing)}")
    return f"/proc is mounted {','.join(options)}"


# Ends --------------------------------------------------------------------------------------------


def exit_code(exam: Exam) -> str:
    sandbox = exam.of(plain).sandbox
    result = sandbox.run("run", sandbox.rootfs, "sh", "-c", "exit 7")
    if result.exit_code != 7:
        raise Failure(f"the command ended with 7, box with {result.summary()}")
    box = sandbox.start_box(sandbox.rootfs)
    sandbox.signal(box.command, signal.SIGKILL)
    killed = box.program.wait(5)
    if killed.exit_code != 128 + signal.SIGKILL:
        raise Failure(f"the command was ended by signal 9, from outside; box: {killed.summary()}")
    return "7 after the command's exit 7; 137 after signal 9"


def box_killed(exam: Exam) -> str:
    sandbox = exam.of(plain).sandbox
    before = {process.pid for process in sandbox.processes()}
    box = sandbox.start_box(sandbox.rootfs)
    new = [process for process in sandbox.processes() if process.pid not in before]
    box.program.signal(signal.SIGKILL)
    if not eventually(partial(none_runs, new), seconds=3):
        left = ", ".join(f"`{' '.join(process.argv())}`"[:60] for process in running(new))
        raise Failure(f"box was killed, and is survived by {left}")
    return f"box was killed, and none of its {len(new)} processes is left"


# --init ------------------------------------------------------------------------------------------


def init_is_pid_one(exam: Exam) -> str:
    seen = exam.of(with_init)
    command = seen.box.command
    if command.pid_inside() == 1:
        raise Failure("with --init too, the command itself is PID 1")
    first = parent(seen.sandbox, command)
    if first.pid_inside() != 1 or first.namespace("pid") != command.namespace("pid"):
        raise Failure(f"the command's parent is not PID 1, but PID {first.pid_inside()}")
    return f"PID 1 is the command's parent, the command is PID {command.pid_inside()}"


def init_reaps(exam: Exam) -> str:
    seen = exam.of(with_init)
    first = parent(seen.sandbox, seen.box.command)
    orphan = eventually(partial(child, first, ORPHAN))
    if orphan is None:
        raise Failure("PID 1 did not adopt an orphan")
    seen.sandbox.signal(orphan, signal.SIGKILL)
    if not eventually(lambda: is_gone(orphan), seconds=3):
        raise Failure("an orphan that ended stays a zombie: PID 1 does not wait for it")
    if not first.is_running():
        raise Failure("as an orphan ended, so did PID 1")
    return "an orphan ended, and PID 1 reaped it"


def init_signals(exam: Exam) -> str:
    sandbox = exam.of(with_init).sandbox
    for number in (signal.SIGTERM, signal.SIGUSR1):
        box = sandbox.start_box("--init", sandbox.rootfs)
        first = parent(sandbox, box.command)
        # Repeatedly: a PID 1 that installs a handler after the fork may not have done it yet.
        if not eventually(partial(ended_by, sandbox, number, first, box.command), seconds=3):
            raise Failure(f"PID 1 got {number.name}, and the command lives on")
        box.program.wait(5)
    return "PID 1 got SIGTERM, and in another box SIGUSR1: each ended the command"


def init_ends(exam: Exam) -> str:
    sandbox = exam.of(with_init).sandbox
    cases = ((f"{' '.join(ORPHAN)} & exit 7", 7), ("kill -TERM $$", 128 + signal.SIGTERM))
    for script, expected in cases:
        result = sandbox.run("run", "--init", sandbox.rootfs, "sh", "-c", script)
        if result.exit_code != expected or result.timed_out:
            raise Failure(f"with --init, sh -c '{script}': {result.summary()}")
    return "the box ended with the command: 7 after exit 7, with a child left; 143 after SIGTERM"


def init_closed(exam: Exam) -> str:
    seen = exam.of(with_init)
    first = parent(seen.sandbox, seen.box.command)
    # The command may run before its parent, PID 1, has closed its files.
    eventually(lambda: max(open_files(first), default=0) <= 2, seconds=3)
    numbers = open_files(first)
    if extra := [fd for fd in numbers if fd > 2]:
        raise Failure(f"PID 1 has {extra[0]} open: {first.link(f'fd/{extra[0]}')}")
    return f"PID 1 has open: {', '.join(map(str, numbers)) or 'nothing'}"


# What the probes share ---------------------------------------------------------------------------


def running(processes: list[Process]) -> list[Process]:
    return [process for process in processes if process.is_running()]


def none_runs(processes: list[Process]) -> bool:
    return not running(processes)


def is_gone(process: Process) -> bool:
    """Whether it has ended and been reaped."""
    return not os.path.exists(f"/proc/{process.pid}")


def open_files(process: Process) -> list[int]:
    """The numbers of a process's open files. Raises Failure."""
    try:
        return sorted(int(name) for name in os.listdir(f"/proc/{process.pid}/fd"))
    except OSError:
        raise Failure("PID 1 has ended") from None


def parent(sandbox: Sandbox, process: Process) -> Process:
    pid = int(process.status()["PPid"])
    for other in sandbox.processes():
        if other.pid == pid:
            return other
    raise Failure("the command's parent is not there")


def child(process: Process, argv: tuple[str, ...]) -> Process | None:
    for one in process.children():
        with suppress(Failure):  # it has ended since
            if one.argv() == list(argv):
                return one
    return None


def ended_by(sandbox: Sandbox, number: int, first: Process, command: Process) -> bool:
    """Whether the command is gone; if not, PID 1 is sent the signal, again."""
    if not is_gone(command):
        sandbox.signal(first, number)
    return is_gone(command)
