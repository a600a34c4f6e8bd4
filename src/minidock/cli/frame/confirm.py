"""The question that `prune` commands ask before they remove anything."""

from __future__ import annotations

import sys


def confirmed(warning: str) -> bool:
    """Say what will happen, and ask; anything but "y" and "yes", the end of stdin too, is no."""
    print(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
