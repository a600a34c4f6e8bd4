"""The machine's null device: verified when it is opened.

A shell redirection or a broken package may have replaced it by a file or another device. A file
would collect a monitor's output, and become a command's input.

Source: null(4); open(2) O_NONBLOCK, without which a FIFO would not open.
"""

from __future__ import annotations

import os
import stat

from minidock.errors import MinidockError

NULL = os.makedev(1, 3)
_HINT = "`minidock doctor` shows how to fix it"


def open_null(access: int) -> int:
    """Open /dev/null, close-on-exec; returns the descriptor.

    access: such as os.O_RDONLY. Raises MinidockError if it is missing or another file.
    """
    try:
        null = os.open("/dev/null", access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise MinidockError(f"open(2) /dev/null: {error.strerror}", hint=_HINT) from None
    if device_of(null) != NULL:
        os.close(null)
        raise MinidockError("/dev/null of this machine is not the null device", hint=_HINT)
    os.set_blocking(null, True)
    return null


def device_of(descriptor: int) -> int:
    """Return the number of a character device; 0 for any other file."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return 0
    return status.st_rdev if stat.S_ISCHR(status.st_mode) else 0
