"""Whether the mounts made below a volume come out of the container, or the host's into it.

A bind mount joins the peers of the mount that its source lies on; it can tell them of its mounts,
or hear of theirs, only where that one is shared. And the container's copy of the host's tree must
not be cut off first, as it is for all other containers: config.json's linux.rootfsPropagation.

Sources: mount_namespaces(7), Documentation/filesystems/sharedsubtree.rst, OCI runtime-spec
config-linux "Rootfs Mount Propagation"; what dockerd 26.1 answers.
"""

from __future__ import annotations

import os

from minidock.errors import Conflict
from minidock.kernel.mount import mount_table, unescaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SHARED, _SLAVE = ("shared", "rshared"), ("slave", "rslave")


def rootfs_propagation(mounts: list[dict[str, Any]]) -> str:
    """What these entries of config.json need of "/": "shared", or "" for what it is anyway.

    Raises Conflict for a source whose mount is not shared, where that is needed.
    """
    found = ""
    for entry in mounts:
        if entry.get("type") != "bind":
            continue
        if any(word in _SHARED for word in entry["options"]):
            _require(entry["source"], ("shared:",), "a shared")
            found = "shared"
        elif any(word in _SLAVE for word in entry["options"]):
            _require(entry["source"], ("shared:", "master:"), "a shared or slave")
    return found


def _require(source: str, tags: tuple[str, ...], wanted: str) -> None:
    point, fields = _mount_of(os.path.realpath(source))
    if not any(field.startswith(tags) for field in fields):
        raise Conflict(
            f"path {source} is mounted on {point} but it is not {wanted} mount",
            hint=f"findmnt -o TARGET,PROPAGATION {point}; mount --make-shared {point}",
        )


def _mount_of(path: str) -> tuple[str, list[str]]:
    """The mount point that a path lies on, and the mount's optional fields; the topmost counts."""
    found, fields = "/", [""]
    for line in mount_table("self"):
        words = line.partition(" - ")[0].split(" ")
        point = unescaped(words[4])
        above = path == point or path.startswith(point.rstrip("/") + "/")
        if above and len(point) >= len(found):
            found, fields = point, words[6:]
    return found, fields
