"""Docker's rules for the target path of a copy; pure functions of paths.

    SOURCE      TARGET is a directory     is a file            does not exist
    a file      TARGET/file               becomes the file     becomes the file; an error at "x/"
    dir         TARGET/dir                an error             becomes dir
    dir/.       dir's content, TARGET/…   an error             becomes dir

The end of a path has a meaning: "x/" and "x/." mean a directory, and "x/." its content.

Source: docs.docker.com "docker container cp"; the behaviour of docker 26.1.
"""

from __future__ import annotations

import os

from minidock.errors import Conflict, NotFound


def is_here(path: str) -> bool:
    """Whether a path ends in "." and so means a directory's content, not the directory."""
    return path.rpartition("/")[2] == "."


def means_directory(path: str) -> bool:
    """Whether a path's end marks a directory."""
    return path.endswith("/") or is_here(path)


def with_end_of(path: str, typed: str) -> str:
    """Restore the end of a path, "/" or "/.", after it was cleaned."""
    if is_here(typed) and not is_here(path):
        return f"{path.rstrip('/')}/."
    if typed.endswith("/") and not path.endswith("/"):
        return f"{path}/"
    return path


def split(path: str) -> tuple[str, str]:
    """Split a path into its parent directory and its name; the name of "dir/." is "."."""
    clean = _clean(path)
    if is_here(path):
        return clean, "."
    directory, name = os.path.split(clean)
    return directory or ".", name


def base(path: str) -> str:
    """Return the name of a file or directory in an archive of it; "/" for the root."""
    return split(path)[1] or "/"


def absolute(path: str) -> str:
    """Make a path in a container absolute; its end is kept."""
    return with_end_of(_clean(f"/{path}"), path)


class Target:
    """The target of a copy, and whether it exists."""

    def __init__(self, path: str, *, exists: bool, is_directory: bool) -> None:
        self.path = path
        self.exists = exists
        self.is_directory = is_directory


def place(target: Target, name: str, *, is_directory: bool) -> tuple[str, str]:
    """Return the directory of a copy, and its name there.

    name: of the source, a directory or not. Raises Conflict and NotFound with Docker's messages.
    """
    if target.is_directory:
        return target.path, name
    if target.exists and is_directory:
        raise Conflict("cannot copy directory", hint=f"{target.path} is a file: give another path")
    if not is_directory and means_directory(target.path):
        raise NotFound("no such directory", hint=f"create {target.path} first")
    return split(target.path)


def _clean(path: str) -> str:
    clean = os.path.normpath(path)
    return clean[1:] if clean.startswith("//") else clean
