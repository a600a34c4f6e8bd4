"""The networks of a store, from its files: their bridges and subnets.

Unreadable files are skipped here; `system check` reports them.
"""

from __future__ import annotations

import json
from typing import Any

from minidock.engine.doctor.machine import Machine

DEFAULT = "bridge"


def networks(machine: Machine) -> list[dict[str, Any]]:
    """Read the files in networks/, the default network's first."""
    root, _ = machine.tell("store")
    directory = f"{root}/networks"
    listed = [name for name in machine.names(directory) or () if name.endswith(".json")]
    first = f"{DEFAULT}.json"
    found = []
    for name in (first, *(name for name in listed if name != first)):
        try:
            document = json.loads(machine.read(f"{directory}/{name}") or "")
        except ValueError:
            continue
        if isinstance(document, dict):
            found.append({"Name": name.removesuffix(".json"), **document})
    return found


def bridges(machine: Machine) -> list[str]:
    """List the bridges: the default one, even if missing, and those of non-internal networks."""
    theirs = [
        str(each["Device"])
        for each in networks(machine)
        if each["Name"] != DEFAULT and each.get("Device") and not each.get("Internal")
    ]
    return [machine.tell("bridge")[0], *theirs]
