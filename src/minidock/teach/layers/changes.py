"""The changes that a layer makes to the layers below it: adds, changes, deletes, hides.

Each entry of a layer is compared with the merged lower layers at the same path:

    A  added      nothing is visible below
    C  changed    another file is visible below, or a directory with another owner or mode
    D  deleted    a whiteout that hides an entry below
    O  opaque     a directory that hides the one below

A directory that exists in a layer only as the parent of other entries is not a change.
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
    from minidock.teach.layers.stack import MergedDirectories


_ATTEMPTS = 20
_PAUSE_SECONDS = 0.01


class Change:
    """One change of a layer.

    kind: A, C, D or O. path: relative. entry: the layer's. below: the versions visible without the
    layer, topmost first.
    """

    def __init__(self, kind: str, entry: Entry, below: list[Version]) -> None:
        self.kind = kind
        self.path = entry.path
        self.entry = entry
        self.below = below


def changes_of(stack: Stack, layer: Layer) -> Iterator[Change]:
    """The changes of a layer of an open stack, directories before their entries."""
    lower = Stack([other for other in stack.layers if other.number < layer.number])
    merged: dict[bytes, MergedDirectories] = {b"": [(other, b"") for other in lower.layers]}
    for entry in layer.walk():
        parent, _, name = entry.path.rpartition(b"/")
        below, _ = lower.resolve(merged[parent], name)
        if entry.is_directory:
            merged[entry.path] = _merged_with(entry, below)
        if kind := _kind(entry, below):
            yield Change(kind, entry, below)


def _merged_with(entry: Entry, below: list[Version]) -> MergedDirectories:
    """The lower directories with which a directory of the layer is merged."""
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
    """Counts of a layer's changes.

    files, directories: added; links and devices count as files. bytes: of the added or changed
    regular files.
    """

    def __init__(self) -> None:
        self.files = 0
        self.directories = 0
        self.changed = 0
        self.deleted = 0
        self.opaque = 0
        self.bytes = 0

    def add(self, change: Change) -> None:
        """Count a change."""
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
        """The counts as a JSON object."""
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
    """List the changes of a layer of an open stack, again if a directory was replaced meanwhile.

    Raises Conflict if that happens each time.
    """
    for _ in range(_ATTEMPTS):
        try:
            return list(changes_of(stack, layer))
        except Conflict:  # a directory was replaced while it was read
            time.sleep(_PAUSE_SECONDS)
    raise Conflict(
        f"the files at {layer.path} change faster than they can be read",
        hint="minidock pause CONTAINER     freezes them",
    )


def summary_of(stack: Stack, layer: Layer) -> Summary:
    """Count the changes of a layer of an open stack."""
    summary = Summary()
    for change in all_changes(stack, layer):
        summary.add(change)
    return summary
