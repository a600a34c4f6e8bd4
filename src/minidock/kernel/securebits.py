"""Securebits: what being root, and a change of user, still mean for capabilities.

A process inherits them from whoever started it, over fork(2) and execve(2), and so does a
container. No file of /proc shows them: prctl(2) tells a process its own, and nobody else's.
Nothing is set here.

Sources: capabilities(7) "The securebits flags", PR_GET_SECUREBITS(2const).
"""

from __future__ import annotations

NAMES = ("noroot", "no_setuid_fixup", "keep_caps")


def own() -> list[str]:
    """Those of this process that are on: "noroot", "no_setuid_fixup", "keep_caps"."""
    import prctl  # a C extension, not on the path of run

    return [name for name in NAMES if getattr(prctl.securebits, name)]
