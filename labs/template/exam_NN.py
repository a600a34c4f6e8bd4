"""What is asked of lab NN: which limits the command has, and which box keeps.

A probe returns what was seen, or raises Lost with what was seen: a sentence for the student, with
the numbers in it. It looks at the kernel's view of processes, never at the source, and waits by
`eventually`, never for a fixed time.
"""

from __future__ import annotations

from minidock.teach.lab.exam import Contained, Exam, Lost, Place, Process, scene

ASKED = "64"
TOO_HIGH = "2000000000"  # above fs.nr_open of any machine


@scene
def limited(place: Place) -> tuple[Place, Contained]:
    return place, place.contained("--nofile", ASKED, place.rootfs)


def limits(process: Process) -> tuple[str, str]:
    """The soft and the hard limit of open files."""
    for line in process.read("limits").splitlines():
        if line.startswith("Max open files"):
            soft, hard = line.split()[3:5]
            return soft, hard
    raise Lost("its /proc/PID/limits has no line about open files")


def soft_limit(exam: Exam) -> str:
    _, box = exam.of(limited)
    soft, _ = limits(box.command)
    if soft != ASKED:
        raise Lost(f"the soft limit is {soft}")
    return f"the soft limit is {soft}"


def hard_limit(exam: Exam) -> str:
    _, box = exam.of(limited)
    _, hard = limits(box.command)
    if hard != ASKED:
        raise Lost(f"the hard limit is {hard}: the command may raise its own limit to that")
    return f"the hard limit is {hard}"


def own_limit(exam: Exam) -> str:
    place, box = exam.of(limited)
    itself = next(p for p in place.processes() if p.pid == box.program.pid)
    own, hosts = limits(itself), limits(place.init)
    if own != hosts:
        raise Lost(f"box itself has {' and '.join(own)}, and the host {' and '.join(hosts)}")
    return f"box itself has the host's limits, {' and '.join(own)}"


def too_high(exam: Exam) -> str:
    place, _ = exam.of(limited)
    ended = place.run("run", "--nofile", TOO_HIGH, place.rootfs, "echo", "it runs")
    if "it runs" in ended.output:
        raise Lost(f"with --nofile {TOO_HIGH}, the command ran all the same")
    if ended.exit_code != 125 or not ended.errors or "Traceback" in ended.errors:
        raise Lost(f"with --nofile {TOO_HIGH}: {ended.said()}")
    return f"with --nofile {TOO_HIGH}: {ended.said()}"
