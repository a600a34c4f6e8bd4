"""RUN --mount: what is mounted for a command, and how it comes there (mounts.py has the words).

A stage and a secret are mounted below the container's own directory (mounts/<n>), and bound from
there to their places: what ends a container unmounts them.
"""

from __future__ import annotations

import fcntl
import os
import posixpath
import time

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.image.build_cache import key_of
from minidock.engine.store.journal import recording_to
from minidock.engine.store.locks import exclusive
from minidock.engine.store.tree_removal import remove_tree
from minidock.errors import KernelError
from minidock.kernel.mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount_filesystem
from minidock.kernel.overlay import mount_overlay
from minidock.kernel.path import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minidock.engine.build.mounts import Mount
    from minidock.engine.build.options import Secret
    from minidock.engine.container.containers import Container
    from minidock.paths import Store


_POLL_SECONDS = 0.05
_SECRET_MAX_BYTES = 500 << 10  # as BuildKit


def load_secret(mount: Mount, secrets: dict[str, Secret]) -> bool:
    """Read the secret that a mount is about; returns whether there is one.

    Raises DockerfileError where it is required and was not given.
    """
    name = mount.options["id"]
    secret = secrets.get(name)
    if secret is None:
        if mount.options.get("required", "false") == "true":
            raise DockerfileError(
                f"secret {name}: not found", hint=f"give it: --secret id={name},src=FILE"
            )
        return False
    if secret.variable:
        mount.content = os.environb.get(os.fsencode(secret.variable), b"")
        return True
    try:
        with open(secret.path, "rb") as file:
            mount.content = file.read(_SECRET_MAX_BYTES + 1)
    except OSError as error:
        raise DockerfileError(f"secret {name}: {secret.path}: {error.strerror}") from None
    if len(mount.content) > _SECRET_MAX_BYTES:
        raise DockerfileError(f"secret {name}: {secret.path} is larger than 500 KiB")
    return True


def acquire_cache(
    mount: Mount,
    store: Store,
    *,
    check_cancelled: Callable[[], None],
    fill: Callable[[str], None] | None = None,
) -> None:
    """Find or make the directory of a cache mount, and hold it as its sharing says.

    check_cancelled: called again and again while it waits for another step. fill: copies what the
    directory begins with into it.
    """
    name = key_of(cache_name(mount)).removeprefix("sha256:")
    base = f"{store.build_mounts}/{name[:32]}"
    os.makedirs(store.build_mounts, mode=0o700, exist_ok=True)
    sharing = mount.options.get("sharing", "shared")
    number = 0
    while not _try_lock(mount, directory := base if number == 0 else f"{base}-{number}", sharing):
        if sharing == "private":
            number += 1  # another step has that one just now
        else:
            check_cancelled()
            time.sleep(_POLL_SECONDS)
    mount.host_path = f"{directory}/data"
    if not os.path.isdir(mount.host_path):
        _make_cache(store, mount, directory, fill)
    os.utime(directory)


def cache_name(mount: Mount) -> str:
    """What tells one cache from another: its id, or its place."""
    return mount.options.get("id") or mount.target


def _make_cache(
    store: Store, mount: Mount, directory: str, fill: Callable[[str], None] | None
) -> None:
    """Make a cache's directory, beside its place first: it appears with all that is in it.

    Another step may be doing the same. rename(2) puts a directory in the place of an empty one, and
    whoever has mounted that goes on with a directory that nobody else sees: so each looks again.
    """
    new_directory = f"{directory}/new-{os.urandom(8).hex()}"
    os.mkdir(new_directory)
    os.chown(new_directory, mount.number("uid", 0), mount.number("gid", 0))
    os.chmod(new_directory, mount.number("mode", 0o755, 8))
    if fill is not None:
        fill(new_directory)
    with exclusive(f"{directory}/new.lock"):
        if not os.path.isdir(mount.host_path):
            os.rename(new_directory, mount.host_path)
            return
    remove_tree(store, new_directory)  # another step was faster


def _try_lock(mount: Mount, directory: str, sharing: str) -> bool:
    os.makedirs(directory, mode=0o700, exist_ok=True)
    lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    operation = fcntl.LOCK_SH if sharing == "shared" else fcntl.LOCK_EX
    try:
        fcntl.flock(lock, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    mount.locked = lock
    return True


def release(mounts: list[Mount]) -> None:
    """Let others have the caches."""
    for mount in mounts:
        if mount.locked >= 0:
            os.close(mount.locked)
            mount.locked = -1


def host_config(mounts: list[Mount]) -> dict[str, Any]:
    """What a container's HostConfig says of them before it is there: memory and caches."""
    tmpfs = {}
    for mount in mounts:
        if mount.kind == "tmpfs":
            size = f",size={mount.options['size']}" if mount.options.get("size") else ""
            tmpfs[mount.target] = f"exec,dev{size}"
    return {"Tmpfs": tmpfs} if tmpfs else {}


def mount_all(container: Container, mounts: list[Mount]) -> None:
    """Mount what is to be bound into a container that is made and has not started yet."""
    points = container.document["Mounts"]
    bound = [mount for mount in mounts if mount.kind != "tmpfs"]
    if not bound:
        return
    os.makedirs(container.paths.mounts, mode=0o711, exist_ok=True)
    with recording_to(container.paths):
        for number, mount in enumerate(bound):
            source = _prepare(f"{container.paths.mounts}/{number}", mount)
            points.append({
                "Type": "bind", "Source": source, "Destination": mount.target, "Mode": "",
                "RW": mount.writable, "Propagation": "rprivate", "CreateSource": False,
            })  # fmt: skip
    container.save()


def _prepare(mount_point: str, mount: Mount) -> str:
    """Put a mount's content somewhere on the host; returns the path to bind."""
    if mount.kind == "cache":
        return mount.host_path
    os.mkdir(mount_point, 0o711)
    if mount.kind == "secret":
        return _secret_file(mount_point, mount)
    os.makedirs(f"{mount.scratch}/upper", exist_ok=True)
    os.makedirs(f"{mount.scratch}/work", exist_ok=True)
    os.makedirs(f"{mount.scratch}/nothing", exist_ok=True)
    lowerdirs = [*reversed(mount.lowers), *([] if mount.lowers else [f"{mount.scratch}/nothing"])]
    mount_overlay(lowerdirs, f"{mount.scratch}/upper", f"{mount.scratch}/work", mount_point)
    return _resolve_in_root(mount_point, mount.source)


def _secret_file(mount_point: str, mount: Mount) -> str:
    """A secret, in a file of a file system in memory."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    parent, name = posixpath.split(mount_point)
    mount_filesystem("secret", parent, f"/{name}", "tmpfs", flags=flags, data="mode=0711")
    path = f"{mount_point}/secret"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with open(fd, "wb") as file:
        file.write(mount.content or b"")
        os.fchown(fd, mount.number("uid", 0), mount.number("gid", 0))
        os.fchmod(fd, mount.number("mode", 0o400, 8))
    return path


def _resolve_in_root(root: str, path: str) -> str:
    """A path inside a mounted stage, links resolved as if it were "/"."""
    if not path:
        return root
    try:
        fd = open_in_root(root, "/" + path)
    except KernelError:
        raise DockerfileError(
            f'failed to calculate checksum of the mount\'s source: "/{path}": not found'
        ) from None
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
