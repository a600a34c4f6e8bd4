"""-o FILE of `save` and `export`: an archive to a file, whole or not at all, or to stdout."""

from __future__ import annotations

import os
import stat
import sys

from minidock.errors import MinidockError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


class Output:
    """`with Output(path, "save image") as stream:` what is written appears when the block is over.

    path: a file, or "" for stdout, which must not be a terminal. what: for the errors.
    A file that was there before stays until then, and stays if the block fails.
    """

    def __init__(self, path: str, what: str) -> None:
        self._path = path
        self._what = what
        self._beside = ""
        self._file: BinaryIO | None = None

    def __enter__(self) -> BinaryIO:
        if not self._path:
            if os.isatty(1):
                raise UsageError(
                    "cowardly refusing to save to a terminal. Use the -o flag or redirect"
                )
            return sys.stdout.buffer
        try:
            if self._is_pipe():
                self._file = open(self._path, "wb")
                return self._file
            beside = f"{self._path}.{os.getpid()}.part"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = open(os.open(beside, flags, 0o600), "wb")
            self._beside = beside
        except OSError as error:
            raise self._failed(f"{self._path}: {error.strerror}") from None
        return self._file

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
            if self._beside and kind is None:
                os.rename(self._beside, self._path)
                self._beside = ""
        finally:
            if self._beside:
                os.unlink(self._beside)

    def _is_pipe(self) -> bool:
        """Whether the path is a FIFO, which nothing can be put beside; refuses what Docker does."""
        folder = os.path.dirname(self._path)
        if folder and not os.path.isdir(folder):
            raise self._failed(f'invalid output path: directory "{folder}" does not exist')
        try:
            mode = os.stat(self._path).st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(mode):
            raise self._failed(f'"{self._path}" is a directory')
        if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
            raise self._failed(
                f'invalid output path: "{self._path}" must be a directory or a regular file: '
                "got a device"
            )
        return stat.S_ISFIFO(mode)

    def _failed(self, why: str) -> MinidockError:
        error = UsageError(f"failed to {self._what}: {why}")
        error.exit_code = 1
        return error
