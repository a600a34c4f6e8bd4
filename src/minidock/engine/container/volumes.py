"""Volumes: directories of the store that persist independently of containers.

    volumes/<name>/volume.json    what `volume inspect` shows; written last
                   _data/         what containers see
                   made-for       the container for which it was created (undo_create)
                   copying/       an image's files, being copied (populate_volumes.py)
                   copied/        the complete copy; each file is renamed to _data
    volumes/.removed-<name>/      during removal, after one rename

Only the "local" driver is supported; volume_mounts.py handles its options.
Sources: Docker Engine API 1.45, Volume; docs.docker.com/storage/volumes.
"""

from __future__ import annotations

import os

from minidock import jsontext
from minidock.document import Each, read, report_skipped, sync, write
from minidock.engine.store.container_json import list_documents
from minidock.engine.store.event_log import emit
from minidock.engine.store.locks import exclusive
from minidock.engine.store.store import prepare
from minidock.engine.store.timestamps import timestamp
from minidock.engine.store.tree_removal import remove_tree
from minidock.errors import Conflict, DamagedFile, NotFound, UsageError
from minidock.paths import Store, is_component

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins

    from minidock.document import Shape
    from minidock.document_types.store import VolumeDocument, VolumeInspect

_SHAPE: Shape = {
    "Name": str, "CreatedAt": str, "Driver": str, "Scope": str, "Labels": (Each(str), None),
    "Options": (Each(str), None),
}  # fmt: skip
ANONYMOUS_LABEL = "com.docker.volume.anonymous"
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_OTHERS = _FIRST | frozenset("_.-")
_REMOVED = ".removed-"  # an invalid prefix for volume names


def create(
    store: Store,
    name: str | None,
    *,
    driver: str = "local",
    options: dict[str, str],
    labels: dict[str, str],
    made_for: str = "",
) -> VolumeInspect:
    """Create a volume; an existing one is returned unchanged.

    name: None for an anonymous one. made_for: the id of a container that is being created; if that
    fails, `undo_create` removes the volume.
    Returns its document, in the form of `volume inspect`.
    Raises UsageError for an invalid name, driver or option.
    """
    chosen = name or os.urandom(32).hex()
    check_name(chosen)
    if driver != "local":
        raise UsageError(
            f"create {chosen}: error looking up volume plugin {driver}: "
            f'plugin "{driver}" not found',
            hint="local is the only volume driver",
        )
    if options:
        from minidock.engine.container.volume_mounts import check_options  # seldom wanted

        check_options(chosen, options)
    prepare(store)
    with exclusive(f"{store.volumes}/.lock"):
        if not _is_volume(store, chosen):
            os.makedirs(path(store, chosen), mode=0o755, exist_ok=True)
            if made_for:
                write(_made_for(store, chosen), made_for, durable=False)
            write_document(store, chosen, options=options, labels=labels)
            sync(store.volumes)
            emit(store, "volume", "create", chosen, driver="local")
        return inspect(store, chosen)  # before another process can remove it


def write_document(
    store: Store, name: str, *, options: dict[str, str], labels: dict[str, str]
) -> None:
    """Write volume.json, which completes a volume. The caller holds the volumes' lock."""
    document: VolumeDocument = {
        "CreatedAt": timestamp()[:19] + "Z",
        "Driver": "local",
        "Labels": labels or None,
        "Name": name,
        "Options": options or None,
        "Scope": "local",
    }
    write(_document_path(store, name), jsontext.dumps(document), durable=True)


def list(store: Store) -> builtins.list[VolumeInspect]:
    """List the documents of all volumes, by name."""
    found = []
    try:
        names = sorted(os.listdir(store.volumes))
    except FileNotFoundError:
        return []
    for name in names:
        try:
            found.append(inspect(store, name))
        except NotFound:
            continue  # half created, or just removed
        except DamagedFile as error:
            report_skipped(error)
    return found


def inspect(store: Store, name: str) -> VolumeInspect:
    """Return a volume's document; raises NotFound, DamagedFile."""
    if not _may_be_name(name) or not _is_volume(store, name):
        raise NotFound(f"get {name}: no such volume", hint="`minidock volume ls` lists them")
    path_of_document = _document_path(store, name)
    try:
        document: VolumeDocument = read(path_of_document, _SHAPE)
    except FileNotFoundError:
        raise DamagedFile(path_of_document, "it is missing, but the volume exists") from None
    if document["Name"] != name:
        raise DamagedFile(path_of_document, "it belongs to another volume")
    return {
        "CreatedAt": document["CreatedAt"],
        "Driver": document["Driver"],
        "Labels": document["Labels"],
        "Mountpoint": path(store, name),
        "Name": name,
        "Options": document["Options"],
        "Scope": document["Scope"],
    }


