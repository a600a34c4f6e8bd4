"""`minidock` and `python -m minidock`: the first line that runs."""

from __future__ import annotations

import sys

from minidock.cli.prestart import prestart


def main() -> int:
    """Run the command line; returns the exit code."""
    prestart(sys.argv[1:])  # before the command line is read, so that both happen at once

    from minidock.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
