"""Lab 06: limits of memory, processes and CPU time, on cgroup v1 and v2.

Limits are read from the files of the command's own cgroup, and then it is tried whether they hold.
Everything is asked of the controller: one tree for each of them (v1), or one tree for all (v2).
"""

from __future__ import annotations

from dataclasses import dataclass

from minidock.teach.lab.exam import (
    Exam,
    Failure,
    Process,
    ProgramResult,
    RunningBox,
    Sandbox,
    eventually,
    scene,
)

MEMORY, PIDS, CPUS = 32 << 20, 20, 0.05
CONTROLLERS = ("memory", "pids", "cpu")

# A busy loop beside the sleeping command, so that there is something to slow down.
BUSY = ("sh", "-c", 'while :; do :; done & exec "$@"', "sh")
# As many processes as it gets, and then, instead of the shell, a string that is doubled until
# it has 32 MiB: for the last doubling, 48 MiB are needed at once.
FORKS, FEW, LITTLE = 24, 12, 24 << 20
GREEDY = f"""
(i=0; while [ $i -lt {FORKS} ]; do sleep 100 & echo fork; i=$((i+1)); done)
exec awk 'BEGIN {{ x = "0123456789abcdef"; while (length(x) < 33554432) x = x x; print "grown" }}'
"""


@dataclass(frozen=True)
class Limited:
    """A box with all three limits, in which one process sleeps and another one is busy."""

    sandbox: Sandbox
    command: Process

    def read(self, controller: str, v1: str, v2: str) -> str:
        """A file of the cgroup that the command is in, by its name in the version that is here."""
        paths = self.command.cgroups()
        if controller in paths:
            return self.sandbox.cgroup_file(controller, paths[controller], v1)
        return self.sandbox.cgroup_file(controller, paths[""], v2)


def give_null(sandbox: Sandbox) -> None:
    """A shell's background commands read from /dev/null; here an empty file will do."""
    if not sandbox.exists(f"{sandbox.rootfs}/dev/null"):
        sandbox.write(f"{sandbox.rootfs}/dev/null", "")


@scene
def limited(sandbox: Sandbox) -> Limited:
    give_null(sandbox)
    limits = ("--memory", str(MEMORY), "--pids", str(PIDS), "--cpus", str(CPUS))
    return Limited(sandbox, sandbox.start_box(*limits, sandbox.rootfs, *BUSY).command)


@dataclass(frozen=True)
class Over:
    """A box that wanted more than it may have, and has ended; what it left."""

    result: ProgramResult
    left: list[str]
    alive: bool


@scene
def over(sandbox: Sandbox) -> Over:
    give_null(sandbox)
    limits = ("--memory", str(LITTLE), "--pids", str(FEW))
    result = sandbox.run("run", *limits, sandbox.rootfs, "sh", "-c", GREEDY)
    return Over(result, sandbox.cgroups(), sandbox.init.is_running())


# The cgroup ---------------------------------------------------------------------------------------


def place_of(process: Process, controller: str) -> str:
    """The path of the cgroup whose limits hold for a process."""
    paths = process.cgroups()
    return paths.get(controller, paths.get("", "/"))


def own_cgroup(exam: Exam) -> str:
    box = exam.of(limited)
    for controller in CONTROLLERS:
        path = place_of(box.command, controller)
        if path in ("/", place_of(box.sandbox.init, controller)):
            raise Failure(
                f"the command's cgroup for {controller} is {path}, like that of the host's"
            )
    return f"the command is in {place_of(box.command, 'memory')}"


def two_boxes(exam: Exam) -> str:
    box = exam.of(limited)
    other: RunningBox = box.sandbox.start_box("--pids", "8", box.sandbox.rootfs)
    paths = place_of(box.command, "pids"), place_of(other.command, "pids")
    if paths[0] == paths[1]:
        raise Failure(f"two boxes at once share the cgroup {paths[0]}")
    return f"two boxes at once are in {paths[0]} and {paths[1]}"


