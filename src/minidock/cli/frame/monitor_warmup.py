"""What `run` and `start` set going before the command line is even read.

Reading the command line and making the container takes about as long as its monitor needs to boot,
so the two happen at the same time: `__main__.main` calls `prestart` first of all. A monitor that
hears of no container (the command line was wrong, the image is not there) ends by itself and leaves
nothing.
"""

from __future__ import annotations

import os

_VERBS = ("run", "start")


def prestart(argv: list[str]) -> None:
    """Let a monitor boot, where this command line will want one."""
    verb = argv[1] if argv[:1] == ["container"] and len(argv) > 1 else (argv or [""])[0]
    if verb not in _VERBS or "--help" in argv or os.geteuid() != 0:
        return
    from minidock.engine.lifecycle.start import prepare_monitor
    from minidock.errors import MinidockError
    from minidock.paths import Store

    try:
        prepare_monitor(Store())
    except (MinidockError, OSError):
        pass  # too early to complain: the command tries again, and says what is wrong
