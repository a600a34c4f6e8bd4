"""What is asked of lab NN: which limits the command has, and which box keeps.

A probe returns what it saw, or raises Failure with what it saw: a sentence for the student, with
the numbers in it. It reads the kernel's view of processes, never the source, and waits with
`eventually`, never for a fixed time.
"""

from __future__ import annotations

from minidock.teach.lab.exam import Exam, Failure, Process, RunningBox, Sandbox, scene

ASKED = "64"
TOO_HIGH = "2000000000"  # above fs.nr_open of any machine


@scene
def limited(sandbox: Sandbox) -> tuple[Sandbox, RunningBox]:
    return sandbox, sandbox.start_box("--nofile", ASKED, sandbox.rootfs)


def limits(process: Process) -> tuple[str, str]:
    """The soft and the hard limit of open files."""
    for line in process.read("limits").splitlines():
        if line.startswith("Max open files"):
            soft, hard = line.split()[3:5]
            return soft, hard
    raise Failure("its /proc/PID/limits has no line about open files")


def soft_limit(exam: Exam) -> str:
    _, box = exam.of(limited)
    soft, _ = limits(box.command)
    if soft != ASKED:
        raise Failure(f"the soft limit is {soft}")
    return f"the soft limit is {soft}"


def hard_limit(exam: Exam) -> str:
    _, box = exam.of(limited)
    _, hard = limits(box.command)
    if hard != ASKED:
        raise Failure(f"the hard limit is {hard}: the command may raise its own limit to that")
    return f"the hard limit is {hard}"


def own_limit(exam: Exam) -> str:
    sandbox, box = exam.of(limited)
    itself = next(p for p in sandbox.processes() if p.pid == box.program.pid)
    own, hosts = limits(itself), limits(sandbox.init)
    if own != hosts:
        raise Failure(f"box itself has {' and '.join(own)}, and the host {' and '.join(hosts)}")
    return f"box itself has the host's limits, {' and '.join(own)}"


def too_high(exam: Exam) -> str:
    sandbox, _ = exam.of(limited)
    result = sandbox.run("run", "--nofile", TOO_HIGH, sandbox.rootfs, "echo", "it runs")
    if "it runs" in result.output:
        raise Failure(f"with --nofile {TOO_HIGH}, the command ran all the same")
    if result.exit_code != 125 or not result.errors or "Traceback" in result.errors:
        raise Failure(f"with --nofile {TOO_HIGH}: {result.summary()}")
    return f"with --nofile {TOO_HIGH}: {result.summary()}"
