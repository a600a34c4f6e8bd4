"""Container names: one symbolic link for each, names/NAME -> container id.

So a name is looked up by one readlink(2), and is unique at any time. A killed command can leave a
stale link, whose target is not a container of that name; the next user of the name replaces it, or
the next sweep removes it.

Names are assigned and released under the lock of the containers' directory.
"""

from __future__ import annotations

import os

from minidock.errors import NameInUse
from minidock.paths import Store, is_component


def list_names(store: Store) -> list[str]:
    """List all assigned names."""
    try:
        return [name for name in os.listdir(store.names) if is_component(name)]
    except FileNotFoundError:
        return []


def holder_of(store: Store, name: str) -> str:
    """Return the id of the container that has a name, or ""."""
    if not is_component(name):
        return ""
    try:
        return os.readlink(store.name(name))
    except OSError:
        return ""


def claim_name(store: Store, name: str, container_id: str) -> None:
    """Assign a name to a container.

    Raises Conflict if another container has it.
    """
    os.makedirs(store.names, mode=0o700, exist_ok=True)
    holder = holder_of(store, name)
    if holder and holder != container_id:
        if os.path.exists(store.container(holder).document):
            raise NameInUse(
                f'the container name "/{name}" is already in use by container "{holder}"',
                hint=f"start it (minidock start {name}), remove it (minidock rm -f {name}), "
                "or choose another name",
            )
        os.unlink(store.name(name))
    if holder != container_id:
        os.symlink(container_id, store.name(name))


def release_names(store: Store, container_id: str, names: set[str]) -> None:
    """Release those of these names that belong to this container."""
    for name in names:
        if container_id and name and holder_of(store, name) == container_id:
            os.unlink(store.name(name))
