"""A disk that remembers each write, and the disk that a power cut leaves at any moment.

    disk = LoggedDisk(folder, "dm", "ext4")      a file system at folder/disk
    disk.start_log()                             from here on on a device that logs
    disk.mark("end-1")                           a mark in the log
    disk.end_log()                               unmount it; the log is whole
    history = History(disk.base, disk.log)       what was written
    history.copy_at(history.barriers(...)[0], file)   the disk as it was then

dm-log-writes passes all on to one device and writes to another one what was written, in the order
in which it was safe: a write stands in the log once a flush that came after it has ended, or at
once if it was a FUA write of its own. So the entries up to a flush, a FUA or a mark are what a disk
that loses its whole cache has at that moment; of the writes between there and the next flush it may
have any, in any order.

The log: a superblock and then the entries. Each entry is one sector of header and, except after
flushes, discards and marks, the data. All numbers are little-endian; a sector
has `sectorsize` bytes.

    log_write_super    u64 magic, u64 version, u64 nr_entries, u32 sectorsize
    log_write_entry    u64 sector, u64 nr_sectors, u64 flags, u64 data_len; then a mark's text

Where the kernel has no device mapper, a loop device on a FUSE file writes the same log
(support/logged_file.py); "fuse" instead of "dm".

Sources: the kernel's admin-guide/device-mapper/log-writes.rst; drivers/md/dm-log-writes.c.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from support.patience import await_true, patience

FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
MAGIC, VERSION = 0x6A736677736872, 1
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")
_DM_SECTOR_BYTES = 512  # of a table, whatever the disk's are

MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
# A journal that is committed when somebody asks for it, and as good as never by itself.
OPTIONS = {"ext4": "noatime,commit=300", "xfs": "noatime,nouuid"}
CHECK = {"ext4": ("e2fsck", "-f", "-n"), "xfs": ("xfs_repair", "-n")}
_BYTES = 320 << 20  # XFS has at least 300 MiB
_LOG_BYTES = 1 << 30  # sparse


@dataclass(frozen=True)
class Entry:
    """One record of the log. offset: of its data in the log, in bytes; size: the data's bytes."""

    position: int
    size: int
    flags: int
    offset: int
    text: str

    @property
    def is_barrier(self) -> bool:
        """Whether all that stands before it, and itself, is on the disk for good."""
        return bool(self.flags & (FLUSH | FUA | MARK))

    @property
    def changes(self) -> bool:
        """Whether it changes what is on the disk."""
        return self.size > 0 and not self.flags & MARK


@dataclass(frozen=True)
class Moment:
    """A moment of a disk: all entries below `end`, and these few of those that follow."""

    end: int
    torn: tuple[int, ...] = ()

    def when(self) -> tuple[int, int]:
        """A key to sort moments by time."""
        return self.end, len(self.torn)

    def __str__(self) -> str:
        return f"entry {self.end}" + (f" and {len(self.torn)} writes after it" * bool(self.torn))


def read_log(log: Path) -> list[Entry]:
    """All entries of a log."""
    entries = []
    with log.open("rb") as file:
        magic, version, count, sector = SUPER.unpack(file.read(SUPER.size))
        assert (magic, version) == (MAGIC, VERSION), f"{log} is not a log of dm-log-writes"
        at = sector
        for _ in range(count):
            file.seek(at)
            position, sectors, flags, length = ENTRY.unpack(file.read(ENTRY.size))
            text = file.read(length).decode() if flags & MARK else ""
            entries.append(Entry(position * sector, sectors * sector, flags, at + sector, text))
            at += sector + (0 if flags & DISCARD else sectors * sector)
    return entries


class History:
    """What was written to a disk, and the disk as it was at a moment.

    Moments are asked for in the order of time: `base`, the disk before its first entry, becomes
    the disk of that moment.
    """

    def __init__(self, base: Path, log: Path) -> None:
        self.entries = read_log(log)
        self._base, self._log = base, log
        self._done = 0

    def mark(self, text: str) -> int:
        """The number of entries up to a mark, and with it."""
        return next(n for n, entry in enumerate(self.entries, 1) if entry.text == text)

    def barriers(self, start: int, end: int) -> list[Moment]:
        """Moments between two entries, each with something on the disk that was not before."""
        found, new = [], False
        for number in range(start, end):
            new = new or self.entries[number].changes
            if new and self.entries[number].is_barrier:
                found.append(Moment(number + 1))
                new = False
        return found

    def torn(self, start: int, end: int, chance: random.Random) -> list[Moment]:
        """Moments between two barriers: some of the writes between them are on the disk."""
        found = []
        ends = [start, *(moment.end for moment in self.barriers(start, end))]
        for before, after in zip(ends, ends[1:], strict=False):
            writes = [n for n in range(before, after) if self.entries[n].changes]
            if len(writes) > 1:
                some = chance.sample(writes, chance.randrange(1, len(writes)))
                found.append(Moment(before, tuple(sorted(some))))
        return found

    def copy_at(self, moment: Moment, copy: Path) -> None:
        """Write the disk as it was at a moment to a file, which is another one each time."""
        assert moment.end >= self._done, "time goes on"
        self._replay(self._base, range(self._done, moment.end))
        self._done = moment.end
        copy.unlink(missing_ok=True)  # a loop device that shows the old one would be taken again
        subprocess.run(["cp", self._base, copy], check=True)  # a sparse file stays one
        self._replay(copy, moment.torn)

    def _replay(self, disk: Path, numbers: Iterable[int]) -> None:
        with disk.open("r+b") as target, self._log.open("rb") as log:
            for entry in (self.entries[number] for number in numbers):
                if entry.changes:
                    log.seek(entry.offset)
                    discarded = entry.flags & DISCARD
                    data = bytes(entry.size) if discarded else log.read(entry.size)
                    os.pwrite(target.fileno(), data, entry.position)


