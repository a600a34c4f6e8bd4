"""Find stale firewall rules of a store: chains without a bridge, ports of stopped containers.

minidock's rules name their container in a comment. A rule is left over if that container does not
run. Rules without such a comment stay, also those that someone added to minidock's chains.

Source: iptables-save(8), iptables-restore(8).
"""

from __future__ import annotations

from functools import partial

from minidock.engine.leftovers.kernel_objects import devices_of, unused_bridges
from minidock.engine.leftovers.leftover import Leftover, owners_by_container
from minidock.engine.network import bridge, firewall
from minidock.errors import MinidockError
from minidock.kernel import iptables, link
from minidock.kernel.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store


def find_rules(store: Store) -> Iterator[Leftover]:
    """Find chains of missing bridges, and rules that forward to containers that do not run."""
    try:
        iptables.find("iptables-save")
    except MinidockError:
        return  # so no rules were made with it
    saved = iptables.Listing().text()
    with Netlink() as host:
        devices = {each.name: bridge.is_owned_by(store, each) for each in link.list_links(host)}
    known, owners, unused = devices_of(store), owners_by_container(store), unused_bridges(store)
    if known is None:
        return  # a damaged network file might name one of the bridges
    own = {*known, store.bridge, store.derived_bridge}
    for device in firewall.devices_of_chains(saved):
        why = ""
        if device not in devices and (device in own or store.is_default):
            why = f"the rules of {device}, a bridge that does not exist"
        elif device in unused:
            why = f"the rules of {device}, whose network is gone"
        elif devices.get(device):
            yield from _stale_port_rules(saved, device, owners)
        if why and bridge.rules_removal(store, saved, device):
            yield Leftover(
                "rule", firewall.chain_of(device), owner="", why=why,
                remove=partial(_remove_chains, store, device),
            )  # fmt: skip


def _stale_port_rules(saved: str, device: str, owners: dict[str, int]) -> Iterator[Leftover]:
    """Find the rules for published ports of containers that do not run."""
    short_ids = {container_id[:12] for container_id in owners}
    for table, chains in firewall.parse(saved).items():
        chain = firewall.chain_of(device)
        for line in chains.get(chain, []):
            short_id = firewall.container_of(line)
            if short_id and short_id not in short_ids:
                text = f"*{table}\n-D {chain} {line}\nCOMMIT\n"
                yield Leftover(
                    "rule", f"{table}: -A {chain} {line}", owner="",
                    why=f"it forwards to container {short_id}, which does not run",
                    remove=partial(iptables.restore, text),
                )  # fmt: skip


def _remove_chains(store: Store, device: str) -> None:
    """Remove the chains of a bridge that is gone, and the rules that jump to them."""
    if text := bridge.rules_removal(store, iptables.Listing().text(), device):
        iptables.restore(text)
