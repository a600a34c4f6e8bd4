"""What a store keeps in the kernel between containers, for the next one: not leftovers.

`system down` removes it (engine/lifecycle/system_down.py).
"""

from __future__ import annotations

import os

from minidock.engine.leftovers.kernel_objects import devices_of
from minidock.engine.network import bridge, firewall
from minidock.kernel import link
from minidock.kernel.cgroup import MONITORS
from minidock.kernel.cgroup_tree import home_of, open_cgroup
from minidock.kernel.mountinfo import mount_points
from minidock.kernel.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store


def list_kept_resources(store: Store) -> Iterator[tuple[str, str, str]]:
    """List (kind, name, purpose) of each kept object."""
    for point in mount_points():
        if point.startswith(f"{store.sealed}/"):
            yield (
                "mount",
                point,
                "the read-only clone of the interpreter, from which every container starts",
            )
    with Netlink() as host:
        ours = [each for each in link.list_links(host) if bridge.is_owned_by(store, each)]
    for each in ours:
        if each.name in (devices_of(store) or {each.name}):
            yield "link", each.name, "the bridge of a network"
            yield "rule", firewall.chain_of(each.name), "its firewall rules, in chains of this name"
    if ours:
        yield "rule", firewall.user_chain(store), "the administrator's chain, asked before ours"
    parent = home_of(store.cgroup_parent)
    if any(os.path.isdir(os.path.dirname(d)) for d in open_cgroup(parent, MONITORS).directories()):
        yield "cgroup", f"/{parent}", "the cgroup above those of containers"
