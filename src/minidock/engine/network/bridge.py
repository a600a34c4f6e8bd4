"""A network's bridge: the device, its subnet, and the host settings that it needs.

The device is created at first use and again when it is missing (after a reboot or `ip link
delete`). Its alias names the store that owns it; a device of another owner stays untouched. The
subnet must not overlap any route or address of the host; a host-wide lock keeps two stores that
start at the same moment from choosing the same one.

IP forwarding is enabled, as Docker does. That must not turn the host into a router for its
neighbours, so the policy of FORWARD becomes DROP, as with Docker. /run/minidock.lock keeps the old
values, and `remove` restores them with the last bridge.

Sources: ip-sysctl.rst (ip_forward, route_localnet), ip-link(8).
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.document import Each
from minidock.engine.network import firewall, ipam
from minidock.engine.network.device_settings import harden, missing_settings
from minidock.engine.network.network_json import read_all
from minidock.engine.network.veth_pair import MTU_OPTION
from minidock.engine.store.locks import exclusive
from minidock.errors import Conflict, DamagedFile, UsageError
from minidock.kernel import iptables, link, sysctl
from minidock.kernel.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import IpamConfig, NetworkDocument
    from minidock.paths import Store

MACHINE_LOCK = "/run/minidock.lock"
FORWARDING = "net/ipv4/ip_forward"
NAME_OPTION = "com.docker.network.bridge.name"
_OURS = "minidock "  # how the alias of a store's bridge begins
_FREE = "unset MINIDOCK_SUBNET to get a free subnet"
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def is_up(host: Netlink, store: Store, network: NetworkDocument) -> bool:
    """Whether the bridge exists and is up with its address and settings, and the host forwards.

    Raises Conflict if a device of that name has another owner.
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
    return (found.index, network["Gateway"], prefix) in link.list_addresses(host)


def ensure_bridge(host: Netlink, store: Store, network: NetworkDocument) -> None:
    """Create the network's bridge, or complete one that an interrupted command left.

    Sets the network's "Device", "Subnet" and "Gateway"; the caller saves them.
    Raises Conflict (no free subnet, or a device of that name exists), UsageError (invalid
    MINIDOCK_SUBNET), KernelError.
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
        for veth in list_veths(host, network):  # created by an older version
            harden(veth)
        enable_forwarding()


def remove(host: Netlink, store: Store, network: NetworkDocument) -> None:
    """Remove the network's rules and bridge; the last bridge restores the host's settings.

    Idempotent.
    """
    device = device_of(store, network)
    with exclusive(MACHINE_LOCK):
        saved = iptables.Listing().text()
        settings = _read_saved_settings()
        ours = settings.get(_network_namespace())
        last = ours is not None and not (
            firewall.forwards_for_others(saved, device) or _has_other_bridge(host, device)
        )
        policy = ours["policy"] if ours is not None and last else ""
        if text := rules_removal(store, saved, device, forward_policy=policy):
            iptables.restore(text)
        found = link.find(host, device)
        if found is not None and found.alias == alias_of(store):
            link.delete(host, device)
        if ours is not None and last:
            sysctl.write(FORWARDING, ours["forwarding"])
            del settings[_network_namespace()]
            _save_settings(settings)


def rules_removal(store: Store, saved: str, device: str, *, forward_policy: str = "") -> str:
    """Return input for iptables-restore that removes a bridge's rules; "" if it has none.

    With the rules of the store's last bridge, an unused user chain is removed too.
    """
    others = {each["Device"] for each in read_all(store) if "Device" in each} - {device}
    is_last = not others.intersection(firewall.devices_of_chains(saved))
    users = firewall.user_chain(store) if is_last else ""
    return firewall.removal(saved, device, user_chain=users, forward_policy=forward_policy)


def device_of(store: Store, network: NetworkDocument) -> str:
    """Return the name of a network's bridge; user-defined networks have it in their file."""
    return str(network["Device"]) if "Asked" in network else store.bridge


