"""A container's own layer, which takes its writes: the upper layer of its overlay.

    <id>/upper, work         directories of the store, by default

With --storage-opt size= it lies in a file of that size, and holds no more:

    <id>/disk                the file, with an ext4 file system in it; sparse
         space/              its mount point while the container runs
         upper -> space/upper,  work -> space/work

`df /` in the container then shows that size, and a write that does not fit fails with ENOSPC, in
that container only. Files that are removed give their room back to the store's disk ("discard").

While the container does not run, the file is not mounted. A command that reads the layer (diff,
commit, export, ps -s) mounts it in a mount namespace of its own, which goes with the command.

The file system is made by e2fsprogs' mkfs.ext4. Sources: overlayfs.rst; loop(4), mkfs.ext4(8);
docs.docker.com, "docker run --storage-opt".
"""

from __future__ import annotations

import os

from minidock.engine.image.images import ImageStore
from minidock.engine.store.journal import recording_to
from minidock.engine.store.locks import exclusive
from minidock.errors import MinidockError, UsageError
from minidock.kernel.mountinfo import mount_point_of
from minidock.numerals import decimal_fraction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.host_config import HostConfig
    from minidock.engine.container.containers import Container
    from minidock.paths import ContainerPaths

SMALLEST_BYTES = 4 << 20
_unshared = False


def layers_of(container: Container) -> tuple[list[str], str, str]:
    """Its image's layers, lowest first, its own upperdir, and the workdir beside that.

    A build's RUN step uses layers that are not an image yet, and writes into the build's
    staging. Raises NotFound where the image was removed, DamagedFile where a layer of it is
    missing.
    """
    if build := container.document.get("Build"):
        return list(build["Lowers"]), build["Upper"], build["Work"]
    image = ImageStore(container.store).resolve(container.document["Image"])
    paths = container.paths  # links, where the layer is in a file
    return image.present_layers(), os.path.realpath(paths.upper), os.path.realpath(paths.work)


def create_own_layer(container: Container) -> None:
    """Create the directories, or the file, of a new container.

    Raises MinidockError where a file is asked for and cannot be made here.
    """
    paths = container.paths
    if has_quota(container):
        _create_quota_disk(paths, size_of(container.host_config))
        return
    for directory in (paths.upper, paths.work):
        os.mkdir(directory, 0o755)
    if "Build" not in container.document:
        _create_dockerenv(container, paths.upper)


def mount_own_layer(container: Container) -> None:
    """Mount the layer where it is in a file, unless it is mounted."""
    if has_quota(container):
        mount_quota_disk(container)


def _create_dockerenv(container: Container, upper: str) -> None:
    """Create an empty /.dockerenv in a container's own layer, by which programs detect a container.

    `diff` does not list it (image/upper.py, INIT_FILES)."""
    image = container.document["GraphDriver"]["Data"]["LowerDir"].split(":")
    if not any(os.path.lexists(f"{layer}/.dockerenv") for layer in image):
        os.close(os.open(f"{upper}/.dockerenv", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755))


def size_of(host_config: HostConfig) -> int:
    """Return the requested size in bytes; 0 for no limit.

    Raises UsageError for another option or an invalid size, with Docker's message.
    """
    options = host_config.get("StorageOpt") or {}
    for name in options:
        if name != "size":
            raise InvalidStorageOption(
                f"Unknown option {name}",
                hint="the only supported option is size, as in --storage-opt size=1g",
            )
    if not options:
        return 0
    try:
        size = _bytes(str(options["size"]))
    except ValueError:
        raise InvalidStorageOption(
            f"invalid size: '{options['size']}'", hint="a number and a unit: 500m, 10g"
        ) from None
    if size < SMALLEST_BYTES:
        raise InvalidStorageOption(
            f"--storage-opt size={options['size']} is too small for a file system",
            hint=f"the minimum is {SMALLEST_BYTES >> 20}m",
        )
    return size


class InvalidStorageOption(UsageError):
    """A storage option that the daemon would refuse."""

    exit_code = 1


def _bytes(text: str) -> int:
    word = text.lower().removesuffix("b").removesuffix("i")
    power = "kmgt".find(word[-1:]) + 1 if word[-1:] else 0
    return int(decimal_fraction(word[:-1] if power else word) * 1024**power)


def _create_quota_disk(paths: ContainerPaths, size: int) -> None:
    """Create a container's disk file, instead of its upper and work directories.

    Raises MinidockError if this machine has no mkfs.ext4 or no loop devices.
    """
    if not os.path.exists("/dev/loop-control"):
        raise MinidockError(
            "--storage-opt size= needs loop devices, and this machine has none",
            hint="modprobe loop     loads their driver",
        )
    os.mkdir(paths.space, 0o700)
    with open(paths.disk, "xb") as file:
        os.fchmod(file.fileno(), 0o600)
        os.ftruncate(file.fileno(), size)
    _make_file_system(paths.disk)
    os.symlink("space/upper", paths.upper)
    os.symlink("space/work", paths.work)


def _make_file_system(path: str) -> None:
    import sh  # slow to import, and rarely needed

    try:
        mkfs = sh.Command("mkfs.ext4", search_paths=["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
        mkfs("-q", "-F", "-m", "0", "-E", "nodiscard", path)
    except sh.CommandNotFound:
        raise MinidockError(
            "--storage-opt size= needs mkfs.ext4, and this machine has none",
            hint="apt-get install e2fsprogs",
        ) from None
    except sh.ErrorReturnCode as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise MinidockError(f"mkfs.ext4 {path}: {said[-1] if said else error.exit_code}") from None


def has_quota(container: Container) -> bool:
    """Whether a container's own layer is in a disk file."""
    return bool(container.host_config.get("StorageOpt"))


def mount_quota_disk(container: Container, *, privately: bool = False) -> None:
    """Mount a container's own layer unless it is mounted. privately: only for this process."""
    from minidock.kernel.loop import mount_disk_file

    paths = container.paths
    with exclusive(f"{paths.home}/space.lock"):
        if mount_point_of(paths.space) == paths.space:
            return
        if privately:
            _leave_the_hosts_mounts()  # under the lock: later mounts of a start are not visible
        mount_disk_file(paths.disk, paths.space, "ext4", "discard")
        if not os.path.isdir(f"{paths.space}/upper"):
            os.mkdir(f"{paths.space}/work", 0o700)
            os.mkdir(f"{paths.space}/upper", 0o755)
            _create_dockerenv(container, f"{paths.space}/upper")


def mount_layer_privately(container: Container) -> None:
    """Mount a stopped container's own layer, only for this command."""
    if has_quota(container):
        with recording_to(container.paths):
            mount_quota_disk(container, privately=True)


def _leave_the_hosts_mounts() -> None:
    """Move this process to a private mount namespace: its mounts end with it."""
    global _unshared
    if _unshared:
        return
    from minidock.kernel.mount import set_propagation
    from minidock.kernel.namespace import unshare

    unshare(["mount"])
    set_propagation("/", "rslave")
    _unshared = True
