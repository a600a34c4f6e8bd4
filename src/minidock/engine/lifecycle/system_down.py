"""`system down`: remove a store's kernel objects, which otherwise last until a reboot.

The first container of a store creates them, and all later ones share them:

    bridges with their firewall rules, and IP forwarding               engine/network
    the sealed interpreter, a mount in /run                            runtime/seal.py
    the parent of its cgroups                                          kernel/cgroup_tree.py

Images, containers and volumes stay; the next container creates the rest again.
"""

from __future__ import annotations

import os

from minidock.engine.container.lookup import list_containers, wait_until_settled
from minidock.engine.network import networks
from minidock.errors import Conflict, NotFound
from minidock.kernel import cgroup_tree
from minidock.runtime.seal import unseal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container
    from minidock.paths import Store


def teardown_store(store: Store) -> None:
    """Remove everything that a store has in the kernel and in /run; idempotent.

    Raises Conflict while a container runs or is restarting: it would lose its network.
    """
    busy = [container.name for container in list_containers(store) if _is_active(container)]
    if busy:
        raise Conflict(
            f"containers are running: {', '.join(busy)}",
            hint="`minidock system stop-all` stops them",
        )
    if os.path.isdir(store.networks):
        networks.teardown(store)
    unseal(store.run)
    cgroup_tree.remove_parent(cgroup_tree.home_of(store.cgroup_parent))
    try:
        os.rmdir(store.run)
    except OSError:
        return  # it does not exist; or a container is just starting


def _is_active(container: Container) -> bool:
    """Whether a container runs or is restarting; waits for one that is being torn down."""
    try:
        return bool(
            container.monitor_pid and wait_until_settled(container.store, container.id).monitor_pid
        )
    except NotFound:  # it has been removed
        return False
