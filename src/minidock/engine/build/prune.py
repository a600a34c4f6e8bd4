"""`builder prune`: remove records of the build cache, and the layers that only they reference.

A record is in use while an image references its layer; only -a removes such records, and their
layers stay. Layers that neither an image nor a record references (left by a killed build) are
removed too. Each directory of RUN --mount=type=cache counts as a record.

No build runs at the same time: builds hold the cache's lock shared, prune holds it exclusively.

Source: docs.docker.com/reference/cli/docker/builder/prune.
"""

from __future__ import annotations

import fcntl
import os

from minidock.document import report_skipped
from minidock.engine.image import images_json
from minidock.engine.image.build_cache import cached_layers, records
from minidock.engine.image.lock import ImagesLock
from minidock.engine.image.recovery import move_out
from minidock.engine.store.event_log import emit_pruned
from minidock.engine.store.store import Staging, is_initialized
from minidock.engine.store.tree_walk import size_below
from minidock.errors import Conflict, DamagedFile
from minidock.oci.digest import is_hex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store


class CacheRecord:
    """One record of the build cache.

    in_use: an image references its layer. used: time of the last use, seconds since 1970. path: its
    file or directory in the store, which is removed with it.
    """

    def __init__(
        self,
        path: str,
        *,
        chain_id: str,
        size_bytes: int,
        description: str,
        used: float,
        in_use: bool,
    ) -> None:
        self.id = os.path.basename(path)[:25]
        self.path = path
        self.chain_id = chain_id
        self.size_bytes = size_bytes
        self.description = description
        self.used = used
        self.in_use = in_use


def list_cache_records(store: Store) -> list[CacheRecord]:
    """All records of the cache, the least recently used first.

    If images.json is damaged, this is reported and no record counts as in use.
    """
    if not is_initialized(store):
        return []
    try:
        layers = _layers_of_images(store)
    except DamagedFile as error:
        report_skipped(error)
        layers = set()
    found = [
        CacheRecord(
            path,
            chain_id=record["chain_id"],
            size_bytes=record["size"],
            description=record["says"],
            used=record["used"],
            in_use=record["chain_id"] in layers,
        )
        for path, record in records(store)
    ]
    found += _mounts(store)
    return sorted(found, key=lambda one: one.used)


def prune(
    store: Store, *, everything: bool, before: float | None = None, keep_bytes: int = 0
) -> tuple[list[CacheRecord], int]:
    """Remove records of the cache, the least recently used first.

    everything: also records in use. before: only records last used before that time.
    keep_bytes: keep up to that size. Returns the removed records and the freed bytes.
    Raises Conflict while a build runs.
    """
    if not is_initialized(store):
        return [], 0
    with _ExclusiveCacheLock(store), Staging(store, "prune") as staging:
        cached = list_cache_records(store)
        remaining_bytes = sum({one.chain_id: one.size_bytes for one in cached}.values())
        removed = []
        for one in cached:
            if one.in_use and not everything:
                continue
            if (before is not None and one.used >= before) or (
                keep_bytes and remaining_bytes <= keep_bytes
            ):
                continue
            remaining_bytes -= one.size_bytes
            removed.append(one)
        with ImagesLock(store) as lock:
            catalogue = images_json.read(store)
            cached_layers(store)  # raises DamagedFile before anything is removed
            with lock.transaction():
                for number, one in enumerate(removed):
                    os.rename(one.path, f"{staging.path}/record-{number}")
                orphans = move_out(store, catalogue, staging.path)
        freed = sum(size_below(f"{staging.path}/{name}/diff")[1] for name in orphans)
    freed += sum(one.size_bytes for one in removed if not one.chain_id)
    emit_pruned(store, "builder", freed)
    return removed, freed


class _ExclusiveCacheLock:
    """Holds the exclusive lock of the build cache."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> None:
        os.makedirs(self._store.build, mode=0o700, exist_ok=True)
        self._fd = os.open(self._store.build_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise Conflict(
                "a build is using the build cache", hint="retry when the build has finished"
            ) from None

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)


def _layers_of_images(store: Store) -> set[str]:
    images = images_json.read(store)["images"].values()
    return {chain_id for image in images for chain_id in image["layers"]}


def _mounts(store: Store) -> list[CacheRecord]:
    """The directories of RUN --mount=type=cache."""
    try:
        names = os.listdir(store.build_mounts)
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        if not is_hex(name[:32]):
            continue  # not made by minidock
        path = f"{store.build_mounts}/{name}"
        try:
            used = os.stat(path).st_mtime
        except FileNotFoundError:
            continue  # removed meanwhile
        found.append(
            CacheRecord(
                path,
                chain_id="",
                size_bytes=size_below(path)[1],
                description="mount / from exec /bin/sh -c",
                used=used,
                in_use=False,
            )
        )
    return found
