"""`minidock` and `python -m minidock`: the first line that runs."""

from __future__ import annotations

import os
import sys

from minidock.cli.frame.monitor_warmup import start_monitor_early


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, by default that of this process; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    # As in dockerd: files for containers must be readable in them, for any caller's umask.
    os.umask(0o022)
    start_monitor_early(words)  # before the command line is read, so that both happen at once

    from minidock.cli.main import run

    return run(words)


if __name__ == "__main__":
    sys.exit(main())
