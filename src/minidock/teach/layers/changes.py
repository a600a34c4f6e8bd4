"""What one layer does to those below it: adds, changes, deletes, hides.

Each entry of a layer is held against what the layers below it show at the same path:

    A  added      below there is nothing to be seen
    C  changed    below there is another file, or a directory with other owner or mode
    D  deleted    a whiteout, and below there is something that it hides
    O  opaque     a directory that hides the one below it

A directory that is in a layer only because of what is in it is not told.
Sources: OCI image-spec layer.md "Change types"; overlayfs.rst "whiteouts and opaque directories".
"""

from __future__ import annotations

import stat
import time

from minidock.errors import Conflict
from minidock.teach.layers.layer import Layer
from minidock.teach.layers.stack import Stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.engine.image.upper_walk import Entry
    from minidock.teach.layers.layer import Version
    from minidock.teach.layers.stack import Places


_ATTEMPTS = 20
_PAUSE_SECONDS = 0.01


class Change:
    """One thing that a layer does.

    kind: A, C, D or O. path: relative. entry: what the layer has there. below: the versions that
    were seen there without it, topmost first.
    """

    def __init__(self, kind: str, entry: Entry, below: list[Version]) -> None:
        self.kind = kind
        self.path = entry.path
        self.entry = entry
        self.below = below


def changes_of(stack: Stack, layer: Layer) -> Iterator[Change]:
    """What a layer of an open stack does to those below it, directories before what is in them."""
    lower = Stack([other for other in stack.layers if other.number < layer.number])
    merged: dict[bytes, Places] = {b"": [(other, b"") for other in lower.layers]}
    for entry in layer.walk():
        parent, _, name = entry.path.rpartition(b"/")
        below, _ = lower.resolve(merged[parent], name)
        if entry.is_directory:
            merged[entry.path] = _merged_with(entry, below)
        if kind := _kind(entry, below):
            yield Change(kind, entry, below)


def _merged_with(entry: Entry, below: list[Version]) -> Places:
    """The lower directories that a directory of the layer is merged with."""
    if entry.opaque or not below or not below[0].entry.is_directory:
        return []
    return [(version.layer, version.path) for version in below]


def _kind(entry: Entry, below: list[Version]) -> str:
    if entry.is_whiteout:
        return "D" if below else ""
    if not below:
        return "A"
    old, new = below[0].entry.status, entry.status
    if not entry.is_directory or not stat.S_ISDIR(old.st_mode):
        return "C"
    if entry.opaque:
        return "O"
    same = (old.st_mode, old.st_uid, old.st_gid) == (new.st_mode, new.st_uid, new.st_gid)
    return "" if same else "C"


class Summary:
    """What a layer does, in numbers.

    files, directories: those added; links and devices count as files. bytes: of the regular files
    that it holds, added or changed.
    """

    def __init__(self) -> None:
        self.files = 0
        self.directories = 0
        self.changed = 0
        self.deleted = 0
        self.opaque = 0
        self.bytes = 0

    def add(self, change: Change) -> None:
        """Count one change."""
        entry = change.entry
        if change.kind == "A":
            self.directories += entry.is_directory
            self.files += not entry.is_directory
        self.changed += change.kind == "C"
        self.deleted += change.kind == "D"
        self.opaque += change.kind == "O"
        if stat.S_ISREG(entry.status.st_mode):
            self.bytes += entry.status.st_size

    def plain(self) -> dict[str, int]:
        """The numbers, as JSON has them."""
        return dict(vars(self))

    def __str__(self) -> str:
        counts = (
            (self.files, "file", "files"),
            (self.directories, "directory", "directories"),
        )
        added = [f"{n} {one if n == 1 else many}" for n, one, many in counts if n]
        text = [f"adds {' and '.join(added)}"] if added else []
        text += [f"changes {self.changed}"] if self.changed else []
        text += [f"deletes {self.deleted}"] if self.deleted else []
        text += [f"hides {self.opaque} by opaque directories"] if self.opaque else []
        return ", ".join(text) or "nothing"


def all_changes(stack: Stack, layer: Layer) -> list[Change]:
    """What a layer of an open stack does, read again where it changed meanwhile.

    Raises Conflict where it never stands still for so long.
    """
    for _ in range(_ATTEMPTS):
        try:
            return list(changes_of(stack, layer))
        except Conflict:  # a directory was replaced while it was read
            time.sleep(_PAUSE_SECONDS)
    raise Conflict(
        f"the files at {layer.path} change faster than they can be read",
        hint="minidock pause CONTAINER     holds them still",
    )


def summary_of(stack: Stack, layer: Layer) -> Summary:
    """What a layer of an open stack does, in numbers."""
    summary = Summary()
    for change in all_changes(stack, layer):
        summary.add(change)
    return summary
