"""A file system that is configured before it is mounted, option by option (Linux 5.2).

mount(2) has one string for all options, of at most a page, and one errno for all that may be wrong.
A context takes them one at a time, and is nothing until it is told to become a file system.

Sources: fsopen(2), fsconfig(2).
"""

from __future__ import annotations

import os

from minidock.kernel.libc import path_bytes, syscall

FSOPEN_CLOEXEC = 1
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6


def open_context(fstype: str) -> int:
    """A descriptor of a file system of this kind that is yet to be made.

    Raises KernelError: ENODEV for a kind that the kernel does not have, EPERM.
    """
    return syscall("fsopen", fstype.encode(), FSOPEN_CLOEXEC, subject=fstype)


def configure(context: int, key: str, value: str | None, *, subject: str, hint: str = "") -> None:
    """Give it an option, with a value or, where that is None, without.

    Raises KernelError EINVAL for what this kind of file system does not know.
    """
    kind = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
    given = None if value is None else path_bytes(value)
    syscall("fsconfig", context, kind, path_bytes(key), given, 0, subject=subject, hint=hint)


def create(context: int, *, subject: str) -> None:
    """Make the file system, as it was configured."""
    syscall("fsconfig", context, FSCONFIG_CMD_CREATE, None, None, 0, subject=subject)


def check_options(fstype: str, data: str) -> None:
    """Whether this kind of file system knows these options, comma-separated; nothing is made.

    Raises KernelError: EINVAL for one that it does not know, EPERM where only root may ask.
    """
    context = open_context(fstype)
    try:
        for option in data.split(","):
            key, equals, value = option.partition("=")
            configure(context, key, value if equals else None, subject=f"{fstype} {option}")
    finally:
        os.close(context)
