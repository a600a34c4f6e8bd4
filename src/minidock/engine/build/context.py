"""A build context that is a local directory, and the Dockerfile built with it.

.dockerignore excludes files from the context. In the image, all files of a context belong to root.

The Dockerfile is the context's own, or that of -f: a path inside or outside the context, or "-".
X.dockerignore beside a Dockerfile X replaces the context's .dockerignore.

Sources: docs.docker.com/build/concepts/context; docs.docker.com/reference/cli/docker/buildx/build.
"""

from __future__ import annotations

import os
import stat
from errno import ENOENT

from minidock.engine.build.source_tree import Tree
from minidock.engine.dockerfile.dockerignore import Ignore
from minidock.errors import KernelError, MinidockError
from minidock.kernel.path import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.options import Options
    from minidock.engine.build.progress import Progress

_DEFAULT_NAME = "Dockerfile"
DOCKERFILE_MAX_BYTES = 16 << 20
_NOT_A_FILE = {
    stat.S_IFIFO: "it is a FIFO, not a regular file",
    stat.S_IFSOCK: "it is a socket, not a regular file",
    stat.S_IFCHR: "it is a device, not a regular file",
    stat.S_IFBLK: "it is a device, not a regular file",
    stat.S_IFDIR: "is a directory",
}


class NotReadable(MinidockError):
    """A path of a context that is not a regular file, or a symbolic link that leads out of it."""

    exit_code = 1


class NoDockerfile(MinidockError):
    """The Dockerfile is missing or unreadable."""

    exit_code = 1


class Context:
    """A local build context: a directory, and the Dockerfile's text.

    folder: an absolute path, "" for a build without files. dockerfile_name: for messages.
    """

    def __init__(self, folder: str, dockerfile: bytes, name: str, ignore: Ignore | None) -> None:
        self.folder = folder
        self.dockerfile = dockerfile
        self.dockerfile_name = name
        self._ignore = ignore

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *error: object) -> None:
        pass  # unpacked or fetched files lie in staging/, which is removed as a whole

    def tree(self) -> Tree:
        """The files of the context as a source tree."""
        root = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return Tree(
            root, what="the build context", owner=(0, 0), ignore=self._ignore, extracts=True
        )


def of_folder(folder: str, options: Options, progress: Progress, *, outside: bool) -> Context:
    """The context of a local directory.

    outside: the path of -f is relative to the working directory, not to the context.
    """
    vertex = progress.vertex("[internal] load build definition from " + _display_name(options.file))
    vertex.begin()
    try:
        text, location = _dockerfile(folder, options, outside=outside)
    except NoDockerfile as error:
        vertex.failed(str(error))
        raise
    vertex.say(f"transferring dockerfile: {len(text)}B done")
    vertex.done()
    vertex = progress.vertex("[internal] load .dockerignore")
    vertex.begin()
    try:
        patterns = _read_ignore_file(folder, location)
    except NotReadable as error:
        vertex.failed(str(error))
        raise
    vertex.say(f"transferring context: {len(patterns)}B done")
    vertex.done()
    ignore = Ignore(patterns)
    return Context(folder, text, _display_name(options.file), ignore if ignore else None)


def _display_name(file: str) -> str:
    return os.path.basename(file) if file not in ("", "-") else _DEFAULT_NAME


def _dockerfile(folder: str, options: Options, *, outside: bool) -> tuple[bytes, tuple[str, str]]:
    """The Dockerfile's text, its directory and name there; two "" if it came by standard input."""
    if options.file == "-":
        assert options.stdin is not None
        return options.stdin.read(DOCKERFILE_MAX_BYTES), ("", "")
    if options.file and outside:
        path = os.path.abspath(options.file)
        if not os.path.exists(path):  # Docker then falls back to the context
            path = os.path.join(folder, options.file)
        parent_path, name = os.path.split(path)
        return _read(parent_path, name, options.file), (parent_path, name)
    name = options.file or _DEFAULT_NAME
    if not options.file and not os.path.lexists(f"{folder}/{name}"):
        name = name.lower() if os.path.lexists(f"{folder}/{name.lower()}") else name
    return _read(folder, name, name), (folder, name)


def _read(folder: str, name: str, shown: str) -> bytes:
    """Read a Dockerfile. A symbolic link must lead to a file below its directory."""
    try:
        return _read_inside(folder, name)
    except NotReadable as error:
        raise NoDockerfile(
            f"failed to solve: failed to read dockerfile: open {shown}: {error}",
            hint="by default, a build reads ./Dockerfile of its context; -f names another file",
        ) from None


def _read_inside(folder: str, name: str) -> bytes:
    """Read a regular file below a directory; symbolic links resolve as if it were "/".

    A hostile context may contain a link to a file of the host, or a FIFO or device, whose reading
    blocks. So the path is opened with O_PATH and checked by fstat(2) before it is opened for
    reading. Raises NotReadable.
    """
    try:
        fd = open_in_root(folder, "/" + name)
    except KernelError as error:
        leads_out = error.errno == ENOENT and os.path.islink(os.path.join(folder, name))
        reason = (
            "it is a symbolic link that leads out of its directory or to no file"
            if leads_out
            else ""
        )
        raise NotReadable(reason or os.strerror(error.errno).lower()) from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotReadable(_NOT_A_FILE.get(stat.S_IFMT(status.st_mode), "not a regular file"))
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            return file.read(DOCKERFILE_MAX_BYTES)
    except OSError as error:
        raise NotReadable((error.strerror or str(error)).lower()) from None
    finally:
        os.close(fd)


def _read_ignore_file(folder: str, dockerfile: tuple[str, str]) -> bytes:
    """The text of the .dockerignore in effect, b"" for none.

    Raises NotReadable if it exists and is unreadable: ignoring it would copy excluded files.
    """
    parent_path, name = dockerfile
    beside = [(parent_path, f"{name}.dockerignore")] if name else []
    for directory, file in [*beside, (folder, ".dockerignore")]:
        if _exists(directory, file):
            try:
                return _read_inside(directory, file)
            except NotReadable as error:
                raise NotReadable(f"failed to read {os.path.basename(file)}: {error}") from None
    return b""


def _exists(folder: str, name: str) -> bool:
    """Whether a path below a directory exists and is not a directory."""
    parent_path, _, base = name.rpartition("/")
    try:
        parent = open_in_root(folder, "/" + parent_path, os.O_PATH | os.O_DIRECTORY)
    except KernelError:
        return False
    try:
        return not stat.S_ISDIR(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
    finally:
        os.close(parent)
