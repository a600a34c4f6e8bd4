"""The build cache: what a step made the last time it was asked for the same on the same.

    build/steps/<key>    {"diff_id", "chain_id", "created", "size", "says", "used"}
    layers/<chain_id>/   the layer itself, as every other layer

The key of a step is a digest of the layers below it and of all that its result depends on: the
command and its environment, or the destination and the content of what is copied. A record without
its layer is none. Layers of the cache stay until `builder prune`, whoever removes their images.

A build holds build/lock shared from its first look into the cache until its image is there, and
`builder prune` takes it alone: no layer goes from under a build.

Source: docs.docker.com/build/cache; BuildKit's solver for what belongs to a key.
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.engine.store.store import StoreLock, prepare
from minidock.engine.store.timestamps import timestamp
from minidock.errors import DamagedFile
from minidock.kernel.disk import sync_file_system
from minidock.kernel.flock import lock_or_close
from minidock.oci.digest import is_digest
from minidock.paths import is_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from minidock.engine.image.layers import StagedLayer
    from minidock.paths import Store


SHAPE = {"diff_id": str, "chain_id": is_digest, "created": str, "size": int, "says": str}


class CachedStep:
    """What a step made, now or earlier: its layer's digests, when, and how large it is."""

    def __init__(self, diff_id: str, chain_id: str, created: str, size_bytes: int) -> None:
        self.diff_id = diff_id
        self.chain_id = chain_id
        self.created = created
        self.size_bytes = size_bytes


class Cache:
    """The build cache of a store, in use by a build while the block runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = -1

    def __enter__(self) -> Cache:
        prepare(self._store)
        os.makedirs(self._store.build_steps, mode=0o700, exist_ok=True)
        self._lock = os.open(self._store.build_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        lock_or_close(self._lock, self._store.build_lock, shared=True)
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._lock)

    def find(self, key: str) -> CachedStep | None:
        """What the step of that key made, if it is still there."""
        try:
            record = _read(self._path(key))
        except DamagedFile as error:  # the step is done anew, and its record written again
            document.report_skipped(error)
            record = None
        if record is None or not os.path.isdir(self._store.layer(record["chain_id"])):
            return None
        os.utime(self._path(key))  # its last use
        return CachedStep(record["diff_id"], record["chain_id"], record["created"], record["size"])

    def add(self, key: str, chain_id: str, layer: StagedLayer, *, description: str) -> CachedStep:
        """Bring a step's layer into the store, and remember it.

        says: the instruction, for who looks at the cache.
        """
        created = timestamp()
        record = {
            "diff_id": layer.diff_id,
            "chain_id": chain_id,
            "created": created,
            "size": layer.size_bytes,
            "says": description,
        }
        sync_file_system(self._store.staging)  # before the record names it
        with StoreLock(self._store):
            document.write(self._path(key), jsontext.dumps(record), durable=True)
            if not os.path.isdir(self._store.layer(chain_id)):
                os.rename(layer.path, self._store.layer(chain_id))
        return CachedStep(layer.diff_id, chain_id, created, layer.size_bytes)

    def alias(self, key: str, found: CachedStep, *, description: str) -> None:
        """Remember what was found under another key too."""
        record = {
            "diff_id": found.diff_id,
            "chain_id": found.chain_id,
            "created": found.created,
            "size": found.size_bytes,
            "says": description,
        }
        document.write(self._path(key), jsontext.dumps(record), durable=True)

    def _path(self, key: str) -> str:
        return self._store.build_step(key)


def key_of(*parts: Any) -> str:
    """The digest of some JSON values: equal for equal ones only."""
    from minidock.oci.digest import sha256

    return sha256(jsontext.dumps(parts).encode())


def cached_layers(store: Store) -> set[str]:
    """The chain ids of layers that the cache keeps, whether or not an image stands on them.

    For who removes the others. Raises DamagedFile: what a damaged record keeps, nobody knows.
    """
    return {record["chain_id"] for _, record in records(store, strictly=True)}


def records(store: Store, *, strictly: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """All records: path and content, with "used", the time of the last use (seconds since 1970).

    Damaged ones are passed over. strictly: raises DamagedFile instead.
    """
    try:
        names = os.listdir(store.build_steps)
    except FileNotFoundError:
        return
    for name in names:
        path = f"{store.build_steps}/{name}"
        try:
            record = _read(path) if is_sha256(name) else None
        except DamagedFile as error:
            if strictly:
                raise
            document.report_skipped(error)
            continue
        if record is not None:
            yield path, record


def _read(path: str) -> dict[str, Any] | None:
    """A record, and when it was last used; None where it is not there, or has just been pruned."""
    try:
        record: dict[str, Any] = document.read(path, SHAPE)
        record["used"] = os.stat(path).st_mtime
    except FileNotFoundError:
        return None
    return record
