"""A container's part in a race: a process that exchanges names as fast as the kernel lets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# renameat2(2), RENAME_EXCHANGE: both names are always there, each for what was the other's.
_LOOP = """
import ctypes, sys
libc = ctypes.CDLL(None)
pairs = [(a.encode(), b.encode()) for a, b in zip(sys.argv[1::2], sys.argv[2::2])]
print(flush=True)
while True:
    for one, other in pairs:
        libc.renameat2(-100, one, -100, other, 2)
"""


class Racer:
    """`with Racer((one, other), ...):` these names are exchanged until the block ends.

    A name that is not there yet is waited for.
    """

    def __init__(self, *pairs: tuple[Path, Path]) -> None:
        self._names = [str(path) for pair in pairs for path in pair]

    def __enter__(self) -> Racer:
        command = [sys.executable, "-I", "-c", _LOOP, *self._names]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()
