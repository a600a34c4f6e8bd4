"""What lsns(8) says of namespaces."""

from __future__ import annotations

import json
import subprocess
from typing import Any


def namespaces(*arguments: str) -> list[dict[str, Any]]:
    """All that it lists, the nested ones too. It gives up where a process ends while it looks."""
    for _ in range(50):
        done = subprocess.run(["lsns", "-J", *arguments], capture_output=True, text=True)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = []
    waiting = json.loads(done.stdout)["namespaces"]
    while waiting:
        each = waiting.pop()
        waiting += each.pop("children", [])
        found.append(each)
    return found


def namespaces_of(pid: int) -> dict[str, dict[str, Any]]:
    """A process's namespaces, by type."""
    return {each["type"]: each for each in namespaces("-p", str(pid))}
