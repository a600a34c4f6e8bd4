"""Start a monitor process for `run` and `start` before the command line is parsed.

Parsing the command line and creating the container takes about as long as starting a monitor, so
both happen at the same time: `__main__.main` calls `start_monitor_early` first. A monitor that is
given no container (a usage error, a missing image) exits by itself and leaves nothing.
"""

from __future__ import annotations

import os

_VERBS = ("run", "start")


def start_monitor_early(argv: list[str]) -> None:
    """Start a monitor if this command line will need one."""
    verb = argv[1] if argv[:1] == ["container"] and len(argv) > 1 else (argv or [""])[0]
    if verb not in _VERBS or "--help" in argv or os.geteuid() != 0:
        return
    from minidock.engine.lifecycle.start import prepare_monitor
    from minidock.errors import MinidockError
    from minidock.paths import Store

    try:
        prepare_monitor(Store())
    except (MinidockError, OSError):
        pass  # not reported here: the command tries again and reports the error
