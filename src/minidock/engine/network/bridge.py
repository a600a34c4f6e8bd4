"""A network's bridge: the device, its subnet, and the machine's settings that it needs.

The device is made at the first use, and again when it is gone (a reboot, `ip link delete`). Its
alias says whose it is; a device of that name that is somebody else's is left alone. Subnets are
chosen against every route and address of the machine, under a lock of the whole machine, so that
two stores that start at the same moment choose different ones.

Forwarding is switched on, as Docker does; a machine that did not forward before must not become a
router for its neighbours by that, so FORWARD's policy becomes DROP with it, as Docker does too.
What was found is noted in /run, for `remove` to put back once nobody else needs it.

Sources: ip-sysctl.rst (ip_forward, route_localnet), ip-link(8).
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.document import Each
from minidock.engine.network import firewall, ipam
from minidock.engine.network.device_settings import harden, missing_settings
from minidock.engine.network.endpoint import MTU_OPTION
from minidock.engine.network.network_json import read_all
from minidock.engine.store.locks import exclusive
from minidock.errors import Conflict, DamagedFile, UsageError
from minidock.kernel import iptables, link, sysctl
from minidock.kernel.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.paths import Store

MACHINE_LOCK = "/run/minidock.lock"
FORWARDING = "net/ipv4/ip_forward"
NAME_OPTION = "com.docker.network.bridge.name"
_OURS = "minidock "  # how the alias of a store's bridge begins
_FREE = "without MINIDOCK_SUBNET a free one is chosen"
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def is_up(host: Netlink, store: Store, network: dict[str, Any]) -> bool:
    """Whether the network's bridge is there, on, with its address and settings, and the machine
    forwards.

    Raises Conflict where a device of that name is somebody else's.
    """
    device = network.get("Device")
    if not device:
        return False
    found = link.find(host, device)
    if found is None:
        return False
    check_owner(host, store, found)
    if not found.flags & link.IFF_UP or sysctl.read(FORWARDING) != "1":
        return False
    if any(missing_settings(device)):
        return False
    prefix = int(network["Subnet"].partition("/")[2])
    return (found.index, network["Gateway"], prefix) in link.every_address(host)


def ensure_bridge(host: Netlink, store: Store, network: dict[str, Any]) -> None:
    """Make the network's bridge, or what is missing of it, with the rules that guard it.

    Fills in network's "Device", "Subnet" and "Gateway"; the caller saves it.
    Raises Conflict (no free subnet, a device of that name), UsageError (MINIDOCK_SUBNET), or what
    the kernel refused.
    """
    device = device_of(store, network)
    check_name(device)
    with exclusive(MACHINE_LOCK):
        found = link.find(host, device)
        if found is not None:
            check_owner(host, store, found)
        subnet = assign_subnet(host, store, network, found.index if found else 0)
        gateway = asked_range(network).get("Gateway") or ipam.address_text(
            first_address(network, subnet)
        )
        if network.get("Subnet", str(subnet)) != str(subnet):
            discard_old_subnet(host, network, device, found)
        network.update({"Device": device, "Subnet": str(subnet), "Gateway": gateway})
        ensure_device(host, store, network)
        for cable in list_veths(host, network):  # an older version may have laid them
            harden(cable)
        enable_forwarding()


def remove(host: Netlink, store: Store, network: dict[str, Any]) -> None:
    """Take away the network's rules and bridge; the last one out puts the settings back.

    What is gone already stays gone.
    """
    device = device_of(store, network)
    with exclusive(MACHINE_LOCK):
        saved = iptables.Listing().text()
        found_once = _as_found()
        mine = found_once.get(_machine())
        last = mine is not None and not (
            firewall.forwards_for_others(saved, device) or _others_bridge(host, device)
        )
        policy = mine["policy"] if mine is not None and last else ""
        if text := rules_removal(store, saved, device, forward_policy=policy):
            iptables.restore(text)
        found = link.find(host, device)
        if found is not None and found.alias == alias_of(store):
            link.delete(host, device)
        if mine is not None and last:
            sysctl.write(FORWARDING, mine["forwarding"])
            del found_once[_machine()]
            _note(found_once)


def rules_removal(store: Store, saved: str, device: str, *, forward_policy: str = "") -> str:
    """What iptables-restore has to be told for a bridge's rules to go; "" where there are none.

    With the rules of a store's last bridge the administrator's chain goes, if it is empty still.
    """
    others = {each["Device"] for each in read_all(store) if "Device" in each} - {device}
    is_last = not others.intersection(firewall.devices_of_chains(saved))
    users = firewall.user_chain(store) if is_last else ""
    return firewall.removal(saved, device, user_chain=users, forward_policy=forward_policy)


def device_of(store: Store, network: dict[str, Any]) -> str:
    """A network's bridge: a user's network has had one of its own from the start."""
    return str(network["Device"]) if "Asked" in network else store.bridge


def asked_range(network: dict[str, Any]) -> dict[str, Any]:
    """The range of addresses that a user's network was asked to have."""
    return network.get("Asked") or {}


