"""What is in the store and in /run, and belongs to nothing: half made, half removed, half written.

A command that makes or removes something holds a lock meanwhile (engine/store/locks.py,
engine/store/store.py); so under that lock, or with a lock of its own that nobody holds, what is not
whole was left.
"""

from __future__ import annotations

import os
from functools import partial

from minidock.document import writer_of
from minidock.engine.container import volumes
from minidock.engine.container.lookup import list_containers as every_container
from minidock.engine.container.name_links import every_name, holder_of
from minidock.engine.container.repair import sweep
from minidock.engine.container.volume_mounts import let_go
from minidock.engine.container.volume_mounts import users_of as volume_users
from minidock.engine.image.lock import ImagesLock
from minidock.engine.leftovers.leftover import Thing, scripts, whose
from minidock.engine.network import networks
from minidock.engine.network.network_json import LockedNetworks
from minidock.engine.network.network_json import read_all as every_network
from minidock.engine.store import container_json
from minidock.engine.store.container_json import ids
from minidock.engine.store.locks import exclusive, is_held
from minidock.engine.store.tree_removal import remove_tree
from minidock.paths import is_component, is_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store


def directories(store: Store) -> Iterator[Thing]:
    """Of runs in /run, of containers and volumes that are not whole, and of work cut short."""
    for name in filter(is_sha256, _entries(store.run)):
        path = f"{store.run}/{name}"
        yield Thing(
            "directory", path, owner=name, why=whose(store, name),
            remove=partial(remove_tree, store, path),
        )  # fmt: skip
    for kind, home, names in (
        ("container", store.containers, _half_made(store)),
        ("volume", store.volumes, volumes.rubbish(store)),
    ):
        for name in names:
            yield Thing(
                "directory", f"{home}/{name}", owner=name if kind == "container" else "",
                why=f"a {kind} that was not made to its end, or not removed",
                remove=partial(sweep, store),
            )  # fmt: skip
    for name in _entries(store.staging):
        if not is_locked(f"{store.staging}/{name}"):
            yield Thing(
                "directory", f"{store.staging}/{name}", owner="", why="work that was cut short",
                remove=partial(_sweep_store, store),
            )  # fmt: skip


def is_locked(path: str) -> bool:
    """Whether somebody is at work in a directory of staging/, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    return is_held(descriptor)


def files(store: Store) -> Iterator[Thing]:
    """Files whose writer was killed before it could rename them, names of no container, and notes
    of who uses what that does not run."""
    for name, users in volume_users(store).items():
        for user in users:
            yield Thing(
                "file", f"{store.run}/volumes/{name}/{user}", owner=user, why=whose(store, user),
                remove=partial(let_go, store, user),
            )  # fmt: skip
    for script in scripts() if store.is_default else ():
        yield Thing(
            "file", script.record, owner=script.id, why=whose(store, script.id),
            remove=partial(_drop, script.record),
        )  # fmt: skip
    homes = (store.containers, store.volumes)
    for directory in (
        store.root, store.blobs, store.build_steps, store.lab,
        *(f"{home}/{name}" for home in homes for name in _entries(home)),
        *(f"{store.containers}/{name}/bundle" for name in _entries(store.containers)),
    ):  # fmt: skip
        for name in _entries(directory):
            writer = writer_of(name)
            if writer and not os.path.exists(f"/proc/{writer}"):  # a thread's number, too
                yield _unfinished(f"{directory}/{name}")
    if os.path.isdir(store.networks):
        with LockedNetworks(store):
            left = [name for name in _entries(store.networks) if name.endswith(".new")]
        yield from (_unfinished(f"{store.networks}/{name}") for name in left)
    if os.path.isdir(store.containers):
        with exclusive(f"{store.containers}/.lock"):
            holders = {name: holder_of(store, name) for name in every_name(store)}
            names = [n for n, holder in holders.items() if holder and not _is_there(store, holder)]
        for name in names:
            yield Thing(
                "file", store.name(name), owner="", why="the name of no container",
                remove=partial(every_container, store),
            )  # fmt: skip


def addresses(store: Store) -> Iterator[Thing]:
    """Addresses that are kept for a container."""
    for network in every_network(store):
        for container_id, lease in network["Leases"].items():
            yield Thing(
                "address", f"{lease['Address']} of network {network['Name']}", owner=container_id,
                why=whose(store, container_id),
                remove=partial(networks.disconnect, store, container_id),
            )  # fmt: skip


def _unfinished(path: str) -> Thing:
    return Thing("file", path, owner="", why="its writer was killed", remove=partial(_drop, path))


def _drop(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _is_there(store: Store, container_id: str) -> bool:
    return not container_json.is_half_made(store.container(container_id))


def _sweep_store(store: Store) -> None:
    with ImagesLock(store):
        pass  # it sweeps


def _entries(directory: str) -> list[str]:
    """What minidock may have made in a directory, but for locks; nothing where it is gone."""
    try:
        return sorted(name for name in os.listdir(directory) if is_component(name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _half_made(store: Store) -> list[str]:
    """The containers that were not made to their end, and are not being made just now."""
    if not os.path.isdir(store.containers):
        return []
    with exclusive(f"{store.containers}/.lock"):
        return [each for each in ids(store) if container_json.is_rubbish(store, each)]
