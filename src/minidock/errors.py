"""The exceptions of minidock, with Docker's exit codes.

    MinidockError              125  what went wrong, on what, and what to do about it
    ├── UsageError             125  an invalid flag or argument
    │   └── BadName            125  a name that must not become part of a path
    ├── NotFound                 1  no such container, image, volume or network
    │   └── ImageNotFound        1  no such image; `run` and `create` pull it
    ├── Conflict                 1  a name, port or address is taken, or the state is wrong for this
    │   └── NameInUse            1  another container has this name
    ├── ArchiveError             1  a broken or malicious image archive
    ├── RegistryError            1  a registry refuses, does not answer, or sends invalid data
    ├── StoreError               1  the store on disk cannot be read or written
    │   └── DamagedFile          1  a file of the store has invalid content
    ├── NotOurs                125  a path to be removed is outside of minidock's directories
    ├── OutputLost               1  stdout or stderr is not writable; the container continues
    ├── LockTimeout            125  another process does not release a lock
    ├── KernelError            125  the kernel refused a system call
    ├── Aborted                125  the user aborted `run --step`
    ├── DeviceNotFound         127  a host device for the container does not exist
    ├── SourceNotFound         127  the source of a bind mount does not exist
    ├── CommandNotFound        127  the container's command does not exist
    └── CommandNotRunnable     126  the container's command exists, but is not executable

Errors of single modules derive from these; the class statement names the base.

The command line prints ``str(error)`` behind "minidock: ", then the hint. Where Docker's commands
differ, cli/ changes the exit code: `run` turns 1 into 125 (except for OutputLost), `start -a` turns
all into 1, `exec` into 126.
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
    """An invalid flag or argument."""


class BadName(UsageError):
    """A name from outside that must not become part of a path of the store."""


class NotOurs(MinidockError):
    """A path to be removed is not below one of minidock's own directories."""


class NotFound(MinidockError):
    """No such container, image, volume or network."""

    exit_code = 1


class ImageNotFound(NotFound):
    """No such image in the store."""


class Conflict(MinidockError):
    """A name, port or address is taken, or an object is in the wrong state for this operation."""

    exit_code = 1


class NameInUse(Conflict):
    """Another container has this name."""


class ArchiveError(MinidockError):
    """A broken or malicious image archive."""

    exit_code = 1


class RegistryError(MinidockError):
    """A registry refuses, does not answer, or sends invalid data."""

    exit_code = 1


class StoreError(MinidockError):
    """The store on disk cannot be read or written."""

    exit_code = 1


class OutputLost(MinidockError):
    """Our stdout or stderr is not writable; the container continues, its exit code is unknown."""

    exit_code = 1

    def __init__(self, name: str, number: int) -> None:
        super().__init__(f"write {name}: {os.strerror(number).lower()}")
        self.errno = number


class DamagedFile(StoreError):
    """A file of the store, or of /run, has invalid content.

    path: the file. why: what is wrong with it, such as "it is empty".
    """

    def __init__(self, path: str, why: str, *, hint: str = "") -> None:
        super().__init__(f"{path} is damaged: {why}", hint=hint or REPAIR)
        self.path = path
        self.why = why


REPAIR = "`minidock system check --repair` sets it aside, in damaged/ of the store"


class LockTimeout(MinidockError):
    """Another process does not release a lock; the message names it."""


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
    """The user aborted `run --step`; the container was torn down."""


class DeviceNotFound(MinidockError):
    """A host device for the container does not exist."""

    exit_code = 127


class SourceNotFound(MinidockError):
    """The source of a bind mount does not exist."""

    exit_code = 127


class CommandNotFound(MinidockError):
    """The container's command does not exist in its rootfs."""

    exit_code = 127


class CommandNotRunnable(MinidockError):
    """The container's command exists, but is not executable."""

    exit_code = 126


_ROOM = {errno.ENOSPC, errno.EDQUOT}
_OF_MACHINE = {errno.EROFS, errno.EMFILE, errno.ENFILE}


def system_error(error: OSError) -> MinidockError:
    """Convert an OSError (a full, read-only or broken disk) to a MinidockError with a hint."""
    named = isinstance(error.filename, (str, bytes)) and error.filename
    subject = f"{os.fsdecode(error.filename)}: " if named else ""
    hint = ""
    if error.errno in _ROOM:
        hint = "make room on the disk: rm containers, rmi images\n`minidock doctor` shows where"
    elif error.errno in _OF_MACHINE:
        hint = "`minidock doctor` shows what this machine does not allow, and what to do"
    return StoreError(f"{subject}{error.strerror or error}", hint=hint)


def as_ours(error: BaseException) -> MinidockError:
    """Convert any exception to a MinidockError, which can be sent to another process."""
    if isinstance(error, MinidockError):
        return error
    if isinstance(error, OSError):
        return system_error(error)
    return MinidockError(f"{type(error).__name__}: {error}")
