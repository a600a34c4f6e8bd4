"""Securebits: flags that change how the kernel treats root's capabilities.

A process inherits them across fork(2) and execve(2), and so does a container. No file of /proc
shows them: with prctl(2), a process can read only its own. This module only reads them.

Sources: capabilities(7) "The securebits flags", PR_GET_SECUREBITS(2const).
"""

from __future__ import annotations

NAMES = ("noroot", "no_setuid_fixup", "keep_caps")


def own() -> list[str]:
    """Return those that are set in this process: "noroot", "no_setuid_fixup", "keep_caps"."""
    import prctl  # a C extension, not on the path of run

    return [name for name in NAMES if getattr(prctl.securebits, name)]
