"""Down: what outlives the containers until a reboot is unmade.

A store's first container makes for it, and each later one finds there:

    a bridge with its firewall rules, and the machine's forwarding     engine/network
    the sealed interpreter, a mount in /run                            runtime/seal.py
    the parent of its cgroups                                          kernel/cgroup_tree.py

Images, containers and volumes stay: the next container makes the rest anew.
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
    """Unmake all that a store keeps in the kernel and in /run; what is gone already stays gone.

    Raises Conflict while a container runs, or waits to be started again: it would lose its network.
    """
    busy = [container.name for container in list_containers(store) if _is_needed(container)]
    if busy:
        raise Conflict(
            f"these containers run: {', '.join(busy)}",
            hint="`minidock system stop-all` ends them all",
        )
    if os.path.isdir(store.networks):
        networks.teardown(store)
    unseal(store.run)
    cgroup_tree.remove_parent(cgroup_tree.home_of(store.cgroup_parent))
    try:
        os.rmdir(store.run)
    except OSError:
        return  # there is none; or a container is just starting, and will make the rest again


def _is_needed(container: Container) -> bool:
    """Whether a container runs, or will; one that is just being cleared away is waited for."""
    try:
        return bool(
            container.monitor_pid and wait_until_settled(container.store, container.id).monitor_pid
        )
    except NotFound:  # it has been removed
        return False
