"""Docker's rules for where a copy goes and what it is called there: names only, no files.

    SOURCE      TARGET is a directory     is a file            is not there
    a file      TARGET/file               becomes the file     becomes the file; an error at "x/"
    dir         TARGET/dir                an error             becomes dir
    dir/.       what is in dir, TARGET/…  an error             becomes dir

A path's end says more than its name: "x/" and "x/." mean a directory, and the second what is in it.

Source: docs.docker.com "docker container cp"; what docker 26.1 does.
"""

from __future__ import annotations

import os

from minidock.errors import Conflict, NotFound


def is_here(path: str) -> bool:
    """Whether a path ends in "." and so means what is in a directory, not the directory."""
    return path.rpartition("/")[2] == "."


def means_directory(path: str) -> bool:
    """Whether a path's end says that it is a directory."""
    return path.endswith("/") or is_here(path)


def with_end_of(path: str, typed: str) -> str:
    """A cleaned path with the end that was typed: what "/" and "/." say must not get lost."""
    if is_here(typed) and not is_here(path):
        return f"{path.rstrip('/')}/."
    if typed.endswith("/") and not path.endswith("/"):
        return f"{path}/"
    return path


def split(path: str) -> tuple[str, str]:
    """The directory around a path, and its name in it; the name of "dir/." is "."."""
    clean = _clean(path)
    if is_here(path):
        return clean, "."
    directory, name = os.path.split(clean)
    return directory or ".", name


def base(path: str) -> str:
    """What a file or directory at a path is called in an archive of it; "/" for the root."""
    return split(path)[1] or "/"


def absolute(path: str) -> str:
    """A path in a container, from its root on; its end is kept."""
    return with_end_of(_clean(f"/{path}"), path)


class Target:
    """Where something shall be copied to, as far as it is there."""

    def __init__(self, path: str, *, exists: bool, is_directory: bool) -> None:
        self.path = path
        self.exists = exists
        self.is_directory = is_directory


def place(target: Target, name: str, *, is_directory: bool) -> tuple[str, str]:
    """The directory into which a copy goes, and what it is called there.

    name: of the source, a directory or not. Raises Conflict and NotFound in Docker's words.
    """
    if target.is_directory:
        return target.path, name
    if target.exists and is_directory:
        raise Conflict("cannot copy directory", hint=f"{target.path} is a file: name another place")
    if not is_directory and means_directory(target.path):
        raise NotFound("no such directory", hint=f"make {target.path} first")
    return split(target.path)


def _clean(path: str) -> str:
    clean = os.path.normpath(path)
    return clean[1:] if clean.startswith("//") else clean
