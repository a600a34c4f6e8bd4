"""RUN --mount: what a command sees besides the layers, and what no layer keeps.

    type=bind     files of the context, a stage or an image; writes are thrown away (rw)
    type=cache    a directory that stays from build to build
    type=tmpfs    a file system in memory
    type=secret   a file that --secret brought, in memory too

A stage and a secret are mounted below the container's own directory (mounts/<n>), and bound from
there to their places: what ends a container unmounts them.

Source: docs.docker.com/reference/dockerfile "RUN --mount".
"""

from __future__ import annotations

import fcntl
import os
import posixpath

from minidock.engine.build.cache import key_of
from minidock.engine.dockerfile.errors import DockerfileError
from minidock.engine.dockerfile.words import expand
from minidock.engine.journal import recording_to
from minidock.errors import KernelError
from minidock.kernel.mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount_filesystem
from minidock.kernel.overlay import mount_overlay
from minidock.kernel.path import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minidock.engine.build.options import Secret
    from minidock.engine.container.containers import Container
    from minidock.engine.dockerfile.parser import Instruction
    from minidock.paths import Store

KINDS = ("bind", "cache", "tmpfs", "secret")
_ALIASES = {
    "src": "source", "dst": "target", "destination": "target", "readonly": "ro",
    "readwrite": "rw",
}  # fmt: skip
_SWITCHES = ("ro", "rw", "required")
_KEYS = {
    "bind": ("source", "target", "from", "ro", "rw"),
    "cache": ("source", "target", "from", "ro", "rw", "id", "sharing", "mode", "uid", "gid"),
    "tmpfs": ("target", "size"),
    "secret": ("source", "target", "id", "required", "mode", "uid", "gid"),
}
_SHARING = ("shared", "private", "locked")


class Mount:
    """One --mount, its words read.

    kind: bind, cache, tmpfs or secret. options: the rest, by their long names.
    lowers, folder: of a bind, once its source is known: the layers' directories, or one folder.
    """

    def __init__(self, kind: str, options: dict[str, str]) -> None:
        self.kind = kind
        self.options = options
        self.target = options["target"]
        self.lowers: list[str] = []
        self.scratch = ""
        self.host_path = ""
        self.content: bytes | None = None
        self.locked = -1

    @property
    def source(self) -> str:
        """Where a bind's or a cache's `from` begins, relative to its tree."""
        return posixpath.normpath("/" + self.options.get("source", "")).lstrip("/")

    @property
    def writable(self) -> bool:
        if "rw" in self.options:
            return self.options["rw"] != "false"
        return self.kind != "bind" and self.options.get("ro", "false") == "false"

    def number(self, name: str, default: int, base: int = 10) -> int:
        text = self.options.get(name)
        if text is None:
            return default
        try:
            return int(text, base)
        except ValueError:
            raise DockerfileError(f"invalid value for {name}: {text}") from None

    def key(self) -> list[Any]:
        """What the cache of steps knows it by; contents of caches and secrets do not count."""
        return [self.kind, sorted(self.options.items())]


def read_mounts(
    instruction: Instruction, variables: dict[str, str], working_directory: str
) -> list[Mount]:
    """The mounts of a RUN. Raises DockerfileError for one that cannot be meant."""
    return [
        _read(value, variables, working_directory, instruction.escape)
        for name, value in instruction.flags
        if name == "mount"
    ]


def _read(text: str, variables: dict[str, str], working_directory: str, escape: str) -> Mount:
    import csv

    given: dict[str, str] = {}
    for field in next(csv.reader([text]), []):
        name, equals, value = field.partition("=")
        key = _ALIASES.get(name.lower(), name.lower())
        if not equals and key not in _SWITCHES:
            raise DockerfileError(f"invalid field '{field}' must be a key=value pair")
        given[key] = expand(value, variables, escape=escape) if equals else "true"
    kind = given.pop("type", "bind").lower()
    if kind not in KINDS:
        raise DockerfileError(
            f'unsupported mount type "{kind}"',
            hint="give keys to a build by --secret and --mount=type=secret"
            if kind == "ssh"
            else "",
        )
    for key in given:
        if key not in _KEYS[kind]:
            raise DockerfileError(f"unexpected key '{key}' for mount type '{kind}'")
    if given.get("sharing", "shared") not in _SHARING:
        raise DockerfileError(f'unsupported sharing value "{given["sharing"]}"')
    _set_target(kind, given, working_directory)
    return Mount(kind, given)


