"""RUN --mount: prepare the sources of mounts and add them to the container (see run_mount_flag.py).

Stages (overlayfs) and secrets (tmpfs) are mounted below the container's directory (mounts/<n>), and
bind-mounted from there into the container. Teardown of the container unmounts them.
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

    from minidock.document_types.host_config import HostConfig
    from minidock.engine.build.options import Secret
    from minidock.engine.build.run_mount_flag import Mount
    from minidock.engine.container.containers import Container
    from minidock.paths import Store


_POLL_SECONDS = 0.05
_SECRET_MAX_BYTES = 500 << 10  # as BuildKit


def load_secret(mount: Mount, secrets: dict[str, Secret]) -> bool:
    """Read the secret of a mount; returns whether --secret provided it.

    Raises DockerfileError if it is required and missing.
    """
    name = mount.options["id"]
    secret = secrets.get(name)
    if secret is None:
        if mount.options.get("required", "false") == "true":
            raise DockerfileError(
                f"secret {name}: not found", hint=f"pass it: --secret id={name},src=FILE"
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
    """Find or make the directory of a cache mount, and lock it according to its sharing mode.

    check_cancelled: called repeatedly while another step holds the lock. fill: copies the initial
    content into the directory.
    """
    name = key_of(cache_name(mount)).removeprefix("sha256:")
    base = f"{store.build_mounts}/{name[:32]}"
    os.makedirs(store.build_mounts, mode=0o700, exist_ok=True)
    sharing = mount.options.get("sharing", "shared")
    number = 0
    while not _try_lock(mount, directory := base if number == 0 else f"{base}-{number}", sharing):
        if sharing == "private":
            number += 1  # another step has locked that one
        else:
            check_cancelled()
            time.sleep(_POLL_SECONDS)
    mount.host_path = f"{directory}/data"
    if not os.path.isdir(mount.host_path):
        _make_cache(store, mount, directory, fill)
    os.utime(directory)


def cache_name(mount: Mount) -> str:
    """The identity of a cache: its id, by default its target."""
    return mount.options.get("id") or mount.target


def _make_cache(
    store: Store, mount: Mount, directory: str, fill: Callable[[str], None] | None
) -> None:
    """Make the directory of a cache under a temporary name, fill it, and rename it into place.

    Another step may do the same. rename(2) replaces an empty directory, and a step that has mounted
    that one would keep an unlinked directory. So each step checks under a lock before it renames.
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
    remove_tree(store, new_directory)  # another step made it first


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
    """Unlock the caches."""
    for mount in mounts:
        if mount.locked >= 0:
            os.close(mount.locked)
            mount.locked = -1


def host_config(mounts: list[Mount]) -> HostConfig:
    """The HostConfig fields for mounts that create handles: tmpfs."""
    tmpfs = {}
    for mount in mounts:
        if mount.kind == "tmpfs":
            size = f",size={mount.options['size']}" if mount.options.get("size") else ""
            tmpfs[mount.target] = f"exec,dev{size}"
    return {"Tmpfs": tmpfs} if tmpfs else {}


def mount_all(container: Container, mounts: list[Mount]) -> None:
    """Mount the sources, and add bind mounts to a container that is created, not started."""
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
    """Mount the content of a RUN --mount on the host; returns the path to bind-mount."""
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
    """Write a secret to a file on a tmpfs."""
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
    """Resolve a path inside a mounted stage, symbolic links as if it were "/"."""
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
