"""Layers: each is unpacked once, into layers/<chain id>/diff, and is immutable from then on.

    layers/<chain id>/
        diff/          the files, with overlayfs's whiteouts: usable as a lowerdir
        tar-split.z    the rest of the layer's tar archive: headers, padding (tar_split.py)
        replaced/      contents of files that a later entry of the archive replaced; rare
        layer.json     {"diff_id", "size", "tar_size"}: bytes of its files, bytes of its archive

`unpack_layer` uses two processes. This one reads, decompresses and hashes; the child, confined by
chroot(2) to the layer, makes the files (unpack.py):

    minidock load ──── uncompressed tar ────▶ child, "/" = staging/…/diff
                  ◀─── {"content_bytes": …} or {"error": …} ───

So hashing runs in parallel with writing, the decompressor runs outside the chroot, and no entry of
the archive can reach a file outside the layer. The incomplete layer lies in staging/; it is renamed
into place after its digest is verified.

`layer_of_upper` makes a layer of an upperdir (of a container or build step) without an archive.

Source: OCI image-spec layer.md, config.md "Layer ChainID".
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.engine.image import tar_split
from minidock.engine.store.store import Staging
from minidock.errors import ArchiveError, DamagedFile, MinidockError, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NoReturn

    from minidock.document import Shape
    from minidock.document_types.image import LayerRecord, Unpacked, UnpackFailure
    from minidock.engine.image.archive_file import Progress
    from minidock.engine.image.upper import Upper
    from minidock.paths import Store

_SHAPE: Shape = {"diff_id": str, "size": int, "tar_size": int}
_RELOAD_HINT = "remove the images that use this layer, and load, pull or build them again"
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
_ANSWER_MAX = 1 << 16


class StagedLayer:
    """A complete layer in staging/.

    path: its directory; diff_id: the digest of its archive; size_bytes: of its files.
    """

    def __init__(self, path: str, diff_id: str, size_bytes: int) -> None:
        self.path = path
        self.diff_id = diff_id
        self.size_bytes = size_bytes


def unpack_layer(chunks: Iterable[bytes], path: str, *, diff_id: str = "") -> StagedLayer:
    """Unpack one uncompressed layer archive into a new directory, and hash it.

    chunks: the archive's bytes. path: the layer's directory, which is made, inside a staging entry.
    diff_id: the expected digest of the archive; "" for any.
    Raises ArchiveError for a damaged, hostile or wrong archive, StoreError for a disk error.
    The caller removes the directory on an error.
    """
    import hashlib

    # The child must not import after chroot(2), so its modules are imported here.
    from minidock.engine.image import unpack_child

    for directory in (path, f"{path}/diff", f"{path}/{tar_split.REPLACED}"):
        os.mkdir(directory, 0o755 if directory.endswith("diff") else 0o700)
    digest = hashlib.sha256()
    child = UnpackChild(unpack_child.run, path)
    try:
        for chunk in chunks:
            digest.update(chunk)
            if not child.send(chunk):
                break
        answer = child.finish()
    finally:
        child.reap()
    if (found := f"sha256:{digest.hexdigest()}") != (diff_id or found):
        raise ArchiveError(
            f"a layer of the image has the wrong digest: {found}, its config says {diff_id}",
            hint="the archive was damaged or changed; fetch or save it again",
        )
    if not answer["replaced_any"]:
        os.rmdir(f"{path}/{tar_split.REPLACED}")
    return _write_layer_json(path, found, answer["content_bytes"], answer["tar_bytes"])


def layer_of_upper(
    upper: Upper, path: str, *, take: bool, progress: Progress | None = None
) -> StagedLayer:
    """Make a layer of an overlay's upperdir.

    upper: open. path: the layer's directory, which is made, inside a staging entry. take: move the
    upperdir into the layer, else copy it. To be moved, it must be unmounted and on the store's file
    system; after an error it is incomplete and must be removed.
    progress: called with "Committing" and the bytes of the archive so far.
    Raises Conflict if a file changed meanwhile or cannot be in a layer, StoreError for a disk
    error. The caller removes `path` on an error.
    """
    from minidock.engine.image.upper_files import CopiedFiles, MovedFiles
    from minidock.engine.image.upper_layer import UpperLayer

    split_flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        os.mkdir(path, 0o700)
        split_fd = os.open(f"{path}/{tar_split.FILE_NAME}", split_flags, 0o600)
        try:
            with (MovedFiles if take else CopiedFiles)(upper, f"{path}/diff") as files:
                layer = UpperLayer(upper, files, split_fd, progress=progress)
                layer.write()
        finally:
            os.close(split_fd)
    except OSError as error:
        raise StoreError(
            f"cannot make a layer of {upper.path}: {error.strerror or error}",
            hint="nothing of it was stored",
        ) from None
    return _write_layer_json(path, layer.diff_id, layer.content_bytes, layer.tar_bytes)


def _write_layer_json(path: str, diff_id: str, content_bytes: int, tar_bytes: int) -> StagedLayer:
    """Write layer.json, which completes the layer."""
    record = {"diff_id": diff_id, "size": content_bytes, "tar_size": tar_bytes}
    document.write(f"{path}/layer.json", jsontext.dumps(record), durable=False)
    return StagedLayer(path, diff_id, content_bytes)


def read_layer(store: Store, chain_id: str) -> LayerRecord:
    """Read layer.json of a layer in the store. Raises DamagedFile, also if it is missing."""
    path = f"{store.layer(chain_id)}/layer.json"
    try:
        record: LayerRecord = document.read(path, _SHAPE)
    except FileNotFoundError:
        raise DamagedFile(path, "it is missing", hint=_RELOAD_HINT) from None
    except DamagedFile as error:
        raise DamagedFile(path, error.why, hint=_RELOAD_HINT) from None
    return record


def size_of_layer(store: Store, chain_id: str) -> int:
    """The bytes of a layer's files; 0 if layer.json is damaged, which is reported."""
    try:
        return int(read_layer(store, chain_id)["size"])
    except DamagedFile as error:
        document.report_skipped(error)
        return 0


