"""The digest of a stream, reckoned by a second thread while the first one reads.

OpenSSL's sha256 lets go of the interpreter while it works, so the two use two processors. A short
stream is not worth a thread: it is hashed when somebody asks for its digest.
"""

from __future__ import annotations

import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queue import Queue
    from threading import Thread

_BATCH_BYTES = 1 << 20
_BATCHES_WAITING_MAX = 8  # so that a slow hash slows the reader down, and memory stays flat


class StreamHash:
    """sha256 of all that `update` is given; `digest` ends it, and so does `close`."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._queue: Queue[list[bytes] | None] | None = None
        self._thread: Thread | None = None

    def update(self, content: bytes) -> None:
        """Take the stream's next bytes."""
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
        """Let the thread end; nothing happens the second time."""
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
