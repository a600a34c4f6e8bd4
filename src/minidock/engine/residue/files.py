"""What is in the store and in /run, and belongs to nothing: half made, half removed, half written.

Who makes or removes something holds a lock meanwhile (engine/locks.py, engine/store.py); so under
that lock, or with a lock of its own that nobody holds, what is not whole was left.
"""

from __future__ import annotations

import fcntl
import os
import re
from functools import partial

from minidock.engine.container.containers import every as every_container
from minidock.engine.container.containers import sweep
from minidock.engine.container.names import every_name, holder_of
from minidock.engine.locks import exclusive
from minidock.engine.network import networks
from minidock.engine.network.file import Locked
from minidock.engine.network.file import every as every_network
from minidock.engine.residue.thing import Thing, whose
from minidock.engine.store import StoreLock
from minidock.engine.tree import remove_tree
from minidock.paths import is_component

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store

_UNFINISHED = re.compile(r"\.(\d+)\.new$")  # small_file.replace: the writer's pid


def directories(store: Store) -> Iterator[Thing]:
    """Of runs in /run, of containers and volumes that are not whole, and of work cut short."""
    for name in _entries(store.run):
        if name != os.path.basename(store.sealed):
            path = f"{store.run}/{name}"
            yield Thing(
                "directory", path, owner=name, why=whose(store, name),
                remove=partial(remove_tree, store, path),
            )  # fmt: skip
    for kind, home, document in (
        ("container", store.containers, "container.json"),
        ("volume", store.volumes, "volume.json"),
    ):
        for name in _half_made(home, document):
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
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def files(store: Store) -> Iterator[Thing]:
    """Files whose writer was killed before it could rename them, and names of no container."""
    for directory in (store.root, *(f"{store.containers}/{n}" for n in _entries(store.containers))):
        for name in _entries(directory):
            writer = _UNFINISHED.search(name)
            if writer and not os.path.exists(f"/proc/{writer[1]}"):
                yield _unfinished(f"{directory}/{name}")
    if os.path.isdir(store.networks):
        with Locked(store):
            left = [name for name in _entries(store.networks) if name.endswith(".new")]
        yield from (_unfinished(f"{store.networks}/{name}") for name in left)
    if os.path.isdir(store.containers):
        with exclusive(f"{store.containers}/.lock"):
            names = [n for n in every_name(store) if not _is_there(store, holder_of(store, n))]
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
    def remove() -> None:
        if os.path.exists(path):
            os.unlink(path)

    return Thing("file", path, owner="", why="its writer was killed", remove=remove)


def _is_there(store: Store, container_id: str) -> bool:
    return bool(container_id) and os.path.exists(store.container(container_id).document)


def _sweep_store(store: Store) -> None:
    with StoreLock(store):
        pass  # it sweeps


def _lacks(directory: str, name: str) -> bool:
    return os.path.isdir(directory) and not os.path.exists(f"{directory}/{name}")


def _entries(directory: str) -> list[str]:
    """What minidock may have made in a directory, but for locks; nothing where it is gone."""
    try:
        return sorted(name for name in os.listdir(directory) if is_component(name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _half_made(home: str, document: str) -> list[str]:
    """The entries of a directory that lack what is written last."""
    if not os.path.isdir(home):
        return []
    with exclusive(f"{home}/.lock"):
        return [name for name in _entries(home) if _lacks(f"{home}/{name}", document)]
