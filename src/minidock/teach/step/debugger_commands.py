"""What can be said to the debugger."""

from __future__ import annotations

import re

from minidock.kernel.op import REGISTRY
from minidock.teach.journal_reader import load_ops

HELP = """\
step, s [N]      do this act (N of them), and stop before the next one
next, n          go on to the next phase: another function
chapter          go on to the next chapter: another process, or another module
continue, c      go on to an act with a break, or until the command runs
                 each of these stops after an act that failed
break, b [OP]    stop before each OP, such as pivot_root or mount.pivot_root; alone: list them
delete, d OP     stop there no longer
list, l          show the act that is about to be done once more
explain, e [OP]  what this act, or another, is for
inspect, i       what the kernel says of the container now: namespaces, mounts, links, cgroup
sh [COMMAND]     a shell in the container as far as it is made, with what init may do by now
abort, a         unmake what was made, and end; so do quit, q, Ctrl-C and Ctrl-D
help, h          this
an empty line    says the last word again
"""


def verbs() -> list[str]:
    """The words with which a line begins, in full."""
    return re.findall(r"^(\w+)(?=,|  | \[)", HELP, re.M)


def nouns() -> list[str]:
    """The names that may follow: ops, with their module and without it."""
    load_ops()
    return sorted({*REGISTRY, *(op.rpartition(".")[2] for op in REGISTRY)})
