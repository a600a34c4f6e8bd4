"""Everything that minidock raises on purpose, in one tree, with Docker's exit codes.

    MinidockError              125  what went wrong, on what, and what to do about it
    ├── UsageError             125  a flag or argument that cannot be used as given
    │   └── BadName            125  a name that must not become part of a path
    ├── NotFound                 1  no such container, image, volume or network
    ├── Conflict                 1  taken, in use, or in the wrong state for this
    ├── ArchiveError             1  an image archive that is broken or hostile
    ├── RegistryError            1  a registry that refuses, breaks off, lies, or does not answer
    ├── StoreError               1  the store on disk cannot be read or written
    │   └── DamagedFile          1  a file of it is not what minidock wrote there
    ├── NotOurs                125  a path that minidock may not remove: it is not its own
    ├── OutputLost               1  our own stdout takes no more; the container goes on
    ├── LockTimeout            125  another process holds a lock, and does not let go
    ├── KernelError            125  the kernel refused a call
    ├── Aborted                125  who stepped through the making of a container gave it up
    ├── DeviceNotFound         127  a device of this machine that is to be given does not exist
    ├── CommandNotFound        127  the container's command does not exist
    └── CommandNotRunnable     126  it exists, and cannot be executed

The command line prints ``str(error)`` behind "minidock: ", then the hint. Where Docker's commands
differ, cli/ changes the code: `run` turns 1 into 125 (but not OutputLost's), `start -a` turns all
into 1, `exec` into 126.
"""

from __future__ import annotations

import errno
import os


def errno_name(number: int) -> str:
    """The kernel's name of an errno, such as 2 -> "ENOENT"."""
    return errno.errorcode.get(number, str(number))


class MinidockError(Exception):
    """What went wrong, on what; `hint` says what to do."""

    exit_code = 125

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(MinidockError):
    """A flag or argument that cannot be used as given."""


class BadName(UsageError):
    """A name from outside that must not become part of a path of the store."""


class NotOurs(MinidockError):
    """A path that was to be removed and is not below one of minidock's own directories."""


class NotFound(MinidockError):
    """No such container, image, volume or network."""

    exit_code = 1


class Conflict(MinidockError):
    """Taken, in use, or in the wrong state for what was asked."""

    exit_code = 1


class ArchiveError(MinidockError):
    """An image archive that is broken or hostile."""

    exit_code = 1


class RegistryError(MinidockError):
    """A registry that refuses, breaks off, lies, or does not answer."""

    exit_code = 1


class StoreError(MinidockError):
    """The store on disk cannot be read or written."""

    exit_code = 1


class OutputLost(MinidockError):
    """Our stdout or stderr takes no more; the container goes on, and its exit code is not known."""

    exit_code = 1

    def __init__(self, name: str, number: int) -> None:
        super().__init__(f"write {name}: {os.strerror(number).lower()}")
        self.errno = number


class DamagedFile(StoreError):
    """A file of the store, or of /run, that is not what minidock wrote there.

    path: the file. why: what is wrong with it, such as "it is empty".
    """

    def __init__(self, path: str, why: str, *, hint: str = "") -> None:
        super().__init__(f"{path} is damaged: {why}", hint=hint or REPAIR)
        self.path = path
        self.why = why


REPAIR = "`minidock system check --repair` sets it aside, in damaged/ of the store"


class LockTimeout(MinidockError):
    """Another process has held a lock for too long; the message names it."""


class KernelError(MinidockError):
    """The kernel refused a call.

    call: the call as its man page names it, such as "pivot_root(2)".
    subject: what it was done to: a path, a device, a pid.
    number: the errno.
    """

    def __init__(self, call: str, subject: str, number: int, *, hint: str = "") -> None:
        text = f"{call} {subject}: {os.strerror(number)} ({errno_name(number)})"
        super().__init__(text, hint=hint)
        self.call = call
        self.subject = subject
        self.errno = number


class Aborted(MinidockError):
    """Who stepped through the making of a container gave it up: it is unmade."""


class DeviceNotFound(MinidockError):
    """A device of this machine that a container is to get does not exist; in `run`, as Docker's."""

    exit_code = 127


class SourceNotFound(MinidockError):
    """What is to be mounted into a container does not exist; in `run`, as Docker's."""

    exit_code = 127


class CommandNotFound(MinidockError):
    """The container's command does not exist in its rootfs."""

    exit_code = 127


class CommandNotRunnable(MinidockError):
    """The container's command exists, and cannot be executed."""

    exit_code = 126


_ROOM = {28, 122}  # ENOSPC, EDQUOT
_OF_MACHINE = {errno.EROFS, errno.EMFILE, errno.ENFILE}


def system_error(error: OSError) -> MinidockError:
    """What the system refused, as a sentence: a full disk, one that is read-only or broken."""
    named = isinstance(error.filename, (str, bytes)) and error.filename  # or it is a descriptor
    subject = f"{os.fsdecode(error.filename)}: " if named else ""
    hint = ""
    if error.errno in _ROOM:
        hint = "make room on the disk: rm containers, rmi images\n`minidock doctor` tells where"
    elif error.errno in _OF_MACHINE:
        hint = "`minidock doctor` tells what this machine does not allow, and what to do"
    return StoreError(f"{subject}{error.strerror or error}", hint=hint)


def as_ours(error: BaseException) -> MinidockError:
    """Any error, as one that another process can be told of."""
    if isinstance(error, MinidockError):
        return error
    if isinstance(error, OSError):
        return system_error(error)
    return MinidockError(f"{type(error).__name__}: {error}")
