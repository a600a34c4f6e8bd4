"""`cp`: copies files between this machine and a container, as a tar stream.

    out of a container   child in its view packs ──pipe──► unpacked here, or written to stdout
    into a container     packed here, or stdin  ──pipe──► child in its view unpacks

cp_paths.py decides about target paths and names first. This command owns a stopped container
meanwhile; other commands that start or remove it wait.

Source: docs.docker.com "docker container cp"; the behaviour of docker 26.1.
"""

from __future__ import annotations

import os
import stat
import time

from minidock.engine.container.containers import Container, restarting_error
from minidock.engine.container.events import emit_container
from minidock.engine.container.lookup import wait_until_settled
from minidock.engine.copy import cp_paths
from minidock.engine.copy.container_view import Inside, recording_copies
from minidock.engine.copy.tar_in import Unpacker
from minidock.engine.copy.tar_out import Packer
from minidock.engine.store.locks import Ownership
from minidock.errors import Conflict, MinidockError, NotFound, UsageError
from minidock.kernel.files import work_on_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypedDict

    from minidock.paths import Store

    class FileKind(TypedDict):
        """What is at a path. special: a device node. link: where a symbolic link leads, or ""."""

        directory: bool
        special: bool
        link: str


_PATIENCE_SECONDS = 10.0


class held:
    """`with held(store, reference) as container:` it runs, or no other process starts it."""

    def __init__(self, store: Store, reference: str) -> None:
        self._store = store
        self._reference = reference
        self._ownership: Ownership | None = None

    def __enter__(self) -> Container:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            container = wait_until_settled(self._store, self._reference)
            if container.running and not container.restarting:
                return container
            ownership = Ownership(container.paths.monitor_lock)
            try:
                if not container.running and ownership.take():
                    self._ownership = ownership
                    container.reload()
                    return container
            except FileNotFoundError:
                raise NotFound(f"No such container: {self._reference}") from None
            if time.monotonic() > deadline:
                raise (
                    restarting_error(container)
                    if container.restarting
                    else Conflict(f"container {container.name} is in use by another command")
                )
            time.sleep(0.01)

    def __exit__(self, *error: object) -> None:
        if self._ownership is not None:
            self._ownership.release()


def from_container(
    container: Container, source: str, target: str, *, follow_link: bool = False
) -> int:
    """Copy a file or directory from a container to a path of this machine; returns its bytes.

    follow_link: follow a link in the last component of the source.
    Raises NotFound for a missing source, Conflict if Docker's rules forbid the copy.
    """
    place = local_target(target)
    source, found, name = _source_inside(container, source, follow_link=follow_link)
    directory, name = cp_paths.place(place, name, is_directory=found["directory"])
    reading, child = _pack_inside(container, source, name)
    counted = _Counted(reading)
    try:
        with recording_copies(container):
            work_on_files(directory, Unpacker(counted, directory, inside=False).unpack)
    except BaseException:
        os.close(reading)
        _quietly(child)
        raise
    os.close(reading)
    child.result()
    return counted.bytes


def archive(container: Container, source: str, *, follow_link: bool = False) -> tuple[int, Inside]:
    """Start a tar stream of a container's file or directory; returns a descriptor, and its writer.

    The caller reads to the end, closes it, and calls the writer's `result`.
    """
    source, _, _ = _source_inside(container, source, follow_link=follow_link)
    return _pack_inside(container, source, cp_paths.base(source))


def into_container(
    container: Container, source: str, target: str, *, follow_link: bool = False
) -> int:
    """Copy a file or directory of this machine to a container; returns its bytes.

    Raises the errors of `from_container`.
    """
    source, name = local_source(source, follow_link=follow_link)
    is_directory = stat.S_ISDIR(os.lstat(source).st_mode)
    place = _target_inside(container, target)
    directory, name = cp_paths.place(place, name, is_directory=is_directory)
    sent = 0

    def send(write: Callable[[bytes], object]) -> None:
        nonlocal sent

        def counting(chunk: bytes) -> None:
            nonlocal sent
            sent += len(chunk)
            write(chunk)

        Packer(counting, inside=False).pack(source, name)

    _unpack_inside(container, directory, send)
    return sent


def extract(container: Container, target: str, read: Callable[[int], bytes]) -> None:
    """Unpack a tar stream to a directory of a container.

    read: returns the next bytes, b"" at the end. Raises Conflict if the target is not a directory.
    """
    place = _target_inside(container, target)
    if not place.is_directory:
        raise Conflict(f'destination "{container.name}:{target}" must be a directory')

    def send(write: Callable[[bytes], object]) -> None:
        while chunk := read(1 << 16):
            write(chunk)

    _unpack_inside(container, place.path, send)


