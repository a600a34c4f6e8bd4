"""inotify: wait for changes in directories.

These functions change nothing, so they are not ops.

Source: inotify(7).
"""

from __future__ import annotations

import os
import struct
from errno import ENOENT, ENOSPC

from minidock.errors import KernelError
from minidock.kernel.libc import path_bytes, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

IN_ATTRIB = 0x4
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000
ENTRIES = IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE

_EVENT = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, len; then a name
_BUFFER_BYTES = 1 << 16


class Inotify:
    """`with Inotify() as changes:` a queue of events in the watched directories."""

    def __enter__(self) -> Inotify:
        self.fd = syscall("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK, subject="inotify")
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)

    def watch(self, directory_fd: int) -> int:
        """Watch the entries of an open directory; returns the watch descriptor.

        Raises KernelError: ENOSPC at the limit of watches. Source: inotify_add_watch(2).
        """
        path = f"/proc/self/fd/{directory_fd}/."
        mask = ENTRIES | IN_DELETE_SELF | IN_ONLYDIR
        try:
            return syscall("inotify_add_watch", self.fd, path_bytes(path), mask, subject=path)
        except KernelError as error:
            if error.errno == ENOSPC:
                hint = "too many watches: sysctl -w fs.inotify.max_user_watches=524288"
                raise KernelError("inotify_add_watch(2)", path, ENOSPC, hint=hint) from None
            raise

    def read(self) -> Iterator[tuple[int, int]]:
        """Yield the queued events: (watch descriptor, mask); none if the queue is empty."""
        try:
            data = os.read(self.fd, _BUFFER_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, at)
            yield number, mask
            at += _EVENT.size + length


def is_gone(error: KernelError) -> bool:
    """Whether a directory could not be watched because it was removed meanwhile."""
    return error.errno == ENOENT