def first_address(network: dict[str, Any], subnet: ipam.Subnet) -> int:
    """The bridge's address where none was asked for: the first one that containers may have."""
    asked = asked_range(network).get("IPRange")
    within = ipam.parse_subnet(asked, longest=32) if asked else subnet
    return max(within.first, subnet.first + 1)


def ensure_device(host: Netlink, store: Store, network: dict[str, Any]) -> None:
    """Make the bridge step by step, each only if an interrupted attempt has not made it yet."""
    device, gateway = network["Device"], network["Gateway"]
    prefix = ipam.parse_subnet(network["Subnet"]).prefix
    if link.find(host, device) is None:
        link.add_bridge(host, device, mac=ipam.mac_of(ipam.parse_address(gateway)))
    harden(device)
    found = link.require(host, device)
    if not found.alias:
        link.set_alias(host, device, alias_of(store))
    if mtu := (network.get("Options") or {}).get(MTU_OPTION):
        link.set_mtu(host, device, int(mtu))
    if (found.index, gateway, prefix) not in link.every_address(host):
        link.add_address(host, device, gateway, prefix=prefix)
    if not found.flags & link.IFF_UP:
        link.set_up(host, device)


def list_veths(host: Netlink, network: dict[str, Any]) -> list[str]:
    """The host's ends of a network's cables, those that are there."""
    named = [lease["Cable"] for lease in network["Leases"].values() if "Cable" in lease]
    return [cable for cable in named if link.find(host, cable) is not None]


def set_localnet(device: str, *, allowed: bool) -> None:
    """Let 127/8 cross the bridge, as ports published on the host's loopback need it, or not."""
    setting, value = f"net/ipv4/conf/{device}/route_localnet", "1" if allowed else "0"
    if sysctl.read(setting) not in (value, None):
        sysctl.write(setting, value)


def assign_subnet(host: Netlink, store: Store, network: dict[str, Any], own: int) -> ipam.Subnet:
    """The subnet that the network is to have: asked for, or its own while free, or a free one.

    own: the bridge's index; its own address and route do not count as somebody else's.
    """
    addresses = link.every_address(host)
    ours = [subnet_around(address, prefix) for index, address, prefix in addresses if index == own]
    attached = [
        subnet_around(address, prefix) for index, address, prefix in addresses if index != own
    ]
    routed = [subnet_around(address, prefix) for address, prefix in link.every_route(host)]
    others = attached + [route for route in routed if not any(map(route.overlaps, ours))]
    others += _of_other_networks(store, network)
    if "Asked" not in network and store.subnet:
        subnet = _asked_for(store.subnet)
        if any(map(subnet.overlaps, attached)):
            raise Conflict(
                f"MINIDOCK_SUBNET: {subnet} overlaps a network of this machine", hint=_FREE
            )
        return subnet
    if asked := asked_range(network).get("Subnet"):
        return _free(ipam.parse_subnet(asked), attached + _of_other_networks(store, network))
    known = network.get("Subnet") or "".join(map(str, ours[:1]))  # not noted before a kill -9
    if known:
        subnet = ipam.parse_subnet(known)
        if not any(map(subnet.overlaps, others)):
            return subnet
    return ipam.choose_subnet(others)


def _of_other_networks(store: Store, network: dict[str, Any]) -> list[ipam.Subnet]:
    """What this store's other networks have, though their bridges may not be there just now."""
    others = [other for other in read_all(store) if other["Name"] != network["Name"]]
    return [ipam.parse_subnet(other["Subnet"]) for other in others if "Subnet" in other]


