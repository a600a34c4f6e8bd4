"""Firewall rules of a store: chains without a bridge, and ports of containers that do not run.

A rule of ours names its container in a comment. It is left over where that does not run; a rule
without one is left alone, as are rules that somebody else has put into our chains.

Source: iptables-save(8), iptables-restore(8).
"""

from __future__ import annotations

from functools import partial

from minidock.engine.leftovers.kernel_objects import devices_of, gone_bridges
from minidock.engine.leftovers.leftover import Thing, living
from minidock.engine.network import bridge, firewall
from minidock.errors import MinidockError
from minidock.kernel import iptables, link
from minidock.kernel.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store


def rules(store: Store) -> Iterator[Thing]:
    """Chains of bridges that are not there, and rules that lead to containers that do not run."""
    try:
        iptables.find("iptables-save")
    except MinidockError:
        return  # then nobody has made rules by it
    saved = iptables.Listing().text()
    with Netlink() as host:
        devices = {each.name: bridge.is_owned_by(store, each) for each in link.every(host)}
    known, alive, gone = devices_of(store), living(store), gone_bridges(store)
    if known is None:
        return  # which bridge is whose, a damaged file does not say
    own = {*known, store.bridge, store.derived_bridge}
    for device in firewall.devices_of_chains(saved):
        why = ""
        if device not in devices and (device in own or store.is_default):
            why = f"the rules of {device}, a bridge that is not there"
        elif device in gone:
            why = f"the rules of {device}, whose network is gone"
        elif devices.get(device):
            yield from _of_ended(saved, device, alive)
        if why and bridge.rules_removal(store, saved, device):
            yield Thing(
                "rule", firewall.chain_of(device), owner="", why=why,
                remove=partial(_remove_chains, store, device),
            )  # fmt: skip


def _of_ended(saved: str, device: str, alive: dict[str, int]) -> Iterator[Thing]:
    """The rules of ports of containers that do not run."""
    shorts = {container_id[:12] for container_id in alive}
    for table, chains in firewall.parse(saved).items():
        chain = firewall.chain_of(device)
        for line in chains.get(chain, []):
            short = firewall.container_of(line)
            if short and short not in shorts:
                text = f"*{table}\n-D {chain} {line}\nCOMMIT\n"
                yield Thing(
                    "rule", f"{table}: -A {chain} {line}", owner="",
                    why=f"it leads to container {short}, which does not run",
                    remove=partial(iptables.restore, text),
                )  # fmt: skip


def _remove_chains(store: Store, device: str) -> None:
    """Take away the chains of a bridge that is gone, and all that jumps to them."""
    if text := bridge.rules_removal(store, iptables.Listing().text(), device):
        iptables.restore(text)
