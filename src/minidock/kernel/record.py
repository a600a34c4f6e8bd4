"""What a journal's line has: the interface for all who read journals, `explain --json` among them.

Nothing at run time imports this; a test holds the records of real containers against it.
"""

from typing import Any, NotRequired, TypedDict, final


class Call(TypedDict):
    """An op and its arguments.

    op: module and function. args: as Op.written has them. isolation: tags, keys of ISOLATION in
    kernel/isolation.py. wait: true where it waits for another process, which is no work. story:
    what the act belongs to in a file of several stories, such as "exec 4f1c0a".
    """

    op: str
    args: dict[str, Any]  # of the types that the op declares
    isolation: list[str]
    wait: NotRequired[bool]
    story: NotRequired[str]


class Planned(Call):
    """An act that `plan` foresees.

    begin: the number among its process's acts. actor: "engine", "monitor", "errand" (a child
    of the monitor), "init", "stage", "exec", "copy", "runtime". phase: the function in whose text
    the act stands, with its module. line: there.
    """

    begin: int
    actor: str
    phase: str
    line: int


class Begin(Planned):
    """Written before an act.

    id: unique for good; the act's end has the same; `begin` is the last part of it.
    pid: as that process sees itself. t: CLOCK_MONOTONIC, in nanoseconds.
    """

    id: str
    pid: int
    t: int


class Texts(TypedDict):
    """What is fixed about an op. source: file and line of its function."""

    why: str
    man: str
    twin: str
    source: str


class DescribedPlan(Planned, Texts):
    """An act that `plan` foresees, with the texts of its op."""


class Described(Begin, Texts):
    """A begin record with the texts of its op."""


class Outcome(TypedDict, total=False):
    """What came of an act.

    made: what the kernel made: a pid, an inode, an index, or a word such as "absent" where there
    was nothing to do. errno: of a refusal, 0 where it is not the kernel's. said, hint: the error's
    own words.
    """

    made: object
    errno: int
    said: str
    hint: str


@final
class End(Outcome):
    """Written when the act is over; missing where execve(2) succeeded, or the process was killed.

    us: how long it took, in microseconds.
    """

    id: str
    end: int
    actor: str
    pid: int
    us: int
