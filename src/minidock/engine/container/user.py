"""The user of the command: -u, resolved by the container's own /etc/passwd and /etc/group.

The C library's getpwnam would load NSS modules, of the host or the image, into a privileged
process. So the two files are parsed here, by paths that are resolved in the rootfs.

Source: passwd(5), group(5); moby's libcontainer/user for the forms of -u (facts).
"""

from __future__ import annotations

import os
import stat

from minidock.errors import KernelError, UsageError
from minidock.kernel.path import open_in_root
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.document_types.runtime_spec import User

_MAXIMUM_BYTES = 10 * 1024 * 1024


def resolve_user(rootfs: str, text: str, group_add: list[str]) -> tuple[User, str]:
    """Resolve a -u value to OCI's user {uid, gid, additionalGids} and the home directory.

    text: "", "name", "uid", "name:group", "uid:gid". group_add: names or numbers.
    Raises UsageError for a name that the image does not have.
    """
    return resolve_user_by(lambda path: open_in_root(rootfs, path), text, group_add)


def resolve_user_by(
    open_path: Callable[[str], int], text: str, group_add: list[str]
) -> tuple[User, str]:
    """Like `resolve_user`, for a root file system that is not mounted.

    open_path: returns an O_PATH descriptor of a file in it, or raises KernelError.
    """
    name, _, group = text.partition(":")
    name = name or "0"
    entry = _passwd_entry(open_path, name)
    if entry is None and not is_decimal(name):
        raise UsageError(
            f"unable to find user {name}: no matching entries in passwd file",
            hint="give a number, or a user that the image has in /etc/passwd",
        )
    uid = int(entry[2]) if entry else int(name)
    gid = int(entry[3]) if entry else 0
    groups = _read(open_path, "/etc/group", 4)
    if group:
        gid = _group_id(groups, group)
    member = entry[0] if entry and not group else None
    additional = _additional_gids(groups, member, group_add)
    if gid not in additional:  # or files that deny just this group would open (CVE-2022-36109)
        additional.insert(0, gid)
    for number in (uid, *additional):
        if not 0 <= number < 2**31:
            raise UsageError("uids and gids must be in range 0-2147483647", hint=f"not {number}")
    user: User = {"uid": uid, "gid": gid, "additionalGids": additional}
    return user, entry[5] if entry and entry[5] else "/"


def _passwd_entry(open_path: Callable[[str], int], name: str) -> list[str] | None:
    """Find a user by name; a number is always a uid, even if a user has that name."""
    number = int(name) if is_decimal(name) else -1
    for entry in _read(open_path, "/etc/passwd", 7):
        if int(entry[2]) == number or (number < 0 and entry[0] == name):
            return entry
    return None


def _additional_gids(
    groups: list[list[str]], member: str | None, group_add: list[str]
) -> list[int]:
    """The groups that list a user as a member, and those of --group-add.

    member: None if the group of -u replaces the user's groups in /etc/group.
    """
    additional = [int(g[2]) for g in groups if member is not None and member in g[3].split(",")]
    for wanted in group_add:
        number = _group_id(groups, wanted)
        if number not in additional:
            additional.append(number)
    return additional


def _group_id(groups: list[list[str]], wanted: str) -> int:
    if is_decimal(wanted):
        return int(wanted)
    for group in groups:
        if group[0] == wanted:
            return int(group[2])
    raise UsageError(
        f"unable to find group {wanted}: no matching entries in group file",
        hint="give a number, or a group that the image has in /etc/group",
    )


def _read(open_path: Callable[[str], int], path: str, fields: int) -> list[list[str]]:
    """Read the file's well-formed lines, split into fields; empty if it is not a regular file."""
    try:
        place = open_path(path)
    except KernelError:
        return []
    try:
        # Opening a FIFO can block for ever, and opening a device can have effects, such as starting
        # a watchdog. So an O_PATH descriptor, which opens nothing, is checked first.
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return []
        fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
    with open(fd, "rb") as file:
        text = file.read(_MAXIMUM_BYTES).decode("utf-8", "replace")
    lines = [line.strip().split(":") for line in text.splitlines()]
    numbers = (2, 3) if fields == 7 else (2,)
    return [
        parts
        for parts in lines
        if len(parts) == fields and all(is_decimal(parts[index]) for index in numbers)
    ]
