"""Find incomplete directories and files in the store and in /run.

A command that creates or removes one holds a lock meanwhile (engine/store/locks.py,
engine/store/store.py). So an incomplete directory is a leftover if it is seen under that lock, or
if its own lock is free.
"""

from __future__ import annotations

import os
from functools import partial

from minidock.document import writer_of
from minidock.engine.container import volumes
from minidock.engine.container.lookup import list_containers
from minidock.engine.container.name_links import holder_of, list_names
from minidock.engine.container.repair import remove_garbage
from minidock.engine.container.volume_mounts import release_volumes
from minidock.engine.container.volume_mounts import users_of as volume_users
from minidock.engine.leftovers.leftover import Leftover, describe_owner, list_scripts
from minidock.engine.network import networks
from minidock.engine.network.network_json import LockedNetworks
from minidock.engine.network.network_json import read_all as list_networks
from minidock.engine.store import container_json
from minidock.engine.store.container_json import list_ids
from minidock.engine.store.locks import exclusive, is_held
from minidock.engine.store.store import StoreLock, remove_abandoned
from minidock.engine.store.tree_removal import remove_tree
from minidock.paths import is_component, is_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store


def find_directories(store: Store) -> Iterator[Leftover]:
    """Find containers' directories in /run, incomplete containers and volumes, abandoned work."""
    for name in filter(is_sha256, _entries(store.run)):
        path = f"{store.run}/{name}"
        yield Leftover(
            "directory", path, owner=name, why=describe_owner(store, name),
            remove=partial(remove_tree, store, path),
        )  # fmt: skip
    for name in _incomplete_containers(store):
        yield Leftover(
            "directory", f"{store.containers}/{name}", owner=name,
            why="a container that was half created or half removed",
            remove=partial(remove_garbage, store, name),
        )  # fmt: skip
    for name in volumes.list_garbage(store):
        yield Leftover(
            "directory", f"{store.volumes}/{name}", owner="",
            why="a volume that was half created or half removed",
            remove=partial(volumes.remove_garbage, store, name),
        )  # fmt: skip
    for name in _entries(store.staging):
        if not is_locked(f"{store.staging}/{name}"):
            yield Leftover(
                "directory", f"{store.staging}/{name}", owner="", why="interrupted work",
                remove=partial(_remove_abandoned, store, name),
            )  # fmt: skip


def is_locked(path: str) -> bool:
    """Whether a process works in a directory of staging/; also true if it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    return is_held(descriptor)


def find_files(store: Store) -> Iterator[Leftover]:
    """Find files of killed writers, names of no container, and records of stopped containers."""
    yield from _usage_records(store)
    yield from _temporary_files(store)
    yield from _stale_names(store)


def _usage_records(store: Store) -> Iterator[Leftover]:
    """Find records of containers that use a volume, and of scripts."""
    for name, users in volume_users(store).items():
        for user in users:
            path = f"{store.run}/volumes/{name}/{user}"
            yield Leftover(
                "file", path, owner=user, why=describe_owner(store, user),
                remove=partial(release_volumes, store, user),
            )  # fmt: skip
    for script in list_scripts() if store.is_default else ():
        yield Leftover(
            "file", script.record, owner=script.id, why=describe_owner(store, script.id),
            remove=partial(_unlink, script.record),
        )  # fmt: skip


def _temporary_files(store: Store) -> Iterator[Leftover]:
    """Find files whose writer was killed before it renamed them."""
    homes = (store.containers, store.volumes)
    for directory in (
        store.root, store.blobs, store.build_steps, store.lab,
        *(f"{home}/{name}" for home in homes for name in _entries(home)),
        *(f"{store.containers}/{name}/bundle" for name in _entries(store.containers)),
    ):  # fmt: skip
        for name in _entries(directory):
            writer = writer_of(name)
            if writer and not os.path.exists(f"/proc/{writer}"):  # thread ids have an entry, too
                yield _temporary_file(f"{directory}/{name}")
    if os.path.isdir(store.networks):
        with LockedNetworks(store):
            names = [name for name in _entries(store.networks) if name.endswith(".new")]
        yield from (_temporary_file(f"{store.networks}/{name}") for name in names)


def _stale_names(store: Store) -> Iterator[Leftover]:
    """Find name links that point to no container; listing the containers removes them."""
    if not os.path.isdir(store.containers):
        return
    with exclusive(f"{store.containers}/.lock"):
        holders = {name: holder_of(store, name) for name in list_names(store)}
        names = [n for n, holder in holders.items() if holder and not _exists(store, holder)]
    for name in names:
        yield Leftover(
            "file", store.name(name), owner="", why="a name without a container",
            remove=partial(list_containers, store),
        )  # fmt: skip


def find_addresses(store: Store) -> Iterator[Leftover]:
    """Find addresses that are leased to a container."""
    for network in list_networks(store):
        for container_id, lease in network["Leases"].items():
            yield Leftover(
                "address", f"{lease['Address']} of network {network['Name']}", owner=container_id,
                why=describe_owner(store, container_id),
                remove=partial(networks.disconnect, store, container_id),
            )  # fmt: skip


def _temporary_file(path: str) -> Leftover:
    return Leftover(
        "file", path, owner="", why="its writer was killed", remove=partial(_unlink, path)
    )


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _exists(store: Store, container_id: str) -> bool:
    return not container_json.is_incomplete(store.container(container_id))


def _remove_abandoned(store: Store, name: str) -> None:
    with StoreLock(store, sweeps=False):
        remove_abandoned(store, name)


def _entries(directory: str) -> list[str]:
    """List the entries of a directory without lock files; empty if it is gone."""
    try:
        return sorted(name for name in os.listdir(directory) if is_component(name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _incomplete_containers(store: Store) -> list[str]:
    """List the containers that are half created or half removed while no command works on them."""
    if not os.path.isdir(store.containers):
        return []
    with exclusive(f"{store.containers}/.lock"):
        return [each for each in list_ids(store) if container_json.is_garbage(store, each)]
