"""Find damaged documents; move them to damaged/, where the user can inspect them.

    damaged/<time>+containers+<id>/           a stopped container with all its files
    damaged/<time>+networks+<name>.json       a file: its path below the store, "+" for "/"

The repair rebuilds what it can: images.json from the images' configs (without their names),
volume.json (without labels and options), state.json of a running container from the kernel. Files
that a running container may still need stay in place; its monitor rewrites container.json when the
container ends.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial

from minidock import document
from minidock.engine.container import volumes
from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.name_links import list_names, release_names
from minidock.engine.container.removal import stop_damaged
from minidock.engine.image import build_cache, images_json
from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import read_layer, size_of_layer
from minidock.engine.image.lock import ImagesLock
from minidock.engine.leftovers import lab
from minidock.engine.leftovers.leftover import Leftover, describe_owner, owners_by_container
from minidock.engine.network import network_json as network_file
from minidock.engine.store import container_json, event_log, journal
from minidock.engine.store.container_json import list_documents, list_ids
from minidock.engine.store.locks import exclusive
from minidock.engine.store.store import is_initialized, needs_recovery
from minidock.engine.store.timestamps import NEVER, timestamp
from minidock.errors import Conflict, DamagedFile, MinidockError, NotFound
from minidock.kernel import process
from minidock.oci import image_config
from minidock.oci.digest import PREFIX, chain_ids
from minidock.paths import is_sha256
from minidock.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.document import Shape
    from minidock.document_types.image import ImageRecord
    from minidock.document_types.runtime_spec import StateDocument
    from minidock.paths import ContainerPaths, Store

KIND = "damaged"


def find_damaged(store: Store) -> Iterator[Leftover]:
    """Find every damaged document of a store."""
    if not is_initialized(store):
        return
    for container_id in list_ids(store):
        yield from _container_files(store, container_id)
    yield from _networks(store)
    yield from _volumes(store)
    yield from _images(store)
    yield from _cache(store)
    yield from _json_lines(store, store.events, event_log.SHAPE)
    for path in (store.build_journal, *map(store.network_journal, network_file.list_names(store))):
        yield from _json_lines(store, path, journal.SHAPE)
    yield from _json_file(store, store.lab_note, lab.NOTE_SHAPE)


def set_aside(store: Store, path: str) -> None:
    """Move a file or directory to damaged/; idempotent."""
    directory = f"{store.root}/damaged"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    origin = os.path.relpath(path, store.root).replace("/", "+")
    try:
        os.rename(path, f"{directory}/{now}.{time.time_ns() % 1_000_000_000:09}+{origin}")
    except FileNotFoundError:
        return
    document.sync(directory)


def _leftover(error: DamagedFile, remove: Callable[[], object], *, lost: str = "") -> Leftover:
    # No owner: damage of a running container is listed too.
    why = f"{error.why}; {lost}" if lost else error.why
    return Leftover(KIND, error.path, owner="", why=why, remove=remove)


def _refuse(error: DamagedFile, why: str) -> None:
    raise Conflict(f"not moved: {why}", hint=error.hint)


# --- containers ----------------------------------------------------------------------------------


def _container_files(store: Store, container_id: str) -> Iterator[Leftover]:
    paths = store.container(container_id)
    if container_json.is_garbage(store, container_id):
        return
    try:
        container_json.read(store, container_id)
    except DamagedFile as error:
        yield _leftover(error, partial(_set_container_aside, store, container_id, error))
    for lock in (paths.monitor_lock, paths.lock):
        if damage := _not_regular(lock, must_be=lock == paths.monitor_lock):
            yield _leftover(damage, partial(_replace_lock, store, container_id, damage))
    for path in (paths.manually_stopped, paths.made_volumes, paths.log):
        if damage := _not_regular(path):
            yield _leftover(damage, partial(set_aside, store, path))
    for path in (paths.journal, paths.exec_journal, paths.health_journal, paths.copy_journal):
        yield from _json_lines(store, path, journal.SHAPE)
    yield from _config_file(store, container_id)
    yield from _state_file(store, container_id)


def _config_file(store: Store, container_id: str) -> Iterator[Leftover]:
    """The bundle's config.json."""
    path = store.container(container_id).config
    try:
        document.read(path, dict)
    except FileNotFoundError:
        pass
    except DamagedFile as error:
        # Not durable: the next start writes it again, over any regular file.
        if container_id in owners_by_container(store) or _not_regular(path):
            yield _leftover(error, partial(_set_config_aside, store, container_id, error))


