"""Mount propagation of volumes, from the container to the host or from the host to it.

A bind mount joins the peer group of its source's mount; mounts propagate to or from that group only
if that mount is shared. And the container's copy of the host's mounts must not be made private
first, as for other containers: linux.rootfsPropagation of config.json.

Sources: mount_namespaces(7), Documentation/filesystems/sharedsubtree.rst, OCI runtime-spec
config-linux "Rootfs Mount Propagation"; output of dockerd 26.1.
"""

from __future__ import annotations

import os

from minidock.errors import Conflict
from minidock.kernel.mountinfo import mount_table, unescaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.runtime_spec import Mount

_SHARED, _SLAVE = ("shared", "rshared"), ("slave", "rslave")


def rootfs_propagation(mounts: list[Mount]) -> str:
    """Return the propagation of "/" that these mounts of config.json need: "shared", or "" for any.

    Raises Conflict for a source that must be on a shared mount and is not.
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
    """Return the mount point that contains a path, and the optional fields of its topmost mount."""
    found, fields = "/", [""]
    for line in mount_table("self"):
        words = line.partition(" - ")[0].split(" ")
        point = unescaped(words[4])
        above = path == point or path.startswith(point.rstrip("/") + "/")
        if above and len(point) >= len(found):
            found, fields = point, words[6:]
    return found, fields