def _free(subnet: ipam.Subnet, others: list[ipam.Subnet]) -> ipam.Subnet:
    for other in others:
        if subnet.overlaps(other):
            raise Conflict(
                "Pool overlaps with other one on this address space",
                hint=f"{subnet} overlaps {other}, which is in use on this machine",
            )
    return subnet


def discard_old_subnet(
    host: Netlink, network: dict[str, Any], device: str, found: link.Link | None
) -> None:
    """Make way for another subnet: the bridge with the old one goes.

    Without a bridge no container can be on the network, so leases in its file are of the dead.
    """
    if found is None:
        network["Leases"] = {}
    elif network["Leases"]:
        raise Conflict(
            f"the network {network['Name']} cannot leave {network['Subnet']}: containers use it",
            hint="stop this store's containers first",
        )
    else:
        link.delete(host, device)


def _asked_for(text: str) -> ipam.Subnet:
    try:
        return ipam.parse_subnet(text)
    except ValueError as error:
        raise UsageError(f"MINIDOCK_SUBNET: {error}", hint=_FREE) from None


def subnet_around(address: str, prefix: int) -> ipam.Subnet:
    """The subnet of this prefix that an address is in."""
    first = ipam.parse_address(address) & ~((1 << 32 - prefix) - 1)
    return ipam.Subnet(first, prefix)


def check_owner(host: Netlink, store: Store, found: link.Link) -> None:
    """Raise Conflict for a device that is not this store's.

    A bridge with neither alias nor address is ours, left half made by a kill -9.
    """
    if found.kind == "bridge" and found.alias == alias_of(store):
        return
    addressed = any(index == found.index for index, _, _ in link.every_address(host))
    if found.kind != "bridge" or found.alias or addressed:
        raise Conflict(
            f"the device {found.name} exists, and is not the bridge of {store.root}",
            hint="name another by MINIDOCK_BRIDGE, or remove that one: "
            f"ip link delete {found.name}",
        )


def enable_forwarding() -> None:
    """Let packets pass between the bridge and the world, and nothing else that did not before."""
    forwarding = sysctl.read(FORWARDING) or "0"
    if forwarding == "1":
        return
    policy = firewall.forward_policy(iptables.Listing().text())
    noted = _as_found()
    noted.setdefault(_machine(), {"forwarding": forwarding, "policy": policy})
    _note(noted)
    if policy != "DROP":
        iptables.restore("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n")
    sysctl.write(FORWARDING, "1")


def alias_of(store: Store) -> str:
    """What marks a bridge as this store's."""
    return f"{_OURS}{store.root}"[:255]


def is_owned_by(store: Store, found: link.Link) -> bool:
    """Whether a device is a bridge of this store's."""
    return found.kind == "bridge" and found.alias == alias_of(store)


def _others_bridge(host: Netlink, device: str) -> bool:
    """Whether another store has a bridge. It may have no rule yet: those come after the bridge."""
    return any(found.alias.startswith(_OURS) and found.name != device for found in link.every(host))


def check_name(device: str) -> None:
    """Raise UsageError for what cannot be a device's name."""
    fits = 0 < len(device) < link.IFNAMSIZ and device not in (".", "..")
    if not fits or not _NAME_CHARACTERS.issuperset(device) or firewall.is_reserved(device):
        raise UsageError(
            f"a bridge cannot have the name {device!r} (MINIDOCK_BRIDGE, or {NAME_OPTION})",
            hint="up to 15 letters, digits, dots, dashes and underscores; not USER, ...-USER or "
            "...-OUT, by which chains of the firewall are named",
        )


def _machine() -> str:
    """What settings belong to: a network namespace, seen as a machine."""
    return os.readlink("/proc/self/ns/net")


def _as_found() -> dict[str, dict[str, str]]:
    """What was noted; a note that is damaged is none: then settings stay as they are now."""
    content = document.read_bytes(MACHINE_LOCK)
    try:
        noted: dict[str, dict[str, str]] = (
            document.parse(content, MACHINE_LOCK, Each(Each(str))) if content.strip() else {}
        )
    except DamagedFile as error:
        document.report_skipped(error)
        noted = {}
    return noted


def _note(found: dict[str, dict[str, str]]) -> None:
    """Write into the lock file itself: renaming another over it would split the lock in two."""
    with open(MACHINE_LOCK, "r+", encoding="utf-8") as file:
        file.truncate()
        file.write(jsontext.dumps(found))
