"""Damaged documents: found, and set aside in damaged/, from where a person may have them.

    damaged/<moment>+containers+<id>/           a container that does not run, with all its files
    damaged/<moment>+networks+<name>.json       a file: its path below the store, "+" for "/"

What the file was for is made again, as far as that is known from elsewhere: images.json from the
images' configs (their names are lost), volume.json (its labels and options are), the state of a
container that runs from the kernel. Nothing is set aside that a container which runs may still
need; its monitor writes container.json anew when it ends.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial

from minidock import document
from minidock.engine.container import volumes
from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.name_links import drop_names, every_name
from minidock.engine.container.removal import stop_damaged
from minidock.engine.image import build_cache, images_json
from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import read_layer, size_of_layer
from minidock.engine.image.lock import ImagesLock
from minidock.engine.leftovers import lab
from minidock.engine.leftovers.leftover import Thing, living, whose
from minidock.engine.network import network_json as network_file
from minidock.engine.store import container_json, events, journal
from minidock.engine.store.container_json import documents, ids
from minidock.engine.store.locks import exclusive
from minidock.engine.store.store import is_made, is_unsettled
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
    from typing import Any

    from minidock.paths import ContainerPaths, Store

KIND = "damaged"


def damaged(store: Store) -> Iterator[Thing]:
    """Every damaged document of a store that is made."""
    if not is_made(store):
        return
    for container_id in ids(store):
        yield from _of_container(store, container_id)
    yield from _networks(store)
    yield from _volumes(store)
    yield from _images(store)
    yield from _cache(store)
    yield from _lines(store, store.events, events.SHAPE)
    for path in (store.build_journal, *map(store.network_journal, network_file.list_names(store))):
        yield from _lines(store, path, journal.SHAPE)
    yield from _file(store, store.lab_note, lab.NOTE_SHAPE)


def set_aside(store: Store, path: str) -> None:
    """Rename what is at a path into damaged/; nothing happens where it is gone."""
    directory = f"{store.root}/damaged"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    came_from = os.path.relpath(path, store.root).replace("/", "+")
    try:
        os.rename(path, f"{directory}/{moment}.{time.time_ns() % 1_000_000_000:09}+{came_from}")
    except FileNotFoundError:
        return
    document.sync(directory)


def _thing(error: DamagedFile, remove: Callable[[], object], *, lost: str = "") -> Thing:
    # No owner: what runs is not passed over, but told of.
    return Thing(KIND, error.path, owner="", why=error.why + (f"; {lost}" if lost else ""),
                 remove=remove)  # fmt: skip


def _in_use(error: DamagedFile, why: str) -> None:
    raise Conflict(f"left where it is: {why}", hint=error.hint)


# --- containers ----------------------------------------------------------------------------------


def _of_container(store: Store, container_id: str) -> Iterator[Thing]:
    paths = store.container(container_id)
    if container_json.is_rubbish(store, container_id):
        return
    try:
        container_json.read(store, container_id)
    except DamagedFile as error:
        yield _thing(error, partial(_set_container_aside, store, container_id, error))
    for lock in (paths.monitor_lock, paths.lock):
        if wrong := _not_regular(lock, must_be=lock == paths.monitor_lock):
            yield _thing(wrong, partial(_renew_lock, store, container_id, wrong))
    for path in (paths.manually_stopped, paths.made_volumes, paths.log):
        if wrong := _not_regular(path):
            yield _thing(wrong, partial(set_aside, store, path))
    for path in (paths.journal, paths.exec_journal, paths.health_journal, paths.copy_journal):
        yield from _lines(store, path, journal.SHAPE)
    try:
        document.read(paths.config, dict)
    except FileNotFoundError:
        pass
    except DamagedFile as error:
        # Not durable, and made anew by the next start, which replaces any regular file.
        if container_id in living(store) or _not_regular(paths.config):
            yield _thing(error, partial(_unless_it_runs, store, container_id, error))
    try:
        state.load(store.run, container_id)
    except NotFound:
        if _first_process(store, container_id):
            missing = DamagedFile(paths.state, "it is missing, and the container runs")
            yield _thing(missing, partial(_restore_state, store, container_id, missing))
    except DamagedFile as error:
        if container_id in living(store):
            yield _thing(error, partial(_restore_state, store, container_id, error))


def _set_container_aside(store: Store, container_id: str, error: DamagedFile) -> None:
    if container_id in living(store):
        _in_use(error, "the container runs; its monitor writes the file anew when it ends")
    stop_damaged(store, container_id)
    with exclusive(f"{store.containers}/.lock"):
        set_aside(store, store.container(container_id).home)
        drop_names(store, container_id, set(every_name(store)))


def _unless_it_runs(store: Store, container_id: str, error: DamagedFile) -> None:
    if container_id in living(store):
        _in_use(error, "the container runs; its next start writes the file anew")
    set_aside(store, error.path)


def _renew_lock(store: Store, container_id: str, error: DamagedFile) -> None:
    """Put another file in the place of a lock, where nobody can hold the one that was there."""
    if cgroup_of(store, container_id).exists():
        _in_use(error, f"a process runs {whose(store, container_id)}")
    set_aside(store, error.path)
    os.close(document.open_regular(error.path, os.O_CREAT | os.O_RDWR))


def _restore_state(store: Store, container_id: str, error: DamagedFile) -> None:
    """Write the state of a container that runs as the kernel and its document have it."""
    group, paths = cgroup_of(store, container_id), store.container(container_id)
    pid = _first_process(store, container_id)
    if not pid:
        _in_use(error, "nobody knows its first process; end it by `minidock rm -f`")
    content: dict[str, Any] = {
        "id": container_id, "pid": pid, "startTime": process.start_time(pid),
        "bundle": paths.bundle, "rootfs": paths.merged, "created": state.now(),
        "cgroup": [group.parent, group.name], "annotations": {},
    }  # fmt: skip
    set_aside_in_run(store, paths)
    state.save(paths.run, content)


def _first_process(store: Store, container_id: str) -> int:
    """The pid of a container's first process as its document has it, if it lives; otherwise 0."""
    try:
        found = container_json.read(store, container_id)
    except DamagedFile:
        return 0
    pid: int = found["State"]["Pid"] if found else 0
    return pid if pid in cgroup_of(store, container_id).pids() else 0


