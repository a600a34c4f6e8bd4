"""Remote build contexts: standard input, URLs, git repositories.

    -                            a tar archive (plain, gzip, bzip2, xz, zstd), or a Dockerfile
    http://… https://…           the same, downloaded; a path that ends in .git is a repository
    git://… git@… ssh://…        a repository: #branch, #tag, #commit, #branch:directory
    github.com/…                 the same, by https

The child process that unpacks layers, confined by chroot(2), unpacks an archive in staging/
(engine/image/layers.py). Repositories are fetched by the external program git(1)
(engine/build/git.py).

Source: docs.docker.com/build/concepts/context.
"""

from __future__ import annotations

import io
import os

from minidock.engine.build.context import DOCKERFILE_MAX_BYTES, Context, of_folder
from minidock.engine.build.git import TooSlow, git
from minidock.engine.build.options import Options
from minidock.engine.image.compression import compression_of, uncompressed_chunks
from minidock.engine.image.layers import unpack_layer
from minidock.errors import MinidockError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from minidock.engine.build.progress import Progress

_USTAR_AT = 257
_HEAD_BYTES = 512


def open_remote(options: Options, staging: str, progress: Progress) -> Context:
    """Fetch a context that is a stream, a URL or a repository.

    Raises UsageError, ArchiveError, RegistryError, MinidockError if git fails.
    """
    if options.context == "-":
        assert options.stdin is not None
        return _context_of_stream(options.stdin, options, staging, progress, "standard input")
    if is_repository(options.context):
        return _context_of_repository(options, staging, progress)
    from minidock.engine.build.download import download

    vertex = progress.vertex(f"[internal] load remote build context {options.context}")
    vertex.begin()
    path = download(options.context, f"{staging}/context-download")
    vertex.done()
    with open(path, "rb") as file:
        return _context_of_stream(file, options, staging, progress, options.context)


def is_repository(url: str) -> bool:
    """Whether Docker takes a URL for that of a git repository."""
    without_query = url.partition("#")[0].partition("?")[0]
    if url.startswith(("git://", "git@", "ssh://", "github.com/")):
        return True
    return url.startswith(("http://", "https://")) and without_query.endswith(".git")


def is_archive(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a tar archive, plain or compressed."""
    return bool(compression_of(head)) or head[_USTAR_AT : _USTAR_AT + 5] == b"ustar"


def _context_of_stream(
    stream: BinaryIO, options: Options, staging: str, progress: Progress, what: str
) -> Context:
    head = _read_exactly(stream, _HEAD_BYTES)
    if not head:
        raise UsageError(f"{what} is empty: expected a Dockerfile or a context", hint="build .")
    if not is_archive(head):
        if options.file:
            raise UsageError(
                "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles"
                if what == "standard input"
                else f"{what} is a Dockerfile; -f must not name another one"
            )
        folder = f"{staging}/context"
        os.mkdir(folder, 0o755)
        vertex = progress.vertex("[internal] load build definition from Dockerfile")
        vertex.begin()
        text = head + _read_exactly(stream, DOCKERFILE_MAX_BYTES)
        vertex.say(f"transferring dockerfile: {len(text)}B done")
        vertex.done()
        return Context(folder, text, "Dockerfile", None)
    vertex = progress.vertex("[internal] load build context")
    vertex.begin()
    chunks = uncompressed_chunks(_PrefixedStream(head, stream), what="the build context")
    unpack_layer(chunks, f"{staging}/context")
    vertex.done()
    return of_folder(f"{staging}/context/diff", options, progress, outside=False)


class _PrefixedStream(io.RawIOBase):
    """A stream preceded by bytes that were read from it already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._head:
            chunk = self._head if size < 0 else self._head[:size]
            self._head = self._head[len(chunk) :]
            return chunk
        return self._rest.read(size)


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    content = b""
    while len(content) < size and (more := stream.read(size - len(content))):
        content += more
    return content


def _context_of_repository(options: Options, staging: str, progress: Progress) -> Context:
    vertex = progress.vertex(f"[internal] load git source {options.context}")
    vertex.begin()
    folder = clone(options.context, f"{staging}/context", keep_git=False)
    vertex.done()
    return of_folder(folder, options, progress, outside=False)


def clone(url: str, folder: str, *, keep_git: bool) -> str:
    """Fetch a branch, tag or commit of a repository; returns the directory that the URL names.

    url: the address, with an optional "#REF:DIRECTORY".
    Raises MinidockError if git is missing or fails, TooSlow.
    """
    address, _, fragment = url.partition("#")
    ref, _, subfolder = fragment.partition(":")
    if ref.startswith("-"):
        raise UsageError(f"{ref!r} is not a branch, tag or commit")  # git would read an option
    if address.startswith("github.com/"):
        address = f"https://{address}"
    os.mkdir(folder, 0o755)
    git(folder, "init", "--quiet")
    git(folder, "remote", "add", "origin", address)
    _check_out(folder, ref)
    git(folder, "submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
    if not keep_git:
        _remove_git(folder)
    chosen = os.path.realpath(os.path.join(folder, subfolder.lstrip("/")))
    root = os.path.realpath(folder)
    if not (chosen == root or chosen.startswith(root + "/")) or not os.path.isdir(chosen):
        raise UsageError(f"the repository has no directory {subfolder!r}")
    return chosen


def _check_out(folder: str, ref: str) -> None:
    """Fetch and check out a ref: shallow, else with its history, else all refs."""
    for shallow in (["--depth=1"], []):
        try:
            git(folder, "fetch", "--quiet", *shallow, "origin", ref or "HEAD")
        except TooSlow:
            raise
        except MinidockError:
            if not shallow and not ref:
                raise
            continue
        git(folder, "checkout", "--quiet", "FETCH_HEAD")
        return
    git(folder, "fetch", "--quiet", "--tags", "origin")  # a server accepts no abbreviated commit
    git(folder, "checkout", "--quiet", ref)


def _remove_git(folder: str) -> None:
    from minidock.engine.store.tree_removal import remove_below

    cloned = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        remove_below(cloned, ".git")
    finally:
        os.close(cloned)
