"""Lab 00: is the command a process of its own, under another root, and does box report its end?"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass

from minidock.teach.lab.exam import (
    Exam,
    Failure,
    Process,
    Program,
    ProgramResult,
    RunningBox,
    Sandbox,
    eventually,
    scene,
)

_MARK = "mark-" + secrets.token_hex(8)  # a name that only this exam knows
_TREASURE = "/treasure-" + secrets.token_hex(8)

# A root for the jail: only the host's programs and the student's are in it.
_JAIL = """
mkdir -p /jail/tmp /jail/dev
for name in usr opt etc bin sbin lib lib32 lib64 libx32 lab; do
    if [ -L "/$name" ]; then cp -P "/$name" "/jail/$name"
    elif [ -d "/$name" ]; then mkdir "/jail/$name" && mount --rbind "/$name" "/jail/$name"
    fi
done
mount --rbind /dev /jail/dev
"""


@dataclass
class Runs:
    """Boxes that have ended."""

    said: str
    talking: Program  # says what it reads, and ends with 42
    talks: ProgramResult
    killed: ProgramResult  # by its own SIGTERM
    missing: ProgramResult
    forbidden: ProgramResult
    without_root: ProgramResult


@scene
def runs(sandbox: Sandbox) -> Runs:
    said = secrets.token_hex(8)
    talking = sandbox.start("run", sandbox.rootfs, "sh", "-c", "cat; exit 42", stdin=said)
    return Runs(
        said,
        talking,
        talking.wait(sandbox.limits.seconds),
        sandbox.run("run", sandbox.rootfs, "sh", "-c", "kill -TERM $$"),
        sandbox.run("run", sandbox.rootfs, "no-such-command"),
        sandbox.run("run", sandbox.rootfs, "/etc/passwd"),
        sandbox.run("run", "/no/such/rootfs", "echo", "this ran"),
    )


@scene
def sleeping(sandbox: Sandbox) -> RunningBox:
    box = sandbox.start_box(sandbox.rootfs)
    sandbox.write(f"{sandbox.rootfs}/{_MARK}", "")
    return box


@scene
def jail(sandbox: Sandbox) -> tuple[str, ProgramResult]:
    treasure = secrets.token_hex(16)
    made = sandbox.start_command("/bin/sh", "-ec", _JAIL).wait(10)
    if made.exit_code:
        raise RuntimeError(f"the jail cannot be created: {made.summary()}")
    sandbox.write(_TREASURE, treasure + "\n")
    chroot = "/usr/sbin/chroot"
    return treasure, sandbox.start_command(chroot, "/jail", "/lab/box", "escape", _TREASURE).wait(
        10
    )


def runs_the_command(exam: Exam) -> str:
    played = exam.of(runs)
    # Another item tests whether box waits for the command.
    if not eventually(lambda: played.talking.output == played.said, seconds=1):
        raise Failure(f"`cat` should have printed {played.said}; {played.talks.summary()}")
    return "`cat` printed its input"


def own_root(exam: Exam) -> str:
    command = exam.of(sleeping).command
    if not _is_rootfs(command, "root"):
        raise Failure(f"the command's root is {command.link('root')}")
    return "the command's root is ROOTFS"


def working_directory(exam: Exam) -> str:
    command = exam.of(sleeping).command
    if not _is_rootfs(command, "cwd"):
        raise Failure(f"the command's working directory is {command.link('cwd')} of the outside")
    return "the command's working directory is its /"


def no_open_descriptors(exam: Exam) -> str:
    command = exam.of(sleeping).command
    more = [fd for fd in _open_files(command) if int(fd) > 2]
    if more:
        raise Failure(f"open in the command: {more[0]} -> {command.link(f'fd/{more[0]}')}")
    return "open in the command: 0, 1, 2"


def exit_code(exam: Exam) -> str:
    result = exam.of(runs).talks
    if result.exit_code != 42:
        raise Failure(f"the command ended with 42, box with {result.exit_code}")
    return "the command ended with 42, and so did box"


def killed_by_a_signal(exam: Exam) -> str:
    result = exam.of(runs).killed
    if result.exit_code != 143:
        raise Failure(f"signal 15 killed the command, and box ended with {result.exit_code}")
    return "signal 15 killed the command, and box ended with 143"


def command_not_found(exam: Exam) -> str:
    played = exam.of(runs)
    missing, forbidden = played.missing.exit_code, played.forbidden.exit_code
    if (missing, forbidden) != (127, 126):
        raise Failure(f"no such command: {missing}; a file that is not executable: {forbidden}")
    return "no such command: 127; a file that is not executable: 126"


def no_root_no_command(exam: Exam) -> str:
    result = exam.of(runs).without_root
    if result.output:
        raise Failure(f"the command ran, outside: it printed {result.output.strip()!r}")
    if result.exit_code != 125 or not result.errors.strip():
        raise Failure(f"nothing ran; {result.summary()}")
    return f"nothing ran; {result.summary()}"


def escape(exam: Exam) -> str:
    treasure, result = exam.of(jail)
    if result.output.strip() != treasure:
        raise Failure(f"the file contains {treasure}; {result.summary()}")
    return f"the file of the outside was read: {treasure}"


def _is_rootfs(process: Process, handle: str) -> bool:
    """Whether a process's root or cwd is the directory in which the mark was made."""
    return os.path.lexists(f"/proc/{process.pid}/{handle}/{_MARK}")


def _open_files(process: Process) -> list[str]:
    """The numbers of a process's open files. Raises Failure."""
    try:
        return os.listdir(f"/proc/{process.pid}/fd")
    except OSError as error:
        raise Failure(f"the command has ended ({error.strerror})") from None