def asked_range(network: NetworkDocument) -> IpamConfig:
    """Return the IPAM configuration that `network create` was given."""
    return network.get("Asked") or {}


def first_address(network: NetworkDocument, subnet: ipam.Subnet) -> int:
    """Return the default address of a bridge: the first one of its range."""
    asked = asked_range(network).get("IPRange")
    within = ipam.parse_subnet(asked, longest=32) if asked else subnet
    return max(within.first, subnet.first + 1)


def ensure_device(host: Netlink, store: Store, network: NetworkDocument) -> None:
    """Create and configure the bridge; skips steps that an interrupted attempt has done."""
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
    if (found.index, gateway, prefix) not in link.list_addresses(host):
        link.add_address(host, device, gateway, prefix=prefix)
    if not found.flags & link.IFF_UP:
        link.set_up(host, device)


def list_veths(host: Netlink, network: NetworkDocument) -> list[str]:
    """List the host's ends of a network's veth pairs that exist."""
    veths = [lease["Cable"] for lease in network["Leases"].values() if "Cable" in lease]
    return [veth for veth in veths if link.find(host, veth) is not None]


def set_localnet(device: str, *, allowed: bool) -> None:
    """Set route_localnet of the bridge: ports published on the host's loopback need it."""
    setting, value = f"net/ipv4/conf/{device}/route_localnet", "1" if allowed else "0"
    if sysctl.read(setting) not in (value, None):
        sysctl.write(setting, value)


def assign_subnet(host: Netlink, store: Store, network: NetworkDocument, own: int) -> ipam.Subnet:
    """Return the network's subnet: the requested one, its last one if still free, or a free one.

    own: the bridge's ifindex; its own address and route are not conflicts.
    """
    addresses = link.list_addresses(host)
    ours = [subnet_around(address, prefix) for index, address, prefix in addresses if index == own]
    attached = [
        subnet_around(address, prefix) for index, address, prefix in addresses if index != own
    ]
    routed = [subnet_around(address, prefix) for address, prefix in link.list_routes(host)]
    others = attached + [route for route in routed if not any(map(route.overlaps, ours))]
    others += _of_other_networks(store, network)
    if "Asked" not in network and store.subnet:
        subnet = _parse_subnet(store.subnet)
        if any(map(subnet.overlaps, attached)):
            raise Conflict(
                f"MINIDOCK_SUBNET: {subnet} overlaps a network of this machine", hint=_FREE
            )
        return subnet
    if asked := asked_range(network).get("Subnet"):
        requested = ipam.parse_subnet(asked)
        _check_no_overlap(requested, attached + _of_other_networks(store, network))
        return requested
    known = network.get("Subnet") or "".join(map(str, ours[:1]))  # not saved before a kill -9
    if known:
        subnet = ipam.parse_subnet(known)
        if not any(map(subnet.overlaps, others)):
            return subnet
    return ipam.choose_subnet(others)


def _of_other_networks(store: Store, network: NetworkDocument) -> list[ipam.Subnet]:
    """Return the subnets of this store's other networks, whose bridges may not exist now."""
    others = [other for other in read_all(store) if other["Name"] != network["Name"]]
    return [ipam.parse_subnet(other["Subnet"]) for other in others if "Subnet" in other]


def _check_no_overlap(subnet: ipam.Subnet, others: list[ipam.Subnet]) -> None:
    for other in others:
        if subnet.overlaps(other):
            raise Conflict(
                "Pool overlaps with other one on this address space",
                hint=f"{subnet} overlaps {other}, which is in use on this machine",
            )


def discard_old_subnet(
    host: Netlink, network: NetworkDocument, device: str, found: link.Link | None
) -> None:
    """Delete a bridge whose subnet is no longer free.

    Without a bridge no container is on the network, so all leases in its file are stale.
    """
    if found is None:
        network["Leases"] = {}
    elif network["Leases"]:
        raise Conflict(
            f"cannot change the subnet {network['Subnet']} of network {network['Name']}: "
            "containers use it",
            hint="stop this store's containers first",
        )
    else:
        link.delete(host, device)


