"""A step that changes files: the layers so far, and a fresh upperdir over them.

The overlay of the two is mounted nowhere: fsmount(2) gives a descriptor, and files are reached
through it. When this process ends, however it ends, the kernel lets go of the mount; what was
written lies in the build's entry of staging/, which goes too. RUN steps are containers, which mount
the same directories by themselves.

What was written becomes a layer of the store without being copied (engine/image/layers.py).
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
    """A step's directories in staging/: upper and work, and later its layer.

    path: of the step's own directory, which must not exist. lowers: the directories of the layers
    so far, lowest first.
    """

    def __init__(self, path: str, lowers: Sequence[str]) -> None:
        self.path = path
        self.lowers = list(lowers)
        self.upper = f"{path}/upper"
        self.workdir = f"{path}/work"
        for directory in (path, self.upper, self.workdir):
            os.mkdir(directory, 0o755 if directory == self.upper else 0o700)

    def open(self) -> int:
        """A descriptor of the root of layers and upperdir together, for reading and writing."""
        lowerdirs = list(reversed(self.lowers))
        if not lowerdirs:  # overlayfs wants one; scratch has none
            lowerdirs = [f"{self.path}/nothing"]
            os.makedirs(lowerdirs[0], exist_ok=True)
        return open_overlay(lowerdirs, self.upper, self.workdir)

    def layer(self) -> StagedLayer:
        """The layer that the upperdir has become; the upperdir itself is taken for it."""
        with Upper(self.upper, self.lowers) as upper:
            return layer_of_upper(upper, f"{self.path}/layer", take=True)


def open_stage(lowers: Sequence[str], scratch: str) -> int:
    """A descriptor of the root of a stage's layers together, for reading only.

    lowers: lowest first. scratch: the path of an empty directory to be made, since overlayfs wants
    two layers at least.
    """
    os.mkdir(scratch, 0o755)
    return open_overlay([*reversed(lowers), scratch] if lowers else [scratch, scratch], "", "")
