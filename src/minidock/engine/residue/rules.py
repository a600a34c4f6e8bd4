"""Firewall rules of a store: chains without a bridge, and rules that its networks should not have.

What a network is to have follows from its file (engine/network/firewall.py); what it has, the
firewall is asked. The difference is residue.

Source: iptables-save(8), iptables-restore(8).
"""

from __future__ import annotations

from functools import partial

from minidock.engine.network import bridge, firewall, networks
from minidock.engine.network.file import every
from minidock.engine.residue.kernel import devices_of
from minidock.engine.residue.thing import Thing, living
from minidock.errors import MinidockError
from minidock.kernel import iptables, link
from minidock.kernel.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from minidock.paths import Store


def rules(store: Store) -> Iterator[Thing]:
    """Chains of bridges that are not there, and rules that lead to containers that do not run."""
    try:
        iptables.find("iptables-save")
    except MinidockError:
        return  # then nobody has made rules by it
    saved = iptables.Listing().text()
    with Netlink() as host:
        devices = {each.name: bridge.is_of(store, each) for each in link.every(host)}
    states = {str(network.get("Device", "")): network for network in every(store)}
    known, alive = devices_of(store), set(living(store))
    own = {*known, store.bridge, store.derived_bridge}
    for device in _devices_of_chains(saved):
        why = ""
        if device not in devices and (device in own or store.is_default):
            why = f"the rules of {device}, a bridge that is not there"
        elif devices.get(device) and device not in known:
            why = f"the rules of {device}, whose network is gone"
        elif devices.get(device) and device in states:
            yield from _surplus(saved, networks.rules(_with_leases(states[device], alive)))
        if why:
            yield Thing(
                "rule", firewall.chain_of(device), owner="", why=why,
                remove=partial(_remove_chains, device),
            )  # fmt: skip


def _devices_of_chains(saved: str) -> list[str]:
    names = {
        chain.removeprefix(firewall.PREFIX).removesuffix("-OUT")
        for chains in firewall.parse(saved).values()
        for chain in chains
        if chain.startswith(firewall.PREFIX)
    }
    return sorted(names)


def _with_leases(network: dict[str, Any], ids: set[str]) -> dict[str, Any]:
    leases = {each: lease for each, lease in network["Leases"].items() if each in ids}
    return {**network, "Leases": leases}


def _surplus(saved: str, needed: firewall.Tables) -> Iterator[Thing]:
    """The rules in a network's own chains that it should not have."""
    have = firewall.parse(saved)
    for table, chains in needed.items():
        for chain, lines in chains.items():
            for line in have.get(table, {}).get(chain, []):
                if line not in lines:
                    text = f"*{table}\n-D {chain} {line}\nCOMMIT\n"
                    yield Thing(
                        "rule", f"{table}: -A {chain} {line}", owner="",
                        why="it leads to a container that does not run"
                        if " DNAT " in line else "no network has such a rule",
                        remove=partial(iptables.restore, text),
                    )  # fmt: skip


def _remove_chains(device: str) -> None:
    """Take away the chains of a bridge that is gone, and all that jumps to them."""
    if text := firewall.removal(iptables.Listing().text(), device):
        iptables.restore(text)