def remove(store: Store, name: str, *, force: bool = False) -> None:
    """Remove a volume and all its files.

    force: a missing volume is not an error.
    Raises NotFound, Conflict if any container, running or not, mounts it, and DamagedFile if that
    is unknown.
    """
    try:
        inspect(store, name)
    except NotFound:
        if force:
            return
        raise
    with exclusive(f"{store.containers}/.lock"):  # no container is created meanwhile
        users = users_by_volume(store, strictly=True).get(name)
        if users:
            raise Conflict(
                f"remove {name}: volume is in use - [{', '.join(users)}]",
                hint="remove the containers first: minidock rm " + " ".join(u[:12] for u in users),
            )
        _remove(store, name)


def remove_garbage(store: Store, name: str) -> None:
    """Remove a directory if it is a leftover of an interrupted creation or removal."""
    with exclusive(f"{store.volumes}/.lock"):
        if _is_garbage(store, name):
            remove_tree(store, f"{store.volumes}/{name}")


def list_garbage(store: Store) -> builtins.list[str]:
    """List the directories that are not a volume, or are just being created or removed."""
    try:
        names = os.listdir(store.volumes)
    except FileNotFoundError:
        return []
    return [
        name
        for name in names
        if name.startswith(_REMOVED) or (is_component(name) and _is_garbage(store, name))
    ]


def _is_garbage(store: Store, name: str) -> bool:
    """Whether this is a half created or half removed volume."""
    if name.startswith(_REMOVED):
        return True
    home = store.volume(name)
    return os.path.isdir(home) and not _is_volume(store, name) and all(map(_is_ours, _names(home)))


def _is_volume(store: Store, name: str) -> bool:
    """Whether a volume of this name exists, which may have lost its document.

    Without a document, an empty directory is half created, unless a container mounts it; one
    without _data is foreign.
    """
    if os.path.lexists(_document_path(store, name)):
        return True
    if not os.path.isdir(store.volume(name)):
        return False
    if _names(path(store, name)):
        return True
    try:
        return name in users_by_volume(store, strictly=True)
    except DamagedFile:  # it is unknown whether a container mounts it
        return all(map(_is_ours, _names(store.volume(name))))


def _names(directory: str) -> builtins.list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_ours(name: str) -> bool:
    """Whether the creation of a volume creates this file beside its document."""
    return name in ("_data", "made-for", "copying", "copied") or (
        name.startswith(("volume.json.", "made-for.")) and name.endswith(".new")
    )


def undo_create(store: Store, name: str, container_id: str) -> None:
    """Remove a volume that was created for a container whose creation failed.

    The caller holds the lock of the containers' directory. The name was recorded before the volume
    was created, so the record proves nothing: a volume stays unless its own file made-for names
    this container, or if a container mounts it. If nothing was created yet, nothing is created now:
    on a full disk that would fail even for the lock file.
    """
    if not _may_be_name(name) or users_by_volume(store, strictly=True).get(name):
        return
    try:
        with open(_made_for(store, name), "rb") as file:
            is_ours = file.read() == container_id.encode()
    except (FileNotFoundError, NotADirectoryError):
        return
    if is_ours:
        _remove(store, name)


def _remove(store: Store, name: str) -> None:
    with exclusive(f"{store.volumes}/.lock"):
        removed = f"{store.volumes}/{_REMOVED}{name}"
        remove_tree(store, removed)
        if os.path.lexists(store.volume(name)):
            os.rename(store.volume(name), removed)  # from here on it is garbage
        emit(store, "volume", "destroy", name, driver="local")
        remove_tree(store, removed)


def users_by_volume(store: Store, *, strictly: bool = False) -> dict[str, builtins.list[str]]:
    """Return the volumes that containers mount, with their ids. strictly: see `documents`."""
    users: dict[str, builtins.list[str]] = {}
    for document in list_documents(store, strictly=strictly):
        for point in document.get("Mounts") or ():
            if point["Type"] == "volume":
                users.setdefault(point["Name"], []).append(document["Id"])
    return users


def path(store: Store, name: str) -> str:
    """Return the directory that containers see."""
    return f"{store.volume(name)}/_data"


def check_name(name: str) -> None:
    """Raise UsageError for an invalid volume name."""
    if _may_be_name(name):
        return
    if len(name) < 2:
        raise UsageError(
            f"create {name}: volume name is too short, "
            "names should be at least two alphanumeric characters"
        )
    raise UsageError(
        f'create {name}: "{name}" includes invalid characters for a local volume name, '
        'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed',
        hint="if you intended to pass a host directory, use an absolute path",
    )


def _may_be_name(name: str) -> bool:
    return 2 <= len(name) <= 255 and name[0] in _FIRST and _OTHERS.issuperset(name)


def _made_for(store: Store, name: str) -> str:
    return f"{store.volume(name)}/made-for"


def _document_path(store: Store, name: str) -> str:
    return f"{store.volume(name)}/volume.json"