def local_source(path: str, *, follow_link: bool) -> tuple[str, str]:
    """Resolve a source on this machine; returns its path, and its name in the copy."""
    try:
        if follow_link:
            found = cp_paths.with_end_of(os.path.realpath(path, strict=True), path)
        else:
            around, _, end = path.rpartition("/")
            found = os.path.join(os.path.realpath(around or ("/" if path[:1] == "/" else ".")), end)
        os.lstat(found)
    except OSError as error:
        raise NotFound(f"lstat {path}: {(error.strerror or '').lower()}") from None
    name = cp_paths.base(path)
    return found, name if name != "/" else cp_paths.base(found)


def local_target(path: str) -> cp_paths.Target:
    """Resolve a target on this machine, following links."""
    real = cp_paths.with_end_of(os.path.realpath(path), path)
    if os.path.lexists(real):
        return cp_paths.Target(real, exists=True, is_directory=os.path.isdir(real))
    around = cp_paths.split(real)[0]
    if not os.path.isdir(around):
        raise NotFound(f'invalid output path: directory "{around}" does not exist')
    return cp_paths.Target(real, exists=False, is_directory=False)


def _source_inside(
    container: Container, typed: str, *, follow_link: bool
) -> tuple[str, FileKind, str]:
    """Resolve a source in a container; returns its path, its type, and its name in the copy."""
    if not typed:
        raise UsageError("the path in the container cannot be empty")
    path = cp_paths.absolute(typed)
    found = _look(container, path)
    name = cp_paths.base(path)
    if found is not None and follow_link and found["link"]:
        path = cp_paths.with_end_of(found["link"], path)
        found = _look(container, path)
    if found is None:
        raise NotFound(f"Could not find the file {path} in container {container.name}")
    return path, found, name


def _target_inside(container: Container, typed: str) -> cp_paths.Target:
    """Resolve a target in a container, following a link."""
    if not typed:
        raise UsageError("the path in the container cannot be empty")
    path = cp_paths.absolute(typed)
    found = _look(container, path)
    if found is not None and found["link"]:
        path = cp_paths.with_end_of(found["link"], path)
        found = _look(container, path)
    if found is None:
        return cp_paths.Target(path, exists=False, is_directory=False)
    if found["special"]:
        raise Conflict(
            f'destination "{container.name}:{typed}" must be a directory or a regular file'
        )
    return cp_paths.Target(path, exists=True, is_directory=found["directory"])


def _look(container: Container, path: str) -> FileKind | None:
    """Return the type of a file in a container; None if it does not exist."""

    def act() -> FileKind | None:
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise Conflict(f"lstat {path}: not a directory") from None
        return {
            "directory": stat.S_ISDIR(mode),
            "special": stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
            "link": os.path.realpath(path) if stat.S_ISLNK(mode) else "",
        }

    found: FileKind | None = Inside(container, act).result()
    return found


def _pack_inside(container: Container, source: str, name: str) -> tuple[int, Inside]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    emit_container(container, "archive-path")

    def act() -> None:
        with open(writing, "wb", buffering=1 << 18) as file:
            Packer(file.write, inside=True).pack(source, name)

    child = Inside(container, act, close=(reading,))
    os.close(writing)
    return reading, child


def _unpack_inside(
    container: Container, directory: str, send: Callable[[Callable[[bytes], object]], None]
) -> None:
    """Unpack in a child what `send` writes. The child's error takes precedence over EPIPE."""
    reading, writing = os.pipe2(os.O_CLOEXEC)

    def act() -> None:
        if not os.path.isdir(directory):
            raise NotFound(f"Could not find the file {directory} in container {container.name}")
        with open(reading, "rb", buffering=1 << 18) as file:
            Unpacker(file, directory, inside=True).unpack()

    child = Inside(container, act, close=(writing,))
    os.close(reading)
    try:
        with open(writing, "wb", buffering=1 << 18) as file:
            send(file.write)
    except BrokenPipeError:
        pass  # the child has failed, and reports why
    except BaseException:
        _quietly(child)
        raise
    child.result()
    emit_container(container, "extract-to-dir")


def _quietly(child: Inside) -> None:
    try:
        child.result()
    except MinidockError:
        pass  # the error is already reported


class _Counted:
    """A descriptor to read from, with a byte counter."""

    def __init__(self, fd: int) -> None:
        self._file = open(fd, "rb", buffering=1 << 18, closefd=False)
        self.bytes = 0

    def read(self, size: int, /) -> bytes:
        content = self._file.read(size)
        self.bytes += len(content)
        return content
