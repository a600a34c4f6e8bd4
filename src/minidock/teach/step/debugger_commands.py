"""The commands of the debugger."""

from __future__ import annotations

import re

from minidock.kernel.op import REGISTRY
from minidock.teach.journal_reader import load_ops

HELP = """\
step, s [N]      do this operation (or N of them), and stop before the next one
next, n          continue to the next phase: another function
chapter          continue to the next chapter: another process or module
continue, c      continue to a breakpoint, or until the command runs
                 each of these stops after an operation that failed
break, b [OP]    set a breakpoint before OP, such as pivot_root; alone: list breakpoints
delete, d OP     delete a breakpoint
list, l          show the next operation again
explain, e [OP]  explain this operation, or another one
inspect, i       show the container in the kernel: namespaces, mounts, links, cgroup
sh [COMMAND]     run a shell in the unfinished container, with init's present privileges
abort, a         undo what was done, and exit; also quit, q, Ctrl-C and Ctrl-D
help, h          show this help
an empty line    repeats the last command
"""


def verbs() -> list[str]:
    """The names of the commands, without abbreviations."""
    return re.findall(r"^(\w+)(?=,|  | \[)", HELP, re.M)


def nouns() -> list[str]:
    """The arguments for completion: names of ops, with and without their module."""
    load_ops()
    return sorted({*REGISTRY, *(op.rpartition(".")[2] for op in REGISTRY)})