def layer_archive(store: Store, chain_id: str) -> Iterator[bytes]:
    """Rebuild the layer's tar archive byte for byte; yields chunks.

    Raises StoreError if its digest is wrong: then the layer's files were changed.
    """
    import hashlib

    digest = hashlib.sha256()
    for chunk in tar_split.rebuild_archive(store.layer(chain_id)):
        digest.update(chunk)
        yield chunk
    expected = read_layer(store, chain_id)["diff_id"]
    if f"sha256:{digest.hexdigest()}" != expected:
        raise StoreError(
            f"the files of the layer {chain_id} were changed since it was unpacked",
            hint="another program has changed them; load the image again",
        )


class UnpackChild:
    """A child process that unpacks an archive, and the two pipes to it.

    It is forked without exec: its modules are imported before the fork, none after.
    run: called in it with `arguments` and its ends of the pipes; ends in os._exit. keeps: what it
    needs of this process's descriptors.
    """

    def __init__(
        self, run: Callable[..., NoReturn], *arguments: object, keep_fds: tuple[int, ...] = ()
    ) -> None:
        data_out, self._data = os.pipe()
        self._answer, answer_in = os.pipe()
        _enlarge_pipe(self._data)
        self._pid = os.fork()
        if self._pid == 0:
            _close_all_but(data_out, answer_in, *keep_fds, *Staging.locks)
            run(*arguments, data_out, answer_in)
        os.close(data_out)
        os.close(answer_in)

    def send(self, chunk: bytes) -> bool:
        """Write bytes of the archive to the child; False if it has stopped reading."""
        try:
            written = os.write(self._data, chunk)
            while written < len(chunk):
                written += os.write(self._data, memoryview(chunk)[written:])
        except BrokenPipeError:
            return False
        return True

    def finish(self) -> Unpacked:
        """Signal the end of the archive; returns the child's answer, or raises the error in it."""
        self._close_data()
        answer = b""
        while more := os.read(self._answer, _ANSWER_MAX):
            answer += more
        if not answer:
            self.reap()
            raise StoreError(
                "the process that unpacked a layer was killed",
                hint="perhaps out of memory: see dmesg",
            )
        result: Unpacked | UnpackFailure = jsontext.loads(answer)
        if "error" in result:
            kinds: dict[str, type[MinidockError]] = {
                "ArchiveError": ArchiveError,
                "StoreError": StoreError,
            }
            raise kinds.get(result["kind"], StoreError)(result["error"], hint=result["hint"])
        return result

    def reap(self) -> None:
        """Close the pipes and wait for the child to exit. Idempotent."""
        self._close_data()
        if self._pid:
            os.waitpid(self._pid, 0)
            os.close(self._answer)
            self._pid = 0

    def _close_data(self) -> None:
        if self._data >= 0:
            os.close(self._data)
            self._data = -1


def _close_all_but(*keep: int) -> None:
    """Close inherited descriptors: pipes of other threads' children, connections.

    The reader of a pipe sees the end of file only when all write ends are closed.
    """
    low = 3
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def _enlarge_pipe(pipe: int) -> None:
    """Enlarge a pipe to 1 MiB: fewer context switches between the two processes."""
    import fcntl

    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
    except PermissionError:
        return  # over the user's limit (pipe(7)): 64 KiB suffice
