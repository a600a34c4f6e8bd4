"""The store on disk: created on first use, locked while it changes, swept after a crash.

    lock       locked by flock(2) while images.json or names change; held for milliseconds.
               Not empty while images.json and the layers may be inconsistent (image/recovery.py)
    staging/   unfinished work: a layer while it is unpacked, a tree while it is removed

Nothing is changed in place. An object is created in its own entry under staging/ and then renamed
to its final path; for removal it is first renamed to staging/. A process that works in such an
entry holds a flock(2) on its directory, which the kernel releases when the process ends in any way.
So an entry whose lock is free is a leftover: `sweep` removes it.

Source: flock(2), rename(2), ioctl_iflags(2); moby's daemon/graphdriver for modes.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import sys

from minidock import document
from minidock.engine.store.tree_removal import remove_tree
from minidock.errors import DamagedFile, StoreError
from minidock.kernel.flock import lock_or_close, try_lock
from minidock.numerals import is_decimal
from minidock.paths import STORE_VERSION, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

_FS_IOC_GETFLAGS = 0x80086601  # ioctl_iflags(2)
_FS_IOC_SETFLAGS = 0x40086602
_FS_TOPDIR_FL = 0x00020000
_MODE = 0o710  # files of images belong to many users: only root may enter


def prepare(store: Store) -> None:
    """Create the store's directories on first use; refuse a store of a newer minidock.

    Costs one read of the version file once the store exists.
    """
    if is_initialized(store):
        return
    try:
        os.makedirs(store.root, exist_ok=True)
        os.chmod(store.root, _MODE)
        for directory in (
            os.path.dirname(store.blobs),
            store.blobs,
            store.layers,
            store.containers,
            store.volumes,
            store.networks,
            store.seccomp,
            store.staging,
        ):
            os.makedirs(directory, _MODE, exist_ok=True)
        _spread(store.staging)
        document.write(store.version, f"{STORE_VERSION}\n", durable=True)
    except OSError as error:
        raise StoreError(
            f"cannot create the store {store.root}: {error.strerror}",
            hint="minidock runs as root; MINIDOCK_ROOT sets another path for the store",
        ) from None


def _spread(directory: str) -> None:
    """Ask ext4 to keep the trees in a directory far from each other (chattr +T).

    The entries of staging/ are independent trees. If they are close together on the disk, unpacking
    a layer soon after the removal of another one is slow: ext4 does not reuse an inode within a
    minute of its deletion, and skips all such inodes for each new file.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8))
        wanted = int.from_bytes(flags[:4], sys.byteorder) | _FS_TOPDIR_FL
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, wanted.to_bytes(8, sys.byteorder))
    except OSError:
        pass  # other file systems do not support this flag
    finally:
        os.close(fd)


def is_initialized(store: Store) -> bool:
    """Whether the store exists. Raises StoreError if its format is not ours."""
    version = _read_version(store)
    if version not in (None, STORE_VERSION):
        raise StoreError(
            f"the store {store.root} has format {version}; this minidock supports {STORE_VERSION}",
            hint="another version of minidock created it; use that, or another MINIDOCK_ROOT",
        )
    return version is not None


def _read_version(store: Store) -> int | None:
    """Return the format of the store, or None if it does not exist yet."""
    try:
        text = document.read_bytes(store.version, longest=20).strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(
            f"cannot read the store {store.root}: {error.strerror}",
            hint="minidock runs as root; MINIDOCK_ROOT sets another store",
        ) from None
    if not is_decimal(text):
        hint = f"if no other version of minidock created the store: echo {STORE_VERSION} > it"
        raise DamagedFile(store.version, f"{text!r} is not a version", hint=hint)
    return int(text)


def needs_recovery(store: Store) -> bool:
    """Whether a change of images, steps and layers was interrupted, or is in progress."""
    try:
        return os.stat(store.lock).st_size > 0
    except FileNotFoundError:
        return False


class StoreLock:
    """`with StoreLock(store):` no other process changes the store; leftovers are swept first.

    sweeps: False for readers.
    """

    def __init__(self, store: Store, *, sweeps: bool = True) -> None:
        self._store = store
        self._sweeps = sweeps
        self._fd = -1

    def __enter__(self) -> Self:
        prepare(self._store)
        self._fd = os.open(self._store.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        lock_or_close(self._fd, self._store.lock)
        if not self._sweeps:
            return self
        try:
            if os.fstat(self._fd).st_size:
                self.settle()
            sweep(self._store)
        except BaseException:  # else the next StoreLock of this process would wait for this one
            os.close(self._fd)
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        os.close(self._fd)

    def settle(self) -> None:
        """Repair an interrupted change of images: implemented by a subclass (image/lock.py)."""

    def mark(self, *, settled: bool) -> None:
        """Record whether images, cached steps and layers are consistent; needs no disk space."""
        os.ftruncate(self._fd, 0 if settled else 1)

    def transaction(self) -> Transaction:
        """`with lock.transaction():` images change, in more than one step.

        If the block is interrupted, the next holder of the lock repairs the store.
        """
        return Transaction(self)


class Transaction:
    """A change of images, cached steps and layers; see StoreLock."""

    def __init__(self, lock: StoreLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.mark(settled=False)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._lock.mark(settled=True)


class Staging:
    """`with Staging(store, "load") as staging:` a directory for unfinished work.

    It is removed with all its contents when the block ends in any way.
    path: its absolute path. locks: descriptors of the entries that this process works in; a child
    that works in one keeps them open, so that the entry is not swept before the child ends.
    """

    _numbers = itertools.count(1)  # next() is atomic between threads
    locks: set[int] = set()

    def __init__(self, store: Store, purpose: str) -> None:
        self._store = store
        self.path = f"{store.staging}/{purpose}-{os.getpid()}-{next(Staging._numbers)}"
        self._fd = -1

    def __enter__(self) -> Staging:
        with StoreLock(self._store):  # so that no sweep runs between the two calls
            try:
                os.mkdir(self.path, 0o700)
            except OSError as error:
                raise StoreError(
                    f"cannot work in the store: mkdir {self.path}: {error.strerror}"
                ) from None
            self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            lock_or_close(self._fd, self.path)
        Staging.locks.add(self._fd)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            remove_tree(self._store, self.path)
        finally:
            Staging.locks.discard(self._fd)
            os.close(self._fd)


def sweep(store: Store) -> None:
    """Remove leftovers of dead processes from staging/. The caller holds the store's lock."""
    try:
        names = os.listdir(store.staging)
    except FileNotFoundError:
        return
    for name in names:
        with document.reporting_skipped():
            remove_abandoned(store, name)


def remove_abandoned(store: Store, name: str) -> None:
    """Remove an entry of staging/, unless a process works in it. The caller holds the lock."""
    path = f"{store.staging}/{name}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # just removed by its owner
    except NotADirectoryError:
        os.unlink(path)
        return
    try:
        if try_lock(fd):
            remove_tree(store, path)
    finally:
        os.close(fd)
