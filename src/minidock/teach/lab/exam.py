"""All that a lab's exam needs: `from minidock.teach.lab.exam import Exam, Failure, Place, scene`.

An exam is a module of probes, one for each item of the lab's rubric.toml:

    @scene
    def sleeping(place: Place) -> Contained:
        return place.contained(place.rootfs)

    def own_pid_namespace(exam: Exam) -> str:
        box = exam.of(sleeping)
        if box.command.pid_inside() != 1:
            raise Failure(f"the command's PID is {box.command.pid_inside()}")
        return "the command's PID is 1"

A probe returns what was seen, in one short sentence, or raises Failure(what was seen). A scene is
played once an exam, in a fresh place, when the first probe asks for it; what it raises is every
asking probe's. Few scenes make a quick exam: making a place costs about a twentieth of a second,
starting a Python box about another one.

Never sleep for a fixed time: `eventually` asks again until it holds. Limits of seconds are those of
a quick machine, and grow by themselves on a slow one.

    Failure                the one exception that takes points
    Exam.of(scene)      what a scene has made
    eventually          ask until it is true
    patience            seconds, on this machine
    Place               the machine: run, start, contained, find, look, read, write, exists, names,
                        processes, signal, cgroups, cgroup_file, snapshot; rootfs, init, hostname
    Program             .pid .ended() .wait() .signal() .output .errors
    Ended               .exit_code .output .errors .seconds .timed_out .said()
    Contained           .program .command
    Process             .pid .namespace() .mounts() .status() .pid_inside() .cgroups() .uid_map()
                        .argv() .environment() .children() .link() .read() .look() .is_running()
    Mount, Snapshot     what Process.mounts() and Place.snapshot() give
    Network, Neighbour  Place.network(), Place.neighbour(), Process.network(): .listen() .call()
                        .reaches() .look() .set(): real connections, from and to each of them
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TypeVar

from minidock.teach.lab.failure import Failure, scale_timeout
from minidock.teach.lab.lan import Neighbour, Network
from minidock.teach.lab.sandbox import Limits, RunningBox, Sandbox
from minidock.teach.lab.sandbox_process import Mount, Process
from minidock.teach.lab.snapshot import Snapshot
from minidock.teach.lab.student_program import Program, ProgramResult
from minidock.teach.lab.submission_files import Files

T = TypeVar("T")
Scene = Callable[[Sandbox], T]
_PAUSE_SECONDS = 0.003


def scene(function: Callable[[Sandbox], T]) -> Callable[[Sandbox], T]:
    """Declare a function of a place as a scene; it is called by `Exam.of` alone."""
    function.__dict__["is_scene"] = True
    return function


def eventually(true: Callable[[], T], *, seconds: float = 5) -> T:
    """Ask again and again until the answer is true; returns the last answer, true or not."""
    deadline = time.monotonic() + scale_timeout(seconds)
    while True:
        answer = true()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(_PAUSE_SECONDS)


class Exam:
    """One holding of an exam: plays scenes, keeps their places, and ends them."""

    def __init__(self, lab: Files, limits: Limits) -> None:
        self._lab = lab
        self._limits = limits
        self._closing = ExitStack()
        self._played: dict[object, object] = {}

    def of(self, played: Callable[[Sandbox], T]) -> T:
        """What a scene returns; raises the Failure that it raised."""
        if not getattr(played, "is_scene", False):
            raise TypeError(f"{played!r} is not declared with @scene")
        if played not in self._played:
            try:
                self._played[played] = played(self.sandbox())
            except Failure as lost:
                self._played[played] = lost
        result = self._played[played]
        if isinstance(result, Failure):
            raise Failure(*result.args)
        return result  # type: ignore[return-value]

    def sandbox(self) -> Sandbox:
        """A fresh place, for a probe that needs one for itself; it ends with the exam."""
        made = Sandbox(self._lab, self._limits)
        self._closing.callback(made.close)
        return made

    def __enter__(self) -> Exam:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.close()


__all__ = [
    "Exam", "Failure", "Limits", "Mount", "Neighbour", "Network", "Process", "Program",
    "ProgramResult", "RunningBox", "Sandbox", "Snapshot", "eventually", "scale_timeout", "scene",
]  # fmt: skip
