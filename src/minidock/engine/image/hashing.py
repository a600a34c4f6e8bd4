"""Hash a stream in a second thread while the first one reads.

hashlib releases the GIL while it hashes, so the two threads use two CPUs. A short stream needs no
thread: it is hashed in `digest`.
"""

from __future__ import annotations

import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queue import Queue
    from threading import Thread

_BATCH_BYTES = 1 << 20
_BATCHES_WAITING_MAX = 8  # bounds memory: a slow hash slows the reader down


class StreamHash:
    """The SHA-256 of all data passed to `update`; ended by `digest` or `close`."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._queue: Queue[list[bytes] | None] | None = None
        self._thread: Thread | None = None

    def update(self, content: bytes) -> None:
        """Add the stream's next bytes."""
        self._pending.append(content)
        self._pending_bytes += len(content)
        if self._pending_bytes >= _BATCH_BYTES:
            self._enqueue()

    def digest(self) -> str:
        """ "sha256:<hex>" of the whole stream."""
        self.close()
        for content in self._pending:
            self._hash.update(content)
        self._pending.clear()
        return f"sha256:{self._hash.hexdigest()}"

    def close(self) -> None:
        """End the thread. Idempotent."""
        if self._queue is not None and self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._queue = self._thread = None

    def _enqueue(self) -> None:
        if self._queue is None:
            from queue import Queue
            from threading import Thread

            self._queue = Queue(_BATCHES_WAITING_MAX)
            self._thread = Thread(target=self._hash_batches, args=(self._queue,), daemon=True)
            self._thread.start()
        self._queue.put(self._pending)
        self._pending = []
        self._pending_bytes = 0

    def _hash_batches(self, queue: Queue[list[bytes] | None]) -> None:
        while (batch := queue.get()) is not None:
            for content in batch:
                self._hash.update(content)