def _set_target(kind: str, given: dict[str, str], working_directory: str) -> None:
    """Fill in what a secret's source and target leave out; make the target absolute."""
    if kind == "secret":
        given.setdefault("id", given.pop("source", posixpath.basename(given.get("target", ""))))
        if not given["id"]:
            raise DockerfileError("secret mount needs an id or a target")
        given.setdefault("target", f"/run/secrets/{posixpath.basename(given['id'])}")
    if not given.get("target"):
        raise DockerfileError(f"missing target for {kind} mount", hint="add target=/some/path")
    target = posixpath.normpath(posixpath.join("/", working_directory, given["target"]))
    given["target"] = "/" + target.lstrip("/")
    if given["target"] == "/":
        raise DockerfileError('invalid mount target "/"')


def provide_secret(mount: Mount, secrets: dict[str, Secret]) -> bool:
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
            mount.content = file.read()
    except OSError as error:
        raise DockerfileError(f"secret {name}: {secret.path}: {error.strerror}") from None
    return True


def provide_cache(mount: Mount, store: Store, fill: Callable[[str], None] | None = None) -> None:
    """Find or make the directory of a cache mount, and hold it as its sharing says.

    fill: copies what it begins with into it.
    """
    name = mount.options.get("id") or mount.target
    base = f"{store.build_mounts}/{key_of(name).removeprefix('sha256:')[:32]}"
    os.makedirs(store.build_mounts, mode=0o700, exist_ok=True)
    sharing = mount.options.get("sharing", "shared")
    number = 0
    while True:
        home = base if number == 0 else f"{base}-{number}"
        if _hold(mount, home, sharing):
            break
        number += 1  # a private cache that another step has just now: the next one
    data = f"{home}/data"
    if not os.path.isdir(data):
        os.mkdir(f"{home}/new.{os.getpid()}")
        fresh = f"{home}/new.{os.getpid()}"
        os.chown(fresh, mount.number("uid", 0), mount.number("gid", 0))
        os.chmod(fresh, mount.number("mode", 0o755, 8))
        if fill is not None:
            fill(fresh)
        try:
            os.rename(fresh, data)
        except OSError:
            os.rmdir(fresh)  # another step was faster
    os.utime(home)
    mount.host_path = data


def _hold(mount: Mount, home: str, sharing: str) -> bool:
    os.makedirs(home, mode=0o700, exist_ok=True)
    lock = os.open(f"{home}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    how = {
        "shared": fcntl.LOCK_SH,
        "locked": fcntl.LOCK_EX,
        "private": fcntl.LOCK_EX | fcntl.LOCK_NB,
    }[sharing]
    try:
        fcntl.flock(lock, how)
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


def _prepare(place: str, mount: Mount) -> str:
    """Put a mount's content somewhere on the host; returns the path to bind."""
    if mount.kind == "cache":
        return mount.host_path
    os.mkdir(place, 0o711)
    if mount.kind == "secret":
        return _secret_file(place, mount)
    os.makedirs(f"{mount.scratch}/upper", exist_ok=True)
    os.makedirs(f"{mount.scratch}/work", exist_ok=True)
    os.makedirs(f"{mount.scratch}/nothing", exist_ok=True)
    lowerdirs = [*reversed(mount.lowers), *([] if mount.lowers else [f"{mount.scratch}/nothing"])]
    mount_overlay(lowerdirs, f"{mount.scratch}/upper", f"{mount.scratch}/work", place)
    return _inside(place, mount.source)


def _secret_file(place: str, mount: Mount) -> str:
    """A secret, in a file of a file system in memory."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    parent, name = posixpath.split(place)
    mount_filesystem("secret", parent, f"/{name}", "tmpfs", flags=flags, data="mode=0711")
    path = f"{place}/secret"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with open(fd, "wb") as file:
        file.write(mount.content or b"")
        os.fchown(fd, mount.number("uid", 0), mount.number("gid", 0))
        os.fchmod(fd, mount.number("mode", 0o400, 8))
    return path


def _inside(root: str, path: str) -> str:
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
