"""Session keyrings: where the kernel keeps the keys that a process may use.

Keys are in no namespace. A process inherits its parent's session keyring, so a container would
find the keys (Kerberos tickets, file system keys) of whoever started it; it gets an empty one.

Sources: keyrings(7), session-keyring(7), keyctl(2).
"""

from __future__ import annotations

from errno import ENOSYS

from minidock.errors import KernelError
from minidock.kernel.libc import path_bytes, syscall
from minidock.kernel.op import op, quote

KEYCTL_GET_KEYRING_ID = 0
KEYCTL_JOIN_SESSION_KEYRING = 1
KEYCTL_SETPERM = 5
KEY_SPEC_SESSION_KEYRING = -3

# What the kernel gives a new session keyring (its possessor all; its owner view, read and link),
# and search for the owner, so that exec finds the container's keyring by its name.
_PERMISSIONS = 0x3F000000 | 0x00130000 | 0x00080000


def _join_session_keyring_sh(name: str) -> str:
    session = f"exec keyctl session {quote(name)} sh +m"
    return f"if command -v keyctl > /dev/null; then {session}; fi"


@op("keyctl(2)", twin=_join_session_keyring_sh)
def join_session_keyring(name: str) -> int | str:
    """Take an empty keyring in place of the host's, whose keys the container could use.

    Without it: the container has the keyring of whoever started it, with its tickets and disk keys:
    no namespace of a container divides keys.

    name: an existing keyring of this name, made by the same user, is joined instead.
    Returns its serial number; "absent" where the kernel has no keys at all.
    Raises KernelError: EDQUOT at the limit of root's keys.
    """
    try:
        serial = syscall("keyctl", KEYCTL_JOIN_SESSION_KEYRING, path_bytes(name), subject=name)
        syscall("keyctl", KEYCTL_SETPERM, serial, _PERMISSIONS, subject=name)
    except KernelError as error:
        if error.errno == ENOSYS:
            return "absent"
        raise
    return serial


def find_session_keyring() -> int:
    """The serial number of this process's session keyring; nothing is changed.

    Raises KernelError: EPERM where a filter forbids the call, ENOSYS in a kernel without keys.
    """
    return syscall("keyctl", KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)