def cgroup_namespace(exam: Exam) -> str:
    box = exam.of(limited)
    if box.command.namespace("cgroup") == box.sandbox.init.namespace("cgroup"):
        raise Failure("the box is in the cgroup namespace of the host")
    shown = box.command.nsenter("cat", "/proc/1/cgroup").splitlines()
    for line in shown:
        _, controllers, path = line.split(":", 2)
        ours = not controllers if len(shown) == 1 else set(controllers.split(",")) & {*CONTROLLERS}
        if ours and path != "/":
            raise Failure(f"in the box, /proc/1/cgroup shows {line}")
    return "the box sees its own cgroup as the root of the tree"


def nothing_left(exam: Exam) -> str:
    left = exam.of(over).left
    if left:
        raise Failure(f"a box was killed, and these are still there: {', '.join(left)}")
    return "a box was killed, and no cgroup is left"


# The limits ---------------------------------------------------------------------------------------


def memory_limit(exam: Exam) -> str:
    box = exam.of(limited)
    limit = box.read("memory", "memory.limit_in_bytes", "memory.max")
    if limit != str(MEMORY):
        raise Failure(f"asked for {MEMORY} bytes, the limit of the command's cgroup is {limit}")
    try:
        swap = box.read("memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
    except Failure:
        return f"the limit is {limit} bytes; this kernel does not count swap"
    if swap not in ("0", str(MEMORY)):
        raise Failure(f"memory has the limit {limit}, and swap has none: memory.…sw… says {swap}")
    return f"the limit is {limit} bytes, with no swap beyond it"


def over_memory(exam: Exam) -> str:
    seen = exam.of(over)
    if "grown" in seen.result.output:
        raise Failure("with 24 MiB, a program used 48, and was not killed")
    if seen.result.exit_code != 137:
        raise Failure(
            f"a program over its memory should end by SIGKILL (137): {seen.result.summary()}"
        )
    if not seen.alive:
        raise Failure("a program over its memory has brought the host down")
    return "a program that took more was killed (137), and the host lives on"


def pids_limit(exam: Exam) -> str:
    limit = exam.of(limited).read("pids", "pids.max", "pids.max")
    if limit != str(PIDS):
        raise Failure(f"asked for {PIDS} processes, the command's pids.max is {limit}")
    return f"pids.max is {limit}"


def fork_loop(exam: Exam) -> str:
    result = exam.of(over).result
    started = result.output.split().count("fork")
    if started >= FEW:
        raise Failure(f"with --pids {FEW}, a loop of forks started {started} processes")
    if started < FEW // 2:
        raise Failure(f"with --pids {FEW}, a loop of forks got only {started}: {result.summary()}")
    return f"with --pids {FEW}, fork fails after {started} more"


def cpu_limit(exam: Exam) -> str:
    box = exam.of(limited)
    if "cpu" in box.command.cgroups():
        quota = box.read("cpu", "cpu.cfs_quota_us", "")
        period = box.read("cpu", "cpu.cfs_period_us", "")
    else:
        quota, period = box.read("cpu", "", "cpu.max").split()
    if quota in ("max", "-1"):
        raise Failure("the command's cgroup has no limit of processor time")
    if abs(int(quota) / int(period) - CPUS) > 0.001:
        raise Failure(f"asked for {CPUS} CPUs, the cgroup may use {quota} of {period} µs")
    return f"it may use {quota} of each {period} µs"


def throttled(exam: Exam) -> str:
    box = exam.of(limited)

    def times() -> int:
        lines = box.read("cpu", "cpu.stat", "cpu.stat").splitlines()
        return int(dict(line.split() for line in lines).get("nr_throttled", "0"))

    # On a machine with much else to do, it takes a while until the loop gets its twentieth at all.
    if not eventually(times, seconds=30):
        raise Failure("a busy loop was not throttled: nr_throttled in cpu.stat stays 0")
    return "a busy loop was throttled"
