"""`diff`: the files that a container has added, changed and deleted, in Docker's format.

A means added, C changed, D deleted. As in Docker, a directory counts as changed if an entry below
it does. The contents of a deleted directory are not listed, those of an added one are.

The upperdir holds the changed files, not their former state. So each entry is compared with the
same path in the lower layers, from the top down: the first layer that has it wins; a whiteout or an
opaque directory ends the search.

Sources: moby pkg/archive/changes.go (addChanges) and changes_unix.go (statDifferent).
"""

from __future__ import annotations

import os
import stat

from minidock.engine.image.upper import INIT_DIRECTORIES, Upper
from minidock.engine.image.upper_walk import Entry
from minidock.engine.image.whiteout import OPAQUE_XATTR, is_whiteout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CAPABILITY = "security.capability"


def changes(upper: str, lowers: Sequence[str]) -> list[tuple[str, str]]:
    """The container's changes, as ("A", "/new"), ("C", "/etc"), ("D", "/etc/motd"), sorted.

    upper: its upperdir. lowers: the directories of the image's layers, lowest first.
    """
    stack = [os.fsencode(lower) for lower in reversed(lowers)]
    lower_directories: dict[bytes, list[bytes]] = {
        b"": stack
    }  # directory -> its directories in the lower layers
    upper_directories: list[Entry] = []  # the directories of the upperdir
    found: dict[bytes, str] = {}
    with Upper(upper, lowers) as own:
        present: dict[bytes, set[bytes]] = {}
        for entry in own.walk():
            parent, _, name = entry.path.rpartition(b"/")
            present.setdefault(parent, set()).add(name)
            old, old_directories = _lookup_lower(lower_directories[parent], name)
            if entry.path in INIT_DIRECTORIES and old is None:
                old = entry.status  # Docker's init layer has it
            kind = _kind(own, entry, old, old_directories)
            if kind:
                found[entry.path] = kind
            if entry.is_directory:
                lower_directories[entry.path] = old_directories
                upper_directories.append(entry)
    for entry in upper_directories:
        if entry.opaque:
            for name in _names(lower_directories[entry.path]) - present.get(entry.path, set()):
                found[entry.path + b"/" + name] = "D"
    for path in list(found):
        _note_parents(path, found)
    return [(found[path], "/" + os.fsdecode(path)) for path in sorted(found, key=_order)]


def _kind(
    own: Upper, entry: Entry, old: os.stat_result | None, old_directories: list[bytes]
) -> str:
    """A, C or D for one entry of the upperdir; "" if it is unchanged."""
    if entry.is_whiteout:
        return "D" if old else ""
    if old is None:
        return "A"
    new = entry.status
    same_owner = (old.st_mode, old.st_uid, old.st_gid) == (new.st_mode, new.st_uid, new.st_gid)
    if not same_owner or old.st_rdev != new.st_rdev:
        return "C"
    if entry.is_directory:
        return ""
    if old.st_size != new.st_size or not _same_time(old.st_mtime_ns, new.st_mtime_ns):
        return "C"
    if stat.S_ISREG(new.st_mode) and old_directories:
        return "C" if _capability_changed(own, entry, old_directories[0]) else ""
    return ""


def _capability_changed(own: Upper, entry: Entry, old_path: bytes) -> bool:
    fd = own.open_file(entry)
    try:
        new = os.getxattr(fd, _CAPABILITY) if _CAPABILITY in os.listxattr(fd) else b""
    finally:
        os.close(fd)
    has_old = _CAPABILITY in os.listxattr(old_path, follow_symlinks=False)
    old = os.getxattr(old_path, _CAPABILITY, follow_symlinks=False) if has_old else b""
    return new != old


def _same_time(one_ns: int, other_ns: int) -> bool:
    """Whether two times are equal; a tar archive may have cut either to whole seconds."""
    one, other = divmod(one_ns, 1_000_000_000), divmod(other_ns, 1_000_000_000)
    return one[0] == other[0] and (one[1] == other[1] or 0 in (one[1], other[1]))


def _lookup_lower(
    directories: list[bytes], name: bytes
) -> tuple[os.stat_result | None, list[bytes]]:
    """Look a name up in the lower layers: its lstat, and its paths there, topmost first.

    directories: the parent directory in the lower layers, topmost first.
    """
    status: os.stat_result | None = None
    merged: list[bytes] = []
    for directory in directories:
        path = directory + b"/" + name
        try:
            here = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if is_whiteout(here) or (status is not None and not stat.S_ISDIR(here.st_mode)):
            break
        status = status or here
        merged.append(path)
        if not stat.S_ISDIR(here.st_mode) or _is_opaque(path):
            break
    return status, merged


def _names(directories: list[bytes]) -> set[bytes]:
    """The names in a directory that is merged from several layers."""
    seen: dict[bytes, bool] = {}
    for directory in directories:
        if not os.path.isdir(directory):
            break
        with os.scandir(directory) as entries:
            for entry in entries:
                seen.setdefault(entry.name, not is_whiteout(entry.stat(follow_symlinks=False)))
    return {name for name, exists in seen.items() if exists}


def _is_opaque(path: bytes) -> bool:
    name = OPAQUE_XATTR.decode()
    return name in os.listxattr(path, follow_symlinks=False) and os.getxattr(path, name) == b"y"


def _note_parents(path: bytes, found: dict[bytes, str]) -> None:
    """Mark the parents of a changed file as changed."""
    parent = path.rpartition(b"/")[0]
    while parent and parent not in found:
        found[parent] = "C"
        parent = parent.rpartition(b"/")[0]


def _order(path: bytes) -> list[bytes]:
    """Sort key: a directory, then its contents, then its next sibling."""
    return path.split(b"/")
