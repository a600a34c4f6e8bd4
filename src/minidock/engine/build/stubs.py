"""Remove mount point stubs from a layer: empty files and directories made for mounts.

A mount requires a mount point. If the image lacks it, the start of the container makes it in the
upperdir. After the step, stubs that are still empty are removed. So
`RUN --mount=type=cache,target=/root/.cache/pip` leaves no /root/.cache in the image.

Source: BuildKit's behaviour.
"""

from __future__ import annotations

import os
import posixpath
import stat

from minidock.errors import KernelError
from minidock.kernel.path import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def missing_mount_points(root: int, targets: Iterable[str]) -> list[str]:
    """The missing components of mount points' paths, parents first.

    root: a descriptor of the layers so far. Returns paths with symbolic links resolved.
    """
    missing: list[str] = []
    for target in targets:
        real = ""
        for part in target.strip("/").split("/"):
            path = f"{real}/{part}"
            found = _real(root, path) if real not in missing else None
            real = found if found is not None else path
            if found is None and path not in missing:
                missing.append(path)
    return missing


def remove_stubs(upper: str, places: list[str]) -> None:
    """Remove those paths from an upperdir that are still empty, children first."""
    for place in reversed(places):
        folder, name = posixpath.split(place)
        try:
            parent = open_in_root(upper, folder or "/", os.O_RDONLY | os.O_DIRECTORY)
        except KernelError:
            continue  # the command has removed it
        try:
            _remove_empty(parent, name)
        finally:
            os.close(parent)


def _remove_empty(parent: int, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except NotADirectoryError:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if status.st_size == 0 and stat.S_ISREG(status.st_mode):
            os.unlink(name, dir_fd=parent)
    except OSError:
        pass  # not empty, or missing


def _real(root: int, path: str) -> str | None:
    """Resolve a path in a root; None if it does not exist."""
    place = f"/proc/self/fd/{root}"
    try:
        fd = open_in_root(place, path)
    except KernelError:
        return None
    try:
        real, top = os.readlink(f"/proc/self/fd/{fd}"), os.readlink(place)
    finally:
        os.close(fd)
    return "/" + posixpath.relpath(real, top) if real != top else ""