class LoggedDisk:
    """A file system in a file, and for a while on a device that logs its writes.

    logger: "dm" or "fuse". kind: "ext4" or "xfs". path: where it is mounted. base: a copy of the
    disk before the log began. log: the log.
    """

    def __init__(self, folder: Path, logger: str, kind: str) -> None:
        self.kind, self.path = kind, folder / "disk"
        self.file, self.base, self.log = (folder / f"{kind}.{n}" for n in ("now", "base", "log"))
        self.copy = folder / f"{kind}.copy"
        self._logger = (_DeviceMapper if logger == "dm" else _Fuse)(self.file, self.log)
        self.path.mkdir()
        _truncate(self.file, _BYTES)
        _run(*MAKE[kind], str(self.file))
        self.mount(self.file)

    def start_log(self) -> None:
        """From here on each write is logged. Nobody may have a file of it open."""
        self.unmount()
        _run("cp", str(self.file), str(self.base))
        device = self._logger.start()
        _run("mount", "-o", OPTIONS[self.kind], device, str(self.path))

    def mark(self, text: str) -> None:
        """Write a mark, a word, to the log."""
        self._logger.mark(text)

    def mount(self, file: Path) -> None:
        """Mount a disk at `path`, in the place of this one; its journal is replayed by that."""
        _run("mount", "-o", f"loop,{OPTIONS[self.kind]}", str(file), str(self.path))

    def unmount(self) -> None:
        """Unmount what is at `path`, and wait until nobody writes to its file any more.

        A mount namespace that another test began meanwhile has the mount too. Until that one ends,
        the file system is there, and its last unmount writes to the file: XFS's even where it was
        remounted read-only before.
        """
        _run("umount", str(self.path))
        for file in filter(Path.exists, (self.file, self.copy)):
            await_true(functools.partial(_is_free, file), f"a loop device holds {file}", seconds=20)

    def end_log(self) -> None:
        """Take the device away; the log is whole afterwards. Nothing, where there is none."""
        if os.path.ismount(self.path):
            _run("umount", str(self.path))
        self._logger.end()

    def check(self, file: Path) -> str:
        """What the file system's own checker complains of; "" where all is well."""
        done = subprocess.run([*CHECK[self.kind], file], capture_output=True, text=True)
        return f"{done.stdout}{done.stderr}" if done.returncode else ""


class _DeviceMapper:
    """A device of dm-log-writes, on loop devices."""

    def __init__(self, file: Path, log: Path) -> None:
        self._file, self._log = file, log
        self._name = f"minidock-{os.getpid()}-{file.stem}"
        self._loops: list[str] = []

    def start(self) -> str:
        """Make it; returns the device."""
        _truncate(self._log, _LOG_BYTES)
        _run("modprobe", "dm-log-writes")
        self._loops = [_attach(file) for file in (self._file, self._log)]
        table = f"0 {_BYTES // _DM_SECTOR_BYTES} log-writes {' '.join(self._loops)}"
        _run("dmsetup", "create", self._name, "--table", table)
        return f"/dev/mapper/{self._name}"

    def mark(self, text: str) -> None:
        _run("dmsetup", "message", self._name, "0", "mark", text)

    def end(self) -> None:
        if os.path.exists(f"/dev/mapper/{self._name}"):
            await_true(
                lambda: not _busy("dmsetup", "remove", self._name),
                f"{self._name} is held",
                seconds=20,
            )
        while self._loops:
            _run("losetup", "-d", self._loops.pop())


class _Fuse:
    """A loop device on a file of support/logged_file.py."""

    def __init__(self, file: Path, log: Path) -> None:
        self._file, self._log = file, log
        self._logged = file.with_suffix(".logged")
        self._server: subprocess.Popen[str] | None = None
        self._loop = ""

    def start(self) -> str:
        """Make it; returns the device."""
        self._logged.touch()
        words = [sys.executable, "-m", "support.logged_file"]
        self._server = subprocess.Popen(
            [*words, self._logged, self._file, self._log], cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"
        self._loop = _attach(self._logged)
        return self._loop

    def mark(self, text: str) -> None:
        os.setxattr(self._logged, "user.mark", text.encode())

    def end(self) -> None:
        if self._loop:
            _run("losetup", "-d", self._loop)
            self._loop = ""
        if self._server is not None:
            await_true(
                lambda: not _busy("umount", str(self._logged)),
                f"{self._logged} is held",
                seconds=20,
            )
            self._server.communicate(timeout=patience(30))
            assert self._server.returncode == 0
            self._server = None


def why_not(logger: str, kind: str) -> str:
    """What this kernel lacks for such a disk; "" for nothing."""
    if logger == "fuse" and not os.path.exists("/dev/fuse"):
        return "FUSE"
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", kind], check=False)  # built in, or a module, or neither
    known = Path("/proc/filesystems").read_text().split()
    return "" if kind in known else kind


def neighbour(path: Path) -> Iterator[None]:
    """Commit the file system's journal by an fsync of an unrelated file, step by step."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            os.write(fd, b"x" * 4096)
            os.fsync(fd)
            yield
    finally:
        os.close(fd)


def _truncate(file: Path, size: int) -> None:
    with file.open("wb") as made:
        made.truncate(size)


def _attach(file: Path) -> str:
    return _run("losetup", "-f", "--show", str(file))


def _is_free(file: Path) -> bool:
    return not _run("losetup", "-j", str(file))


def _busy(*words: str) -> bool:
    """Run a command that ends something; whether that is in use."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0 or "busy" in done.stderr.lower(), done.stderr
    return done.returncode != 0


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout.strip()
