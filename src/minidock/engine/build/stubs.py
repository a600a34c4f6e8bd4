"""The empty files and directories that mount points leave in a layer, and that do not belong there.

A mount needs something to be mounted on. Where the image has nothing, starting the container makes
it, in the upperdir; after the step it is removed again, if the command has put nothing there. So
`RUN --mount=type=cache,target=/root/.cache/pip` leaves no /root/.cache in the image.

Source: what BuildKit leaves.
"""

from __future__ import annotations

import os
import posixpath

from minidock.errors import KernelError
from minidock.kernel.path import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def missing_mount_points(root: int, targets: Iterable[str]) -> list[str]:
    """What of some mount points' paths is not there yet, outer ones first.

    root: a descriptor of the layers so far. Returns paths without links in them.
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
    """Remove those places from an upperdir that are still empty, inner ones first."""
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
        if status.st_size == 0 and status.st_mode & 0o170000 == 0o100000:
            os.unlink(name, dir_fd=parent)
    except OSError:
        pass  # it is not empty, or not there


def _real(root: int, path: str) -> str | None:
    """Where a path leads to in a root, None where it leads nowhere."""
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
