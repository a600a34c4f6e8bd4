"""A process's standard streams: which open files are its 0, 1 and 2.

Source: dup(2), stdin(3).
"""

from __future__ import annotations

import os

from minidock.kernel.op import of_descriptor, op


def _names_of(streams: list[int]) -> list[object]:
    """Name streams for the journal by what they refer to, such as pipe:[4711]."""
    return [of_descriptor(each) for each in streams]


def _take_streams_sh(streams: list[str]) -> str:
    return f"# 0, 1 and 2 become {', '.join(map(str, streams))}; here they are this terminal"


@op("dup2(2)", twin=_take_streams_sh, shown={"streams": _names_of})
def take_streams(streams: list[int]) -> None:
    """Make the monitor's pipes the standard input, output and error of the command.

    Without it: the command writes to its parent's terminal or to nothing; `logs` and `attach` have
    no data.

    streams: the descriptors that become 0, 1 and 2.
    """
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
