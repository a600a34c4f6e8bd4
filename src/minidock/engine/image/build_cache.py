"""The build cache: the layers of earlier build steps, by key.

    build/steps/<key>    {"diff_id", "chain_id", "created", "size", "says"}; "says" describes the
                         step, and the file's mtime is the time of its last use
    layers/<chain_id>/   the layer itself, as any other layer

The key of a step is a digest of the layers below it and of all inputs of its result: the command
and its environment, or the destination and the content of copied files. A record whose layer is
missing is ignored. Cached layers stay until `builder prune`, even if their images are removed.

A build holds build/lock shared from its first lookup until its image is stored, and `builder prune`
holds it exclusively: no layer is removed during a build.

Source: docs.docker.com/build/cache; BuildKit's solver for the inputs of a key.
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

    from minidock.document import Shape
    from minidock.document_types.store import CacheRecord
    from minidock.engine.image.layers import StagedLayer
    from minidock.paths import Store


SHAPE: Shape = {"diff_id": str, "chain_id": is_digest, "created": str, "size": int, "says": str}


class CachedStep:
    """The result of a step: the digests, time and size of its layer."""

    def __init__(self, diff_id: str, chain_id: str, created: str, size_bytes: int) -> None:
        self.diff_id = diff_id
        self.chain_id = chain_id
        self.created = created
        self.size_bytes = size_bytes


class Cache:
    """The build cache of a store; the context manager holds its lock shared."""

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
        """Look up a key; returns None if the record or its layer is missing."""
        try:
            record = _read(self._path(key))
        except DamagedFile as error:  # the step runs again and rewrites its record
            document.report_skipped(error)
            record = None
        if record is None or not os.path.isdir(self._store.layer(record["chain_id"])):
            return None
        os.utime(self._path(key))  # its last use
        return CachedStep(record["diff_id"], record["chain_id"], record["created"], record["size"])

    def add(self, key: str, chain_id: str, layer: StagedLayer, *, description: str) -> CachedStep:
        """Move a step's layer into the store, and add its record.

        description: the instruction, for lists of the cache.
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
        """Add a record with another key for the same layer."""
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


def key_of(*parts: object) -> str:
    """The digest of a sequence of JSON values."""
    from minidock.oci.digest import sha256

    return sha256(jsontext.dumps(parts).encode())


def cached_layers(store: Store) -> set[str]:
    """The chain IDs of all layers in the cache, also those that images reference.

    For the removal of other layers. Raises DamagedFile: the layer of a damaged record is unknown.
    """
    return {record["chain_id"] for _, record in records(store, strictly=True)}


def records(store: Store, *, strictly: bool = False) -> Iterator[tuple[str, CacheRecord]]:
    """All records: path and content, with "used", the time of the last use (seconds since 1970).

    Reports and skips damaged ones. strictly: raise DamagedFile instead.
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


def _read(path: str) -> CacheRecord | None:
    """A record with the time of its last use; None if it does not exist."""
    try:
        record: CacheRecord = document.read(path, SHAPE)
        record["used"] = os.stat(path).st_mtime
    except FileNotFoundError:
        return None
    return record
