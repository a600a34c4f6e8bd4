"""ADD of remote sources: a file from a URL, or a git repository.

    ADD https://example.com/a.tar.gz /x/       the file as it is, never unpacked
    ADD --checksum=sha256:… https://… /x/      fails if the digest differs
    ADD https://example.com/r.git#v1:src /x    a directory of the repository, without .git
    ADD --keep-git-dir=true …                  the same with .git

Source: docs.docker.com/reference/dockerfile "ADD".
"""

from __future__ import annotations

import os

from minidock.engine.build.context_remote import clone, is_repository
from minidock.engine.build.source_tree import Tree
from minidock.engine.dockerfile.dockerfile_error import DockerfileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.copy_step import Copy

_CHUNK = 1 << 18


def fetch_tree(copy: Copy, url: str, folder: str) -> Tree:
    """Fetch a URL into a new directory; returns it as a source tree.

    Raises DownloadFailed, MinidockError if git fails, DockerfileError for a wrong checksum.
    """
    if is_repository(url):
        folder_path = clone(url, folder, keep_git=copy.keeps_git)
        return Tree(_open(folder_path), what=url, owner=(0, 0), is_whole=True)
    from minidock.engine.build.download import download

    path = download(url, folder)
    if copy.checksum:
        _check_digest(path, copy.checksum)
    return Tree(_open(folder), what=url, owner=(0, 0))


def _open(folder: str) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _check_digest(path: str, expected: str) -> None:
    import hashlib

    if not expected.startswith("sha256:"):
        raise DockerfileError(
            f"checksum {expected} is not supported", hint="--checksum=sha256:<64 hex digits>"
        )
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    actual = f"sha256:{digest.hexdigest()}"
    if actual != expected:
        raise DockerfileError(f"digest mismatch: expected {expected}, fetched {actual}")
