"""Session keyrings: the keys that the kernel stores for a process.

No namespace isolates keys. A process inherits its parent's session keyring, so a container would
have the keys (Kerberos tickets, file system keys) of the user who started it; it gets an empty one.

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

# The kernel's default permissions of a session keyring (possessor: all; owner: view, read, link),
# plus search for the owner, so that exec finds the container's keyring by its name.
_PERMISSIONS = 0x3F000000 | 0x00130000 | 0x00080000


def _join_session_keyring_sh(name: str) -> str:
    session = f"exec keyctl session {quote(name)} sh +m"
    return f"if command -v keyctl > /dev/null; then {session}; fi"


@op("keyctl(2)", twin=_join_session_keyring_sh)
def join_session_keyring(name: str) -> int | str:
    """Join an empty session keyring instead of the host's, whose keys the container could use.

    Without it: the container has the keyring of the user who started it, with its keys: no
    namespace isolates them.

    name: an existing keyring of this name and user is joined instead.
    Returns its serial number; "absent" if the kernel has no keys.
    Raises KernelError: EDQUOT at the limit of the user's keys.
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
    """Return the serial number of this process's session keyring; changes nothing.

    Raises KernelError: EPERM if a seccomp filter forbids the call, ENOSYS in a kernel without keys.
    """
    return syscall("keyctl", KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)