def _parse_subnet(text: str) -> ipam.Subnet:
    try:
        return ipam.parse_subnet(text)
    except ValueError as error:
        raise UsageError(f"MINIDOCK_SUBNET: {error}", hint=_FREE) from None


def subnet_around(address: str, prefix: int) -> ipam.Subnet:
    """Return the subnet of this prefix length that contains an address."""
    first = ipam.parse_address(address) & ~((1 << 32 - prefix) - 1)
    return ipam.Subnet(first, prefix)


def check_owner(host: Netlink, store: Store, found: link.Link) -> None:
    """Raise Conflict if a device does not belong to this store.

    A bridge with neither alias nor address was left incomplete by a kill -9: it counts as ours.
    """
    if found.kind == "bridge" and found.alias == alias_of(store):
        return
    addressed = any(index == found.index for index, _, _ in link.list_addresses(host))
    if found.kind != "bridge" or found.alias or addressed:
        raise Conflict(
            f"the device {found.name} exists and is not the bridge of {store.root}",
            hint="choose another name with MINIDOCK_BRIDGE, or remove the device: "
            f"ip link delete {found.name}",
        )


def enable_forwarding() -> None:
    """Enable IP forwarding and set the policy of FORWARD to DROP, if forwarding was disabled."""
    forwarding = sysctl.read(FORWARDING) or "0"
    if forwarding == "1":
        return
    policy = firewall.forward_policy(iptables.Listing().text())
    settings = _read_saved_settings()
    settings.setdefault(_network_namespace(), {"forwarding": forwarding, "policy": policy})
    _save_settings(settings)
    if policy != "DROP":
        iptables.restore("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n")
    sysctl.write(FORWARDING, "1")


def alias_of(store: Store) -> str:
    """Return the alias that marks a bridge as this store's."""
    return f"{_OURS}{store.root}"[:255]


def is_owned_by(store: Store, found: link.Link) -> bool:
    """Whether a device is a bridge of this store."""
    return found.kind == "bridge" and found.alias == alias_of(store)


def _has_other_bridge(host: Netlink, device: str) -> bool:
    """Whether another bridge of minidock exists. Its rules may not exist yet."""
    return any(
        found.alias.startswith(_OURS) and found.name != device for found in link.list_links(host)
    )


def check_name(device: str) -> None:
    """Raise UsageError for an invalid bridge name."""
    fits = 0 < len(device) < link.IFNAMSIZ and device not in (".", "..")
    if not fits or not _NAME_CHARACTERS.issuperset(device) or firewall.is_reserved(device):
        raise UsageError(
            f"invalid bridge name {device!r} (MINIDOCK_BRIDGE, or {NAME_OPTION})",
            hint="up to 15 letters, digits, dots, dashes and underscores; USER, *-USER and *-OUT "
            "are reserved for iptables chains",
        )


def _network_namespace() -> str:
    """Return the key of saved settings: they belong to a network namespace."""
    return os.readlink("/proc/self/ns/net")


def _read_saved_settings() -> dict[str, dict[str, str]]:
    """Return the saved settings; {} if the file is damaged: then nothing is restored."""
    content = document.read_bytes(MACHINE_LOCK)
    try:
        settings: dict[str, dict[str, str]] = (
            document.parse(content, MACHINE_LOCK, Each(Each(str))) if content.strip() else {}
        )
    except DamagedFile as error:
        document.report_skipped(error)
        settings = {}
    return settings


def _save_settings(settings: dict[str, dict[str, str]]) -> None:
    """Write into the lock file in place: a rename would leave two files, each with its own lock."""
    with open(MACHINE_LOCK, "r+", encoding="utf-8") as file:
        file.truncate()
        file.write(jsontext.dumps(settings))
