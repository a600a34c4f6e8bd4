"""The overlay of a build step: the layers so far and an empty upperdir.

The overlay has no mount point: fsmount(2) returns a descriptor, through which files are accessed.
The kernel drops the mount when this process ends; the upperdir lies in the build's entry of
staging/, which is removed too. RUN steps are containers, which mount the same directories.

The upperdir becomes a layer of the store without a copy (engine/image/layers.py).
"""

from __future__ import annotations

import os

from minidock.engine.image.layers import StagedLayer, layer_of_upper
from minidock.engine.image.upper import Upper
from minidock.kernel.overlay import open_overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class StepOverlay:
    """The overlay directories of a step in staging/: upperdir, workdir, and later its layer.

    path: the step's own directory, which must not exist. lowers: the directories of the layers so
    far, lowest first.
    """

    def __init__(self, path: str, lowers: Sequence[str]) -> None:
        self.path = path
        self.lowers = list(lowers)
        self.upper = f"{path}/upper"
        self.workdir = f"{path}/work"
        for directory in (path, self.upper, self.workdir):
            os.mkdir(directory, 0o755 if directory == self.upper else 0o700)

    def open(self) -> int:
        """Mount the overlay detached, writable; returns a descriptor of its root."""
        lowerdirs = list(reversed(self.lowers))
        if not lowerdirs:  # overlayfs requires a lowerdir; scratch has none
            lowerdirs = [f"{self.path}/nothing"]
            os.makedirs(lowerdirs[0], exist_ok=True)
        return open_overlay(lowerdirs, self.upper, self.workdir)

    def layer(self) -> StagedLayer:
        """Make the upperdir a layer; the upperdir is moved, not copied."""
        with Upper(self.upper, self.lowers) as upper:
            return layer_of_upper(upper, f"{self.path}/layer", take=True)


def open_stage(lowers: Sequence[str], scratch: str) -> int:
    """Mount a stage's layers detached, read-only; returns a descriptor of the root.

    lowers: lowest first. scratch: the path of an empty directory to make, since an overlay without
    upperdir requires two lowerdirs.
    """
    os.mkdir(scratch, 0o755)
    return open_overlay([*reversed(lowers), scratch] if lowers else [scratch, scratch], "", "")
