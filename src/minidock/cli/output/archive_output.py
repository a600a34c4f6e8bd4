"""-o FILE of `save` and `export`: write an archive to a file, atomically, or to stdout."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress

from minidock.errors import MinidockError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


class Output:
    """`with Output(path, "save image") as stream:` the file appears at the end of the block.

    path: a file, or "" for stdout, which must not be a terminal. what: for the errors.
    An existing file is replaced only then; it stays if the block fails.
    """

    def __init__(self, path: str, what: str) -> None:
        self._path = path
        self._what = what
        self._beside = ""
        self._nameless = False
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
            self._file = open(self._open(), "wb")
        except OSError as error:
            raise self._failed(f"{self._path}: {error.strerror}") from None
        return self._file

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._file is None:
            return
        try:
            if kind is None:
                self._finish(self._file)
        finally:
            with suppress(OSError):  # the data was flushed, or the block failed
                self._file.close()
            if self._beside and os.path.lexists(self._beside):
                os.unlink(self._beside)

    def _finish(self, file: BinaryIO) -> None:
        """Give the file its name, replacing an existing file."""
        file.flush()
        if self._nameless:
            fd = file.fileno()
            os.link(f"/proc/self/fd/{fd}", self._beside, src_dir_fd=fd)
        if self._beside:
            os.rename(self._beside, self._path)
            self._beside = ""

    def _open(self) -> int:
        """Open a file without a name (O_TMPFILE): if this process is killed, nothing is left.

        On file systems without O_TMPFILE (NFS, FAT), open a named file beside the target.
        """
        self._beside = f"{self._path}.{os.getpid()}.part"
        flags = os.O_WRONLY | os.O_CLOEXEC
        try:
            fd = os.open(os.path.dirname(self._path) or ".", flags | os.O_TMPFILE, 0o600)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
            return os.open(self._beside, flags | os.O_CREAT | os.O_EXCL, 0o600)
        self._nameless = True
        return fd

    def _is_pipe(self) -> bool:
        """Whether the path is a FIFO, which is written directly; refuses what Docker refuses."""
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
