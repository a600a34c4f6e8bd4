"""The records of a journal: the interface for programs that read it, such as `explain --json`.

Nothing imports this at run time; a test validates the records of real containers against it.
"""

from typing import Any, NotRequired, TypedDict, final


class Call(TypedDict):
    """An op and its arguments.

    op: module and function. args: as Op.written has them. isolation: tags, keys of ISOLATION in
    kernel/isolation.py. wait: true if it waits for another process, which is not work. story: what
    the act belongs to in a file with several stories, such as "exec 4f1c0a".
    """

    op: str
    args: dict[str, Any]  # of the types that the op declares
    isolation: list[str]
    wait: NotRequired[bool]
    story: NotRequired[str]


class Planned(Call):
    """An act that `plan` foresees.

    begin: the number of the act in its process. actor: "engine", "monitor", "task" (a child of
    the monitor), "init", "stage", "exec", "copy", "runtime". phase: the function whose source
    contains the act, with its module. line: in its source.
    """

    begin: int
    actor: str
    phase: str
    line: int


class Begin(Planned):
    """Written before an act.

    id: unique; the end record has the same; `begin` is the last part of it.
    pid: in the process's own PID namespace. t: CLOCK_MONOTONIC, in nanoseconds.
    """

    id: str
    pid: int
    t: int


class Texts(TypedDict):
    """The constant properties of an op. source: file and line of its function."""

    why: str
    man: str
    twin: str
    source: str


class DescribedPlan(Planned, Texts):
    """An act that `plan` foresees, with the texts of its op."""


class Described(Begin, Texts):
    """A begin record with the texts of its op."""


class Outcome(TypedDict, total=False):
    """The outcome of an act.

    made: what the kernel created: a pid, an inode, an index, or a word such as "absent" if there
    was nothing to do. errno: of an error, 0 if it is not the kernel's. said, hint: the error's own
    text.
    """

    made: object
    errno: int
    said: str
    hint: str


@final
class End(Outcome):
    """Written after an act; missing if execve(2) succeeded or the process was killed.

    us: duration in microseconds.
    """

    id: str
    end: int
    actor: str
    pid: int
    us: int
