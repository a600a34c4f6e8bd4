"""A file whose writes and flushes are logged: dm-log-writes for a kernel without device mapper.

    python -m support.logged_file MOUNTPOINT FILE LOG

A FUSE file system of one file, which is its root: MOUNTPOINT is a regular file. A loop device on it
makes of each write of the file system above a WRITE, and of each flush an FSYNC. (It has no FUA:
the kernel's block layer makes a write and a flush of it.) All goes through to FILE. LOG gets what
dm-log-writes writes, in its format: a write stands there once a later flush has ended.

    os.setxattr(MOUNTPOINT, "user.mark", b"text")    a mark
    umount MOUNTPOINT                                ends it; the log's superblock is written

Prints "ready" when it is mounted. Sources: fuse(4); linux/fuse.h; support/log_writes.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import subprocess
import sys

from support.log_writes import DISCARD, ENTRY, FLUSH, MAGIC, MARK, SUPER, VERSION

GETATTR, SETATTR, OPEN, READ, WRITE, RELEASE, FSYNC = 3, 4, 14, 15, 16, 18, 20
SETXATTR, FLUSH_HANDLE, INIT, DESTROY, FALLOCATE = 21, 25, 26, 38, 43
FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42  # which get no answer
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16  # linux/falloc.h
KEEP_CACHE = 2  # of an OPEN's answer
BIG_WRITES = 1 << 5
_MAX_WRITE = 128 << 10
_SECTOR = 512
_MODE = 0o100600


class LoggedFile:
    """The file, its log, and the answers to what the kernel asks."""

    def __init__(self, file: str, log: str) -> None:
        self._file = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        self._log = os.open(log, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size
        self._unflushed: list[tuple[int, int, int, bytes]] = []  # position, size, flags, data
        self._end = _SECTOR  # of the log
        self._count = 0

    def answer(self, opcode: int, body: bytes) -> bytes:
        """The answer to a request; raises OSError."""
        if opcode == INIT:
            major, _, readahead, _ = struct.unpack_from("<IIII", body)
            return struct.pack(
                "<IIIIHHIIHHI28x", major, 31, readahead, BIG_WRITES, 12, 9, _MAX_WRITE, 1, 0, 0, 0
            )
        if opcode in (GETATTR, SETATTR):
            return self._attributes()
        if opcode == OPEN:
            return struct.pack("<QIi", 0, KEEP_CACHE, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return os.pread(self._file, size, offset)
        if opcode == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            self._write(offset, body[40 : 40 + size])
            return struct.pack("<II", size, 0)
        if opcode == FALLOCATE:
            _, offset, length, mode = struct.unpack_from("<QQQI", body)
            return self._make_zero(offset, length, mode)
        if opcode == FSYNC:
            self._flush()
        elif opcode == SETXATTR:
            self._append(0, 0, MARK, body[8:].partition(b"\0")[2])
        elif opcode == DESTROY:
            self._flush()
            self.write_super()
        elif opcode not in (RELEASE, FLUSH_HANDLE):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        return b""

    def _attributes(self) -> bytes:
        valid = struct.pack("<QII", 3600, 0, 0)
        times = struct.pack("<QQQIII", 0, 0, 0, 0, 0, 0)
        sizes = struct.pack("<QQQ", 1, self._size, self._size // 512)
        return valid + sizes + times + struct.pack("<IIIIIII", _MODE, 1, 0, 0, 0, 4096, 0)

    def _write(self, offset: int, data: bytes) -> None:
        os.pwrite(self._file, data, offset)
        self._unflushed.append((offset, len(data), 0, data))

    def _make_zero(self, offset: int, length: int, mode: int) -> bytes:
        if not mode & (PUNCH_HOLE | ZERO_RANGE) or not mode & KEEP_SIZE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        os.pwrite(self._file, bytes(length), offset)
        self._unflushed.append((offset, length, DISCARD, b""))
        return b""

    def _flush(self) -> None:
        for position, size, flags, data in self._unflushed:
            self._append(position, size, flags, data)
        self._unflushed.clear()
        self._append(0, 0, FLUSH, b"")

    def _append(self, position: int, size: int, flags: int, data: bytes) -> None:
        """Write an entry. A mark's text stands in the entry's own sector."""
        assert position % _SECTOR == size % _SECTOR == 0
        is_mark = bool(flags & MARK)
        header = ENTRY.pack(position // _SECTOR, size // _SECTOR, flags, len(data) * is_mark)
        block = (header + data * is_mark).ljust(_SECTOR, b"\0") + (b"" if is_mark else data)
        os.pwrite(self._log, block, self._end)
        self._end += len(block)
        self._count += 1

    def write_super(self) -> None:
        os.pwrite(self._log, SUPER.pack(MAGIC, VERSION, self._count, _SECTOR), 0)


def serve(mountpoint: str, file: str, log: str) -> None:
    """Mount, and answer until somebody unmounts it."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode={_MODE:o},user_id=0,group_id=0"
    mount = ["mount", "-i", "-t", "fuse", "-o", options, "logged-file", mountpoint]
    logged = LoggedFile(file, log)
    subprocess.run(mount, check=True, pass_fds=[device])
    print("ready", flush=True)
    while True:
        try:
            request = os.read(device, _MAX_WRITE + (64 << 10))
        except OSError as error:
            if error.errno == errno.ENODEV:  # it has been unmounted
                break
            if error.errno in (errno.EINTR, errno.ENOENT):  # the request was called back
                continue
            raise
        _, opcode, unique = struct.unpack_from("<IIQ", request)
        if opcode in (FORGET, INTERRUPT, BATCH_FORGET):
            continue
        code, content = 0, b""
        try:
            content = logged.answer(opcode, request[40:])
        except OSError as error:
            code = -(error.errno or errno.EIO)
        with contextlib.suppress(FileNotFoundError):  # the request was called back meanwhile
            os.write(device, struct.pack("<IiQ", 16 + len(content), code, unique) + content)
    logged.write_super()


if __name__ == "__main__":
    serve(*sys.argv[1:4])
