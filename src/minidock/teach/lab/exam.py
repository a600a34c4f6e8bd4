"""What a lab's exam imports: `from minidock.teach.lab.exam import Exam, Failure, Sandbox, scene`.

An exam is a module of probes, one for each item of the lab's rubric.toml:

    @scene
    def sleeping(sandbox: Sandbox) -> RunningBox:
        return sandbox.start_box(sandbox.rootfs)

    def own_pid_namespace(exam: Exam) -> str:
        box = exam.of(sleeping)
        if box.command.pid_inside() != 1:
            raise Failure(f"the command's PID is {box.command.pid_inside()}")
        return "the command's PID is 1"

A probe returns what it saw, in one short sentence, or raises Failure(what it saw). A scene is a
fixture: it runs once an exam, in a new sandbox, when the first probe asks for it. Every probe that
asks for it gets its value, or the Failure that it raised. Few scenes make a fast exam: a sandbox
takes about a twentieth of a second, a box in Python as long again.

Never sleep for a fixed time: `eventually` polls a condition. Timeouts are written for a fast
machine, and `scale_timeout` lengthens them on a slow one.

    Failure             the only exception that costs points
    Exam.of(scene)      the value of a scene
    eventually          poll until a condition is true
    scale_timeout       seconds on this machine
    Sandbox             run, start, start_command, start_box, find, nsenter, read, write, exists,
                        listdir, read_tree, processes, signal, cgroups, cgroup_file, snapshot;
                        rootfs, init, hostname
    Program             .pid .poll() .wait() .signal() .output .errors
    ProgramResult       .exit_code .output .errors .seconds .timed_out .summary()
    RunningBox          .program .command
    Process             .pid .namespace() .mounts() .status() .pid_inside() .cgroups() .uid_map()
                        .argv() .environment() .children() .link() .read() .nsenter() .is_running()
    Mount, Snapshot     returned by Process.mounts() and Sandbox.snapshot()
    Network, Neighbour  from Sandbox.network(), Sandbox.neighbour(), Process.network(): .listen()
                        .connect() .reaches() .nsenter() .write_sysctl()
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
    """Declare a function as a scene; only `Exam.of` calls it."""
    function.__dict__["is_scene"] = True
    return function


def eventually(condition: Callable[[], T], *, seconds: float = 5) -> T:
    """Poll a condition until it is true or time is up; returns its last value."""
    deadline = time.monotonic() + scale_timeout(seconds)
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(_PAUSE_SECONDS)


class Exam:
    """One run of an exam: runs its scenes, and owns their sandboxes."""

    def __init__(self, lab: Files, limits: Limits) -> None:
        self._lab = lab
        self._limits = limits
        self._closing = ExitStack()
        self._values: dict[object, object] = {}

    def of(self, scene: Callable[[Sandbox], T]) -> T:
        """The value of a scene; raises the Failure that it raised."""
        if not getattr(scene, "is_scene", False):
            raise TypeError(f"{scene!r} is not declared with @scene")
        if scene not in self._values:
            try:
                self._values[scene] = scene(self.sandbox())
            except Failure as failure:
                self._values[scene] = failure
        result = self._values[scene]
        if isinstance(result, Failure):
            raise Failure(*result.args)
        return result  # type: ignore[return-value]

    def sandbox(self) -> Sandbox:
        """Create a sandbox for one probe; it ends with the exam."""
        sandbox = Sandbox(self._lab, self._limits)
        self._closing.callback(sandbox.close)
        return sandbox

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
