"""What `run` and `start` set going before the command line is even read.

Importing click takes about as long as a container's monitor needs to boot, so the two can happen at
the same time: `__main__.main` calls `prestart` first of all.
"""

from __future__ import annotations


def prestart(argv: list[str]) -> None:
    """Start what this command will need later; nothing for now."""
    del argv