def set_aside_in_run(store: Store, paths: ContainerPaths) -> None:
    """What is in the place of a state: /run is another file system, and it says nothing."""
    with suppress(FileNotFoundError):
        os.rename(paths.state, f"{paths.run}/damaged-{time.time_ns()}")


# --- networks and volumes ------------------------------------------------------------------------


def _networks(store: Store) -> Iterator[Thing]:
    for name in network_file.list_names(store):
        try:
            network_file.read(store, name)
        except DamagedFile as error:
            lost = "what was asked for is lost" if name not in network_file.DRIVERS else ""
            yield _thing(error, partial(_set_network_aside, store, name, error), lost=lost)


def _set_network_aside(store: Store, name: str, error: DamagedFile) -> None:
    running = living(store)
    users = [d["Name"] for d in documents(store)
             if d["Id"] in running and name in d["NetworkSettings"]["Networks"]]  # fmt: skip
    known = {d["Id"] for d in documents(store)}
    if users or running.keys() - known:
        who = ", ".join(user.lstrip("/") for user in users) or "a container"
        _in_use(error, f"{who} runs and may be on the network; stop it first")
    with network_file.LockedNetworks(store):
        set_aside(store, error.path)


def _volumes(store: Store) -> Iterator[Thing]:
    for name in sorted(os.listdir(store.volumes)) if os.path.isdir(store.volumes) else ():
        if name.startswith("."):
            continue
        try:
            volumes.inspect(store, name)
        except NotFound:
            continue
        except DamagedFile as error:
            yield _thing(error, partial(_renew_volume, store, name, error),
                         lost="its labels and options are lost")  # fmt: skip


