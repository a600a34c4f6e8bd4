"""Filesystem contexts: configure a file system option by option before mounting it (Linux 5.2).

mount(2) takes all options in one string of at most a page, and has one errno for all mistakes.
A context takes them one at a time; the file system exists once `create` is called.

Sources: fsopen(2), fsconfig(2).
"""

from __future__ import annotations

import os

from minidock.kernel.libc import path_bytes, syscall

FSOPEN_CLOEXEC = 1
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6


def open_context(fstype: str) -> int:
    """Open a context for a file system of this type; returns its descriptor.

    Raises KernelError: ENODEV for a type that the kernel does not have, EPERM.
    """
    return syscall("fsopen", fstype.encode(), FSOPEN_CLOEXEC, subject=fstype)


def configure(context: int, key: str, value: str | None, *, subject: str, hint: str = "") -> None:
    """Set an option, with a value or, if that is None, as a flag.

    Raises KernelError EINVAL for an option that this type of file system does not know.
    """
    kind = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
    given = None if value is None else path_bytes(value)
    syscall("fsconfig", context, kind, path_bytes(key), given, 0, subject=subject, hint=hint)


def create(context: int, *, subject: str) -> None:
    """Create the file system as configured."""
    syscall("fsconfig", context, FSCONFIG_CMD_CREATE, None, None, 0, subject=subject)


def check_options(fstype: str, data: str) -> None:
    """Check that this type of file system knows these comma-separated options; creates nothing.

    Raises KernelError: EINVAL for an unknown option, EPERM without CAP_SYS_ADMIN.
    """
    context = open_context(fstype)
    try:
        for option in data.split(","):
            key, equals, value = option.partition("=")
            configure(context, key, value if equals else None, subject=f"{fstype} {option}")
    finally:
        os.close(context)
