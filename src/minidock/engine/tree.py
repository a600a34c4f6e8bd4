"""Removing a directory that others have filled: to any depth, and without following links."""

from __future__ import annotations

import os


def remove_tree(path: str) -> None:
    """Delete a directory and all below it without following links; nothing where it is gone.

    A container may have nested directories to any depth, beyond the longest path and the deepest
    recursion. So what lies deeper is renamed to the top first and deleted there: one level at a
    time, by two descriptors.
    """
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        waiting = os.listdir(top)
        lifted = 0
        while waiting:
            name = waiting.pop()
            for inner in _remove_or_list(top, name):
                lifted += 1
                outer = f".removing-{os.getpid()}-{lifted}"
                os.rename(f"{name}/{inner}", outer, src_dir_fd=top, dst_dir_fd=top)
                waiting.append(outer)
            _remove_directory(top, name)
    finally:
        os.close(top)
    _remove_directory(None, path)


def _remove_or_list(top: int, name: str) -> list[str]:
    """Delete a file, or the files in a directory; returns the directories in it."""
    if _remove_file(top, name):
        return []
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    directory = os.open(name, flags, dir_fd=top)
    try:
        return [entry for entry in os.listdir(directory) if not _remove_file(directory, entry)]
    finally:
        os.close(directory)


def _remove_file(parent: int, name: str) -> bool:
    """Delete what is not a directory; returns whether it is gone."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        return False
    return True


def _remove_directory(parent: int | None, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        pass  # it was a file, or another command was clearing the same rubbish
