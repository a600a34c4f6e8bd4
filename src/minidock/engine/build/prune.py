"""`builder prune`: the build cache goes, and with it the layers that were only kept for it.

A record of the cache is in use while an image stands on its layer; such ones go with -a only, and
leave the layer. What a build cut short left besides (a layer that neither an image nor a record
knows) goes too. Directories of RUN --mount=type=cache are records of their own.

No build runs meanwhile: builds hold the cache's lock shared, and this takes it alone.

Source: docs.docker.com/reference/cli/docker/builder/prune.
"""

from __future__ import annotations

import fcntl
import os

from minidock.document import report_skipped
from minidock.engine.image import images_json
from minidock.engine.image.build_cache import cached_layers, records
from minidock.engine.image.lock import ImagesLock
from minidock.engine.image.settle import move_out
from minidock.engine.store.events import emit_pruned
from minidock.engine.store.store import Staging, is_made
from minidock.engine.store.tree_walk import size_below
from minidock.errors import Conflict, DamagedFile
from minidock.oci.digest import is_hex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store


class CacheRecord:
    """One thing that the build cache keeps.

    id: of the record. in_use: an image stands on its layer. used: seconds since 1970. path: what
    goes with it in the store, beside a layer.
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
    """All that the cache keeps, the oldest use first.

    Where images.json is damaged, which is passed over, nothing counts as used.
    """
    if not is_made(store):
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
    """Remove what the cache keeps, and return it, with the bytes that it took on the disk.

    everything: also what images stand on. before: only what was last used before that moment.
    keep_bytes: stop where no more than that is left; the oldest use goes first.
    Raises Conflict while a build runs.
    """
    if not is_made(store):
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
            cached_layers(store)  # what is damaged is met before anything is done
            with lock.unsettled():
                for number, one in enumerate(removed):
                    os.rename(one.path, f"{staging.path}/record-{number}")
                orphans = move_out(store, catalogue, staging.path)
        freed = sum(size_below(f"{staging.path}/{name}/diff")[1] for name in orphans)
    freed += sum(one.size_bytes for one in removed if not one.chain_id)
    emit_pruned(store, "builder", freed)
    return removed, freed


class _ExclusiveCacheLock:
    """The cache is used by nobody else while the block runs."""

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
                "a build is using the build cache", hint="wait for it, and prune then"
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
            continue  # somebody else's
        path = f"{store.build_mounts}/{name}"
        try:
            used = os.stat(path).st_mtime
        except FileNotFoundError:
            continue  # it has just been pruned
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
