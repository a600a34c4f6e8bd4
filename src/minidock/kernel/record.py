"""What a journal's line has: the interface for all who read journals, `explain --json` among them.

Nothing at run time imports this; a test holds the records of real containers against it.
"""

from typing import Any, NotRequired, TypedDict


class Begin(TypedDict):
    """Written before an act.

    id: unique for good; the act's end has the same. begin: the last part of it, the number among
    its process's acts. actor: "engine", "monitor", "errand" (a child
    of the monitor), "init", "stage", "exec", "copy", "runtime".
    pid: as that process sees itself. t: CLOCK_MONOTONIC, in nanoseconds. op: module and function.
    args: as Op.written has them. isolation: tags, keys of ISOLATION in kernel/isolation.py.
    phase: the function in whose text the act stands, with its module. line: there. wait: true where
    it waits for another process, which is no work. story: what the act belongs to in a file of
    several stories, such as "exec 4f1c0a".
    """

    id: str
    begin: int
    actor: str
    pid: int
    t: int
    op: str
    args: dict[str, Any]
    isolation: list[str]
    phase: str
    line: int
    wait: NotRequired[bool]
    story: NotRequired[str]


class End(TypedDict):
    """Written when the act is over; missing where execve(2) succeeded, or the process was killed.

    us: how long it took, in microseconds. made: what the kernel made: a pid, an inode, an index, or
    a word such as "absent" where there was nothing to do. errno: of a refusal, 0 where it is not
    the kernel's. said, hint: the error's own words.
    """

    id: str
    end: int
    actor: str
    pid: int
    us: int
    made: NotRequired[Any]
    errno: NotRequired[int]
    said: NotRequired[str]
    hint: NotRequired[str]
