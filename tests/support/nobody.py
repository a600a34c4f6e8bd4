"""Running a command as a user who owns nothing, wherever this source and this Python are.

A clone below root's home, or a Python that pyenv keeps there, is closed to others by the directory
above. So the command gets a mount namespace in which such a directory is an empty one that all may
enter, and holds nothing but these: by their own paths, so nothing is named otherwise. What was made
with root's umask at 077 is closed itself: there, root's files are shown as that user's, read-only.

Source: mount(8), X-mount.idmap.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from support.command import REPOSITORY

USER = 65534

# $1: the closed directory; then, up to "--", what is to be seen of it, as paths below it.
_OPEN = """
closed=$1; shift
exec 9<"$closed"
mount -t tmpfs -o mode=755 tmpfs "$closed"
while [ "$1" != -- ]; do
    mkdir -p "$closed/$1"
    mount --no-canonicalize --rbind "/proc/self/fd/9/$1" "$closed/$1"
    shift
done
shift
exec 9<&-
exec "$@"
"""

# $1: what root alone can read.
_READABLE = f"""
mount --bind -o ro,X-mount.idmap=b:0:{USER}:1 "$1" "$1"
shift
exec "$@"
"""


def as_nobody(*command: str) -> list[str]:
    """The words that run a command without any right of root's; it can read this source."""
    words = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
    for path in _needed():
        if not path.stat().st_mode & stat.S_IROTH:
            words = ["sh", "-ec", _READABLE, "open", str(path), *words]
    for closed, seen in _closed().items():
        words = ["sh", "-ec", _OPEN, "open", str(closed), *seen, "--", *words]
    return ["unshare", "--mount", "--propagation", "slave", *words]


def _closed() -> dict[Path, list[str]]:
    """The outermost directories that others cannot enter; what we need of each."""
    found: dict[Path, list[str]] = {}
    for path in _needed():
        above = [p for p in reversed(path.parents) if not p.stat().st_mode & stat.S_IXOTH]
        if not above:
            continue
        seen = found.setdefault(above[0], [])
        if not any(path.is_relative_to(above[0] / shown) for shown in seen):
            seen.append(os.fspath(path.relative_to(above[0])))
    return found


def _needed() -> list[Path]:
    """The directories of this source and this Python; none is below another."""
    needed = sorted(
        {
            REPOSITORY,
            Path(sys.prefix),
            Path(sys.base_prefix),
            Path(sys.executable).resolve().parent,
        }
    )
    return [p for p in needed if not any(p != q and p.is_relative_to(q) for q in needed)]
