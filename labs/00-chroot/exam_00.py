"""Lab 00: is the command a process of its own, under another root, and is its end told truly?"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass

from minidock.teach.lab.exam import (
    Contained,
    Ended,
    Exam,
    Lost,
    Place,
    Process,
    Program,
    eventually,
    scene,
)

_MARK = "mark-" + secrets.token_hex(8)  # a name that only this exam knows
_TREASURE = "/treasure-" + secrets.token_hex(8)

# A root for the jail: the host's programs are shown in it, and the student's; nothing else is.
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
    """Boxes that came to their ends."""

    said: str
    talking: Program  # says what it reads, and ends with 42
    talks: Ended
    killed: Ended  # by its own SIGTERM
    missing: Ended
    forbidden: Ended
    without_root: Ended


@scene
def runs(place: Place) -> Runs:
    said = secrets.token_hex(8)
    talking = place.start("run", place.rootfs, "sh", "-c", "cat; exit 42", stdin=said)
    return Runs(
        said,
        talking,
        talking.wait(place.limits.seconds),
        place.run("run", place.rootfs, "sh", "-c", "kill -TERM $$"),
        place.run("run", place.rootfs, "no-such-command"),
        place.run("run", place.rootfs, "/etc/passwd"),
        place.run("run", "/no/such/rootfs", "echo", "this ran"),
    )


@scene
def sleeping(place: Place) -> Contained:
    box = place.contained(place.rootfs)
    place.write(f"{place.rootfs}/{_MARK}", "")
    return box


@scene
def jail(place: Place) -> tuple[str, Ended]:
    treasure = secrets.token_hex(16)
    made = place.start_command("/bin/sh", "-ec", _JAIL).wait(10)
    if made.exit_code:
        raise RuntimeError(f"the jail cannot be made: {made.said()}")
    place.write(_TREASURE, treasure + "\n")
    chroot = "/usr/sbin/chroot"
    return treasure, place.start_command(chroot, "/jail", "/lab/box", "escape", _TREASURE).wait(10)


def runs_the_command(exam: Exam) -> str:
    played = exam.of(runs)
    # Whether box waits for the command is another item's question.
    if not eventually(lambda: played.talking.output == played.said, seconds=1):
        raise Lost(f"`cat` should have said {played.said}; {played.talks.said()}")
    return "`cat` said what it was given"


def own_root(exam: Exam) -> str:
    command = exam.of(sleeping).command
    if not _is_rootfs(command, "root"):
        raise Lost(f"the command's root is {command.link('root')}")
    return "the command's root is ROOTFS"


def working_directory(exam: Exam) -> str:
    command = exam.of(sleeping).command
    if not _is_rootfs(command, "cwd"):
        raise Lost(f"the command's working directory is {command.link('cwd')} of the outside")
    return "the command's working directory is its /"


def no_open_door(exam: Exam) -> str:
    command = exam.of(sleeping).command
    more = [fd for fd in _open_files(command) if int(fd) > 2]
    if more:
        raise Lost(f"open in the command: {more[0]} -> {command.link(f'fd/{more[0]}')}")
    return "open in the command: 0, 1, 2"


def exit_code(exam: Exam) -> str:
    ended = exam.of(runs).talks
    if ended.exit_code != 42:
        raise Lost(f"the command ended with 42, box with {ended.exit_code}")
    return "the command ended with 42, and so did box"


def killed_by_a_signal(exam: Exam) -> str:
    ended = exam.of(runs).killed
    if ended.exit_code != 143:
        raise Lost(f"signal 15 killed the command, and box ended with {ended.exit_code}")
    return "signal 15 killed the command, and box ended with 143"


def command_not_found(exam: Exam) -> str:
    played = exam.of(runs)
    missing, forbidden = played.missing.exit_code, played.forbidden.exit_code
    if (missing, forbidden) != (127, 126):
        raise Lost(f"no such command: {missing}; a file that is no program: {forbidden}")
    return "no such command: 127; a file that is no program: 126"


def no_root_no_command(exam: Exam) -> str:
    ended = exam.of(runs).without_root
    if ended.output:
        raise Lost(f"the command ran, outside: it said {ended.output.strip()!r}")
    if ended.exit_code != 125 or not ended.errors.strip():
        raise Lost(f"nothing ran; {ended.said()}")
    return f"nothing ran; {ended.said()}"


def escape(exam: Exam) -> str:
    treasure, ended = exam.of(jail)
    if ended.output.strip() != treasure:
        raise Lost(f"the file says {treasure}; {ended.said()}")
    return f"the file of the outside was read: {treasure}"


def _is_rootfs(process: Process, handle: str) -> bool:
    """Whether a process's root or cwd is the directory in which the mark was made."""
    return os.path.lexists(f"/proc/{process.pid}/{handle}/{_MARK}")


def _open_files(process: Process) -> list[str]:
    """The numbers of a process's open files. Raises Lost."""
    try:
        return os.listdir(f"/proc/{process.pid}/fd")
    except OSError as error:
        raise Lost(f"the command has ended ({error.strerror})") from None