def _state_file(store: Store, container_id: str) -> Iterator[Leftover]:
    """The runtime's state.json, which a container that runs must have."""
    try:
        state.load(store.run, container_id)
    except NotFound:
        if _first_process(store, container_id):
            path = store.container(container_id).state
            missing = DamagedFile(path, "it is missing, but the container runs")
            yield _leftover(missing, partial(_restore_state, store, container_id, missing))
    except DamagedFile as error:
        if container_id in owners_by_container(store):
            yield _leftover(error, partial(_restore_state, store, container_id, error))


def _set_container_aside(store: Store, container_id: str, error: DamagedFile) -> None:
    if container_id in owners_by_container(store):
        _refuse(error, "the container runs; its monitor rewrites the file when it ends")
    stop_damaged(store, container_id)
    with exclusive(f"{store.containers}/.lock"):
        set_aside(store, store.container(container_id).home)
        release_names(store, container_id, set(list_names(store)))


def _set_config_aside(store: Store, container_id: str, error: DamagedFile) -> None:
    if container_id in owners_by_container(store):
        _refuse(error, "the container runs; its next start rewrites the file")
    set_aside(store, error.path)


def _replace_lock(store: Store, container_id: str, error: DamagedFile) -> None:
    """Replace a lock file that no process can hold by a new one."""
    if cgroup_of(store, container_id).exists():
        _refuse(error, f"a process runs {describe_owner(store, container_id)}")
    set_aside(store, error.path)
    os.close(document.open_regular(error.path, os.O_CREAT | os.O_RDWR))


def _restore_state(store: Store, container_id: str, error: DamagedFile) -> None:
    """Write state.json of a running container from its document and the kernel."""
    group, paths = cgroup_of(store, container_id), store.container(container_id)
    pid = _first_process(store, container_id)
    if not pid:
        _refuse(error, "its first process is unknown; remove it with `minidock rm -f`")
    content: StateDocument = {
        "id": container_id, "pid": pid, "startTime": process.start_time(pid),
        "bundle": paths.bundle, "rootfs": paths.merged, "created": state.now(),
        "cgroup": [group.parent, group.name], "annotations": {},
    }  # fmt: skip
    set_state_aside(store, paths)
    state.save(paths.run, content)


def _first_process(store: Store, container_id: str) -> int:
    """The pid in a container's document if that process is still in its cgroup, else 0."""
    try:
        content = container_json.read(store, container_id)
    except DamagedFile:
        return 0
    pid: int = content["State"]["Pid"] if content else 0
    return pid if pid in cgroup_of(store, container_id).pids() else 0


def set_state_aside(store: Store, paths: ContainerPaths) -> None:
    """Rename a damaged state.json within /run, which is another file system than damaged/."""
    with suppress(FileNotFoundError):
        os.rename(paths.state, f"{paths.run}/damaged-{time.time_ns()}")


# --- networks and volumes ------------------------------------------------------------------------


def _networks(store: Store) -> Iterator[Leftover]:
    for name in network_file.list_names(store):
        try:
            network_file.read(store, name)
        except DamagedFile as error:
            lost = "its options are lost" if name not in network_file.DRIVERS else ""
            yield _leftover(error, partial(_set_network_aside, store, name, error), lost=lost)


def _set_network_aside(store: Store, name: str, error: DamagedFile) -> None:
    running = owners_by_container(store)
    users = [d["Name"] for d in list_documents(store)
             if d["Id"] in running and name in d["NetworkSettings"]["Networks"]]  # fmt: skip
    known = {d["Id"] for d in list_documents(store)}
    if users or running.keys() - known:
        names = ", ".join(user.lstrip("/") for user in users) or "a container"
        _refuse(error, f"{names} runs and may be on the network; stop it first")
    with network_file.LockedNetworks(store):
        set_aside(store, error.path)


def _volumes(store: Store) -> Iterator[Leftover]:
    for name in sorted(os.listdir(store.volumes)) if os.path.isdir(store.volumes) else ():
        if name.startswith("."):
            continue
        try:
            volumes.inspect(store, name)
        except NotFound:
            continue
        except DamagedFile as error:
            yield _leftover(error, partial(_rebuild_volume_json, store, name, error),
                         lost="its labels and options are lost")  # fmt: skip


