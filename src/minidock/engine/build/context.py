"""The context: the files that COPY and ADD may take, and the Dockerfile.

    a folder          as it stands; what .dockerignore names is not seen
    -                 standard input: a tar archive of a context, or a Dockerfile without one
    a URL             of a git repository (#branch:folder), a tar archive, or a Dockerfile

Files of a context belong to root in the image, whoever has them here.

The Dockerfile is the context's own, or -f's: a path that need not be in the context, or "-".
X.dockerignore beside a Dockerfile X counts instead of the context's .dockerignore.

Sources: docs.docker.com/build/concepts/context; docs.docker.com/reference/cli/docker/buildx/build.
"""

from __future__ import annotations

import os
import stat

from minidock.engine.build.tree import Tree
from minidock.engine.dockerfile.ignore import Ignore
from minidock.errors import MinidockError, UsageError
from minidock.kernel.path import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.options import Options
    from minidock.engine.build.progress import Progress

_DEFAULT_NAME = "Dockerfile"
_DOCKERFILE_MAX_BYTES = 16 << 20
_URLS = ("http://", "https://", "git://", "git@", "ssh://", "github.com/")


class NoDockerfile(MinidockError):
    """The Dockerfile is not there or cannot be read."""

    exit_code = 1


class Context:
    """A context that is here: a folder, and the Dockerfile's text.

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
        pass  # what was unpacked or fetched lies in staging/, and goes with it

    def tree(self) -> Tree:
        """The context's files."""
        root = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return Tree(
            root, what="the build context", owner=(0, 0), ignore=self._ignore, extracts=True
        )


def open_context(options: Options, staging: str, progress: Progress) -> Context:
    """Bring the context here, and read the Dockerfile.

    staging: where what comes by a pipe or over the network is unpacked.
    Raises UsageError, NoDockerfile, ArchiveError.
    """
    if options.context == "-" or options.context.startswith(_URLS):
        from minidock.engine.build.context_remote import open_remote

        return open_remote(options, staging, progress)
    folder = os.path.abspath(options.context)
    if not os.path.isdir(folder):
        raise UsageError(
            f'unable to prepare context: path "{options.context}" not found'
            if not os.path.lexists(folder)
            else f"unable to prepare context: the build context must be a directory: {folder}"
        )
    return of_folder(folder, options, progress, outside=True)


def of_folder(folder: str, options: Options, progress: Progress, *, outside: bool) -> Context:
    """A context that is a folder of this machine.

    outside: -f is a path of the caller's, not one of the context's.
    """
    vertex = progress.vertex("[internal] load build definition from " + _shown(options.file))
    vertex.begin()
    try:
        text, path = _dockerfile(folder, options, outside=outside)
    except NoDockerfile as error:
        vertex.failed(str(error))
        raise
    vertex.say(f"transferring dockerfile: {len(text)}B done")
    vertex.done()
    vertex = progress.vertex("[internal] load .dockerignore")
    vertex.begin()
    patterns = _ignored(folder, path, outside=outside)
    vertex.say(f"transferring context: {len(patterns)}B done")
    vertex.done()
    ignore = Ignore(patterns)
    return Context(folder, text, _shown(options.file), ignore if ignore else None)


def _shown(file: str) -> str:
    return os.path.basename(file) if file not in ("", "-") else _DEFAULT_NAME


def _dockerfile(folder: str, options: Options, *, outside: bool) -> tuple[bytes, str]:
    """The Dockerfile's text, and its path, "" where it came by standard input."""
    if options.file == "-":
        assert options.stdin is not None
        return options.stdin.read(_DOCKERFILE_MAX_BYTES), ""
    if options.file and outside:
        path = os.path.abspath(options.file)
        if not os.path.exists(path):  # Docker looks in the context then
            path = os.path.join(folder, options.file)
        return _read(path, options.file), path
    name = options.file or _DEFAULT_NAME
    lower = name.lower()
    if not options.file and not os.path.exists(f"{folder}/{name}"):
        name = lower if os.path.exists(f"{folder}/{lower}") else name
    path = os.path.join(folder, name)
    if outside:
        return _read(path, name), path
    text = _read_inside(folder, name)
    if text is None:
        raise _unreadable(name, FileNotFoundError(2, "no such file or directory"))
    return text, path


def _read(path: str, shown: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_DOCKERFILE_MAX_BYTES)
    except OSError as error:
        raise _unreadable(shown, error) from None


def _read_inside(folder: str, name: str) -> bytes | None:
    """A regular file of a context that others have made; None where there is none.

    Links in it lead nowhere else, and a pipe in its place is not opened: that would wait for ever.
    """
    try:
        place = open_in_root(folder, "/" + name)
    except MinidockError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return None
        return _read(f"/proc/self/fd/{place}", name)
    finally:
        os.close(place)


def _unreadable(shown: str, error: OSError) -> NoDockerfile:
    reason = (error.strerror or str(error)).lower()
    return NoDockerfile(
        f"failed to solve: failed to read dockerfile: open {shown}: {reason}",
        hint="-f names another file; a build reads ./Dockerfile of its context",
    )


def _ignored(folder: str, dockerfile: str, *, outside: bool) -> bytes:
    """The text of the .dockerignore that counts, b"" for none."""
    for path in (f"{dockerfile}.dockerignore" if dockerfile else "", f"{folder}/.dockerignore"):
        if path and not outside:
            text = _read_inside(folder, os.path.relpath(path, folder))
            if text is not None:
                return text
        elif path and os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read()
    return b""
