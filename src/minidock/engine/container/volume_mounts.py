"""Volumes with mount options, which are mounted while a container uses them.

    volume create -o type=tmpfs -o device=tmpfs -o o=size=100m,uid=1000 scratch
    volume create -o type=none  -o device=/srv/data -o o=bind           data
    volume create -o type=nfs   -o device=:/export  -o o=addr=10.0.0.2  share

`volume create` only records the options. The first container that starts with such a volume mounts
it at the volume's _data, for later containers too; it is unmounted when the last one ends. Its
users are recorded in /run, which a reboot clears, like mounts:

    /run/minidock/volumes/<name>/<container id>     an empty file

So `release_volumes` finds what a killed run has left. An NFS server must be given by its address:
names are not resolved here.

Source: mount(2); docs.docker.com, "docker volume create", driver-specific options.
"""

from __future__ import annotations

import os

from minidock.engine.store.locks import exclusive
from minidock.errors import KernelError, MinidockError, SourceNotFound, UsageError
from minidock.kernel.mount import (
    MNT_DETACH,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    bind_mount,
    mount_filesystem,
    set_mount_attributes,
    unmount,
)
from minidock.kernel.mountinfo import is_mount_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store

_KNOWN = ("type", "device", "o")
_ENOENT = 2
_ATTRIBUTES = {
    MS_RDONLY: MOUNT_ATTR_RDONLY, MS_NOSUID: MOUNT_ATTR_NOSUID, MS_NODEV: MOUNT_ATTR_NODEV,
    MS_NOEXEC: MOUNT_ATTR_NOEXEC, MS_NOATIME: MOUNT_ATTR_NOATIME,
}  # fmt: skip


def check_options(name: str, options: dict[str, str]) -> None:
    """Raise UsageError for options that do not describe a mount, with Docker's message."""
    for option in options:
        if option == "size":
            raise UsageError(
                f"create {name}: quota size requested but no quota support",
                hint="a size is for a tmpfs: -o type=tmpfs -o device=tmpfs -o o=size=100m",
            )
        if option not in _KNOWN:
            raise UsageError(
                f'create {name}: invalid option: "{option}"',
                hint="the options are type, device and o",
            )
    if options and not options.get("device"):
        raise UsageError(
            f'create {name}: missing required option: "device"',
            hint="for a tmpfs it is device=tmpfs; for o=bind, a directory of this machine",
        )
    if options and not (options.get("type") or _flags(name, options) & MS_BIND):
        raise UsageError(f'create {name}: missing required option: "type"')


def mount_for_container(
    store: Store, container_id: str, name: str, options: dict[str, str]
) -> None:
    """Mount a volume, and record that a container uses it.

    Raises the errors of `show`; nothing is recorded then.
    """
    users = store.volume_users(name)
    with exclusive(f"{store.volumes}/.lock"):
        os.makedirs(users, mode=0o711, exist_ok=True)
        flags = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC
        os.close(os.open(f"{users}/{container_id}", flags, 0o600))
        try:
            mount_volume(store, name, options)
        except BaseException:
            _drop(store, container_id, name)
            raise


def mount_volume(store: Store, name: str, options: dict[str, str]) -> None:
    """Mount a volume at its _data, unless it is mounted.

    Raises MinidockError with the kernel's error; SourceNotFound if the device is missing.
    """
    home = store.volume(name)
    if is_mount_point(f"{home}/_data"):
        return
    flags = _flags(name, options)
    try:
        if flags & MS_BIND:
            bind_mount(options["device"], home, "/_data", recursive=bool(flags & MS_REC))
            attributes = sum(bit for flag, bit in _ATTRIBUTES.items() if flags & flag)
            if attributes:
                set_mount_attributes(home, "/_data", attributes=attributes, recursive=False)
        else:
            mount_filesystem(
                options["device"], home, "/_data", options["type"],
                flags=flags, data=",".join(_words(name, options).data),
            )  # fmt: skip
    except KernelError as error:
        kind = SourceNotFound if error.errno == _ENOENT else MinidockError
        raise kind(
            f"error while mounting volume '{name}': {error}",
            hint=f"minidock volume inspect {name}     shows its options",
        ) from None


def release_volumes(store: Store, container_id: str) -> None:
    """Record that a container no longer uses any volume; unmount those that are unused now."""
    try:
        names = os.listdir(f"{store.run}/volumes")
    except FileNotFoundError:
        return
    for name in names:
        if os.path.exists(f"{store.volume_users(name)}/{container_id}"):
            with exclusive(f"{store.volumes}/.lock"):
                _drop(store, container_id, name)


def users_of(store: Store) -> dict[str, set[str]]:
    """Return the mounted volumes by name, with the ids of the containers that use them."""
    users = f"{store.run}/volumes"
    names = os.listdir(users) if os.path.isdir(users) else []
    return {name: set(os.listdir(f"{users}/{name}")) for name in names}


def _drop(store: Store, container_id: str, name: str) -> None:
    """Unmount a volume whose last user has ended. The caller holds the volumes' lock."""
    users = store.volume_users(name)
    if os.listdir(users) == [container_id]:
        unmount(f"{store.volume(name)}/_data", MNT_DETACH)
    os.unlink(f"{users}/{container_id}")
    for directory in (users, f"{store.run}/volumes"):
        try:
            os.rmdir(directory)
        except OSError:
            return  # not a mount of this volume


def _flags(name: str, options: dict[str, str]) -> int:
    return _words(name, options).flags


def _words(name: str, options: dict[str, str]) -> MountOptions:
    from minidock.runtime.rootfs import parse_options

    words = [word for word in options.get("o", "").split(",") if word]
    return parse_options(words, subject=f"volume {name}")


if TYPE_CHECKING:
    from minidock.runtime.rootfs import MountOptions