def _rebuild_volume_json(store: Store, name: str, error: DamagedFile) -> None:
    if os.path.ismount(volumes.path(store, name)):
        _refuse(error, "a container has it mounted")
    with exclusive(f"{store.volumes}/.lock"):
        with suppress(NotFound, DamagedFile):
            volumes.inspect(store, name)
            return  # it was being created
        set_aside(store, error.path)
        with suppress(NotFound):  # an empty volume that no container mounts is garbage
            with suppress(DamagedFile):
                volumes.inspect(store, name)
            os.makedirs(volumes.path(store, name), mode=0o755, exist_ok=True)
            volumes.write_document(store, name, options={}, labels={})


# --- images --------------------------------------------------------------------------------------


def _images(store: Store) -> Iterator[Leftover]:
    images = ImageStore(store)
    if needs_recovery(store):
        return  # the next change of the store recovers it
    try:
        catalog = images_json.read(store)
    except DamagedFile as error:
        lost = "rebuilt from the images' configs; their names are lost"
        yield _leftover(error, partial(_rebuild_images_json, store, error), lost=lost)
        return
    for image in images.list():
        try:
            image.present_layers()
            _ = image.config
        except DamagedFile as error:
            yield _leftover(error, partial(_refuse_rebuild, error))
    for chain_id in {c: 0 for record in catalog["images"].values() for c in record["layers"]}:
        try:
            if os.path.isdir(store.layer(chain_id)):
                read_layer(store, chain_id)
        except DamagedFile as error:
            yield _leftover(error, partial(_refuse_rebuild, error))


def _refuse_rebuild(error: DamagedFile) -> None:
    raise MinidockError("only the source of the image can restore it", hint=error.hint)


def _rebuild_images_json(store: Store, error: DamagedFile) -> None:
    """Write an images.json with every image whose config and layers exist."""
    with ImagesLock(store):
        set_aside(store, error.path)
        records: dict[str, ImageRecord] = {}
        for name in os.listdir(store.blobs):
            record = _record_of(store, name) if is_sha256(name) else None
            if record is not None:
                records[PREFIX + name] = record
        images_json.write(store, {"images": records, "references": {}})


def _record_of(store: Store, name: str) -> ImageRecord | None:
    try:
        config = image_config.parse(document.read_bytes(store.blob(name)))
    except MinidockError:
        return None  # not a config, or damaged as well
    layers = chain_ids(image_config.diff_ids(config))
    if not all(os.path.isdir(store.layer(chain_id)) for chain_id in layers):
        return None
    return {
        "layers": layers,
        "size": sum(size_of_layer(store, chain_id) for chain_id in layers),
        "created": config.get("created") or NEVER,
        "parent": "",
        "tagged": timestamp(),
    }


def _cache(store: Store) -> Iterator[Leftover]:
    for name in sorted(os.listdir(store.build_steps)) if os.path.isdir(store.build_steps) else ():
        path = f"{store.build_steps}/{name}"
        if is_sha256(name):
            yield from _json_file(store, path, build_cache.SHAPE)


# --- any file ------------------------------------------------------------------------------------


def _json_file(store: Store, path: str, shape: Shape) -> Iterator[Leftover]:
    try:
        document.read(path, shape)
    except FileNotFoundError:
        return
    except DamagedFile as error:
        yield _leftover(error, partial(set_aside, store, path))


def _json_lines(store: Store, path: str, shape: Shape) -> Iterator[Leftover]:
    """Check a JSON lines file and its predecessor; a line cut off by a power failure is valid."""
    for file in (f"{path}.1", path):
        try:
            *lines, _ = document.read_bytes(file).split(b"\n")
            for line in lines:
                if not document.is_cut_off(line):
                    document.parse(line, file, shape)
        except FileNotFoundError:
            continue
        except DamagedFile as error:
            yield _leftover(error, partial(set_aside, store, file))


def _not_regular(path: str, *, must_be: bool = False) -> DamagedFile | None:
    try:
        os.close(document.open_regular(path))
    except FileNotFoundError:
        if must_be:
            return DamagedFile(path, "it is missing, but the container exists")
    except DamagedFile as error:
        return error
    return None