def _renew_volume(store: Store, name: str, error: DamagedFile) -> None:
    if os.path.ismount(volumes.path(store, name)):
        _in_use(error, "a container has it mounted")
    with exclusive(f"{store.volumes}/.lock"):
        with suppress(NotFound, DamagedFile):
            volumes.inspect(store, name)
            return  # it was just being made
        set_aside(store, error.path)
        with suppress(NotFound):  # what is empty, and of no container, is garbage now
            with suppress(DamagedFile):
                volumes.inspect(store, name)
            os.makedirs(volumes.path(store, name), mode=0o755, exist_ok=True)
            volumes.describe(store, name, options={}, labels={})


# --- images --------------------------------------------------------------------------------------


def _images(store: Store) -> Iterator[Thing]:
    images = ImageStore(store)
    if is_unsettled(store):
        return  # the next change of the store puts it right
    try:
        catalogue = images_json.read(store)
    except DamagedFile as error:
        lost = "made anew of the images' configs, whose names are lost"
        yield _thing(error, partial(_renew_catalogue, store, error), lost=lost)
        return
    for image in images.list():
        try:
            image.present_layers()
            _ = image.config
        except DamagedFile as error:
            yield _thing(error, partial(_cannot_renew, error))
    for chain_id in {c: 0 for record in catalogue["images"].values() for c in record["layers"]}:
        try:
            if os.path.isdir(store.layer(chain_id)):
                read_layer(store, chain_id)
        except DamagedFile as error:
            yield _thing(error, partial(_cannot_renew, error))


def _cannot_renew(error: DamagedFile) -> None:
    raise MinidockError("only its image's source has it", hint=error.hint)


def _renew_catalogue(store: Store, error: DamagedFile) -> None:
    """Write an images.json that knows every image whose config and layers are there."""
    with ImagesLock(store):
        set_aside(store, error.path)
        records: dict[str, Any] = {}
        for name in os.listdir(store.blobs):
            record = _record_of(store, name) if is_sha256(name) else None
            if record is not None:
                records[PREFIX + name] = record
        images_json.write(store, {"images": records, "references": {}})


def _record_of(store: Store, name: str) -> dict[str, Any] | None:
    try:
        config = image_config.parse(document.read_bytes(store.blob(name)))
    except MinidockError:
        return None  # it is not a config, or damaged too
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


def _cache(store: Store) -> Iterator[Thing]:
    for name in sorted(os.listdir(store.build_steps)) if os.path.isdir(store.build_steps) else ():
        path = f"{store.build_steps}/{name}"
        if is_sha256(name):
            yield from _file(store, path, build_cache.SHAPE)


# --- any file ------------------------------------------------------------------------------------


def _file(store: Store, path: str, shape: Any) -> Iterator[Thing]:
    try:
        document.read(path, shape)
    except FileNotFoundError:
        return
    except DamagedFile as error:
        yield _thing(error, partial(set_aside, store, path))


def _lines(store: Store, path: str, shape: Any) -> Iterator[Thing]:
    """A file of one JSON object a line, and the older one beside it; what a power cut left in them
    is no damage."""
    for each in (f"{path}.1", path):
        try:
            *lines, _ = document.read_bytes(each).split(b"\n")
            for line in lines:
                if not document.is_cut_off(line):
                    document.parse(line, each, shape)
        except FileNotFoundError:
            continue
        except DamagedFile as error:
            yield _thing(error, partial(set_aside, store, each))


def _not_regular(path: str, *, must_be: bool = False) -> DamagedFile | None:
    try:
        os.close(document.open_regular(path))
    except FileNotFoundError:
        if must_be:
            return DamagedFile(path, "it is missing, and the container is there")
    except DamagedFile as error:
        return error
    return None
