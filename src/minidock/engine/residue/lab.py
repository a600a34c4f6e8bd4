"""A lab's set-up whose note is gone: its disk, which is a mount, and its image's directory.

The note is written before anything is made, and goes last (teach/lab/fault/session.py). So without
one nothing of a set-up is needed, but for what a container still has mounted.
"""

from __future__ import annotations

import os
from functools import partial

from minidock.document import Each
from minidock.engine.residue.thing import Thing
from minidock.engine.store.container_json import documents
from minidock.engine.store.tree import remove_tree
from minidock.kernel.mount import MNT_DETACH, is_mount_point, unmount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store

NOTE_SHAPE = {"seed": str, "kept": Each(str), "hints": int}
_WHY = "of a lab's set-up, whose note is gone"


def lab(store: Store) -> Iterator[Thing]:
    """The disk of a set-up that is no more, and its directories."""
    disk = f"{store.lab}/disk"
    if os.path.lexists(store.lab_note) or not os.path.isdir(store.lab):
        return
    sources = [point.get("Source", "") for each in documents(store) for point in each["Mounts"]]
    if any(f"{source}/".startswith(f"{disk}/") for source in sources):
        return
    if is_mount_point(disk):
        yield Thing(
            "mount", disk, owner="", why=_WHY, remove=partial(unmount, disk, MNT_DETACH)
        )  # fmt: skip
    for path in (disk, f"{store.lab}/image"):
        if os.path.lexists(path):
            remove = partial(remove_tree, store, path)
            yield Thing("directory", path, owner="", why=_WHY, remove=remove)
