"""container.json: the document of one container, in the form of `docker inspect`.

Only fields that the code uses are checked; others are shown unchecked.

A container's directory without this file is either incomplete (an interrupted creation), or damaged
(the file was lost). If bundle/config.json exists, which the first start writes, it is damaged; a
removal removes the whole directory from the store by one rename. The document of a temporary
container (--rm, a build's step) is not synced to the disk, and a file marks it: if it is damaged,
the container is removed.
"""

from __future__ import annotations

import os

from minidock import document
from minidock.document import Each
from minidock.engine.store.locks import is_owned, owner_of
from minidock.errors import DamagedFile
from minidock.paths import ContainerPaths, Store, is_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document import Shape
    from minidock.document_types.container import ContainerDocument

_WORDS: Shape = ([str], None)
_STATE: Shape = {
    "Status": str, "Running": bool, "Paused": bool, "Restarting": bool, "OOMKilled": bool,
    "Pid": int, "ExitCode": int, "Error": str, "StartedAt": str, "FinishedAt": str,
    "Health?": {"Status": str, "FailingStreak": int, "Log": [dict]},
}  # fmt: skip
_CONFIG: Shape = {
    "Image": str, "Hostname": str, "User": str, "WorkingDir": str, "Env": [str], "Cmd": _WORDS,
    "Entrypoint": _WORDS, "Labels": (Each(str), None),
}  # fmt: skip
_HOST: Shape = {
    "NetworkMode": str, "AutoRemove?": (bool, None), "RestartPolicy?": (dict, None),
    "LogConfig?": (dict, None), "Binds?": _WORDS, "StorageOpt?": (Each(str), None),
}  # fmt: skip
_POINT: Shape = {
    "Type": str, "Destination": str, "Source": str, "Mode": str, "RW": bool, "Propagation": str,
    "Name?": str, "Size?": int, "Permissions?": int,
}  # fmt: skip
_NEEDED = {"volume": "Name", "tmpfs": "Permissions"}
_BINDING: Shape = {"HostIp": str, "HostPort": str}
_ENDPOINT: Shape = {
    "NetworkID": str, "IPAddress?": str, "MacAddress?": (str, None), "DNSNames?": _WORDS,
    "Aliases?": _WORDS,
}  # fmt: skip
_SHAPE: Shape = {
    "Id": str, "Name": str, "Created": str, "Image": str, "Path": str, "Args": [str],
    "RestartCount": int, "State": _STATE, "Config": _CONFIG, "HostConfig": _HOST,
    "Mounts": [_POINT],
    "NetworkSettings": {"Networks": Each(_ENDPOINT), "Ports": (Each(([_BINDING], None)), None)},
    "GraphDriver": {"Data": {"LowerDir": str, "UpperDir": str, "WorkDir": str, "MergedDir": str}},
    "Build?": {"Lowers": [str], "Upper": str, "Work": str, "Home": str},
}  # fmt: skip


def list_ids(store: Store) -> list[str]:
    """List the ids of all containers, complete or not."""
    try:
        return [name for name in os.listdir(store.containers) if is_sha256(name)]
    except FileNotFoundError:
        return []


def read(store: Store, container_id: str) -> ContainerDocument | None:
    """Read a container's document; None for an unknown or incomplete container.

    Raises DamagedFile.
    """
    paths = store.container(container_id)
    try:
        found: ContainerDocument = document.read(paths.document, _SHAPE)
    except FileNotFoundError:
        if is_incomplete(paths):
            return None
        raise DamagedFile(paths.document, "it is missing, but the container exists") from None
    if found["Id"] != container_id:
        raise DamagedFile(paths.document, "it belongs to another container")
    for point in found["Mounts"]:
        needed = _NEEDED.get(point["Type"])
        if needed and needed not in point:
            raise DamagedFile(paths.document, f"Mounts: a {point['Type']} without {needed}")
    return found


def list_documents(store: Store, *, strictly: bool = False) -> list[ContainerDocument]:
    """List all containers' documents as they are on disk, unrepaired, to find references.

    Damaged ones are skipped. strictly: raises DamagedFile instead, for a caller that removes
    unreferenced objects.
    """
    found = []
    for container_id in list_ids(store):
        try:
            content = read(store, container_id)
        except DamagedFile as error:
            if strictly:
                raise
            document.report_skipped(error)
            continue
        if content is not None:
            found.append(content)
    return found


def is_garbage(store: Store, container_id: str) -> bool:
    """Whether a container's directory must be removed: it is half created, or temporary and a power
    failure has destroyed its document and ended its monitor."""
    paths = store.container(container_id)
    if not os.path.lexists(paths.temporary):
        return is_incomplete(paths)
    try:
        return read(store, container_id) is None
    except DamagedFile:
        return _is_free(paths.monitor_lock)


def _is_free(monitor_lock: str) -> bool:
    try:
        return not is_owned(monitor_lock) and not owner_of(monitor_lock)
    except DamagedFile:
        return False


def is_incomplete(paths: ContainerPaths) -> bool:
    """Whether a container is half created or removed."""
    return not os.path.lexists(paths.document) and not os.path.lexists(paths.config)
