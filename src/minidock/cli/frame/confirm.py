"""The confirmation prompt of `prune` commands."""

from __future__ import annotations

import sys


def confirm(warning: str) -> bool:
    """Print a warning and prompt; any answer except "y" and "yes" declines, so does EOF."""
    print(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
