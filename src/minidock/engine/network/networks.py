"""Connect containers to bridge networks: IP address, veth pair, and rules for published ports.

    reserve      lease an IP address before the container exists: /etc/hosts needs it
    connect      attach the container's network namespace to the bridge; publish its ports
    disconnect   release all of that; needs only the store and the container's id

    outside ── eth0 of the host ──[forwarding, NAT]── bridge ──veth…── eth0 of a container
                                                        └────veth…── eth0 of another

Each store has a default network called "bridge", as in Docker; users create others
(user_defined.py). A container can be on several: one of them is its gateway network, which has the
default route and the published ports. "host" and "none" have a file, but no bridge.

Sources: network_namespaces(7), veth(4), rtnetlink(7), Docker Engine API 1.45 (EndpointSettings).
"""

from __future__ import annotations

import os

from minidock import document
from minidock.engine.network import bridge, firewall, ipam, veth_pair
from minidock.engine.network.network_json import (
    DRIVERS,
    LockedNetworks,
    list_bindings,
    list_names,
    read,
    read_all,
    read_or_skip,
    remove_temporary_files,
)
from minidock.engine.network.network_mode import DEFAULT
from minidock.errors import DamagedFile, MinidockError, UsageError
from minidock.kernel import conntrack, iptables, link
from minidock.kernel.netlink import Netlink
from minidock.undo import UndoOnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minidock.document_types.network import Binding, Endpoint, Lease, NetworkDocument
    from minidock.paths import Store

BINDING_OPTION = "com.docker.network.bridge.host_binding_ipv4"
MASQUERADE_OPTION = "com.docker.network.bridge.enable_ip_masquerade"


def reserve(store: Store, container_id: str, *, network: str = DEFAULT, address: str = "") -> str:
    """Lease an IP address to a container; a second call returns the same address.

    Creates the bridge if it is missing. address: the requested one; "" for the lowest free.
    Raises NotFound; Conflict if the address is taken, the subnet full, or no subnet free.
    """
    with Netlink() as host, LockedNetworks(store) as files:
        state = _ready(host, store, files, network)
        if address:
            check_may_choose(state)
        found = get_or_add_lease(state, container_id, address)["Address"]
        files.save(state)
    return str(found)


def check_may_choose(state: NetworkDocument) -> None:
    """Raise UsageError if the network does not allow --ip: a subnet that the user did not choose
    can be another one after a reboot."""
    problems = []
    if state["Name"] in DRIVERS:
        problems.append("* user specified IP address is supported on user defined networks only")
    if not (state.get("Asked") or {}).get("Subnet"):
        problems.append(
            "* user specified IP address is supported only when connecting to networks with user "
            "configured subnets"
        )
    if problems:
        raise UsageError(
            "\n".join(
                [
                    f"invalid config for network {state['Name']}: invalid endpoint settings:",
                    *problems,
                ]
            ),
            hint="minidock network create --subnet 10.20.0.0/24 NAME",
        )


def gateway(store: Store, *, network: str = DEFAULT) -> str:
    """Return the bridge's address: the host's, as its containers see it ("host-gateway")."""
    state = read(store, network)
    return str(state["Gateway"]) if state is not None and "Gateway" in state else ""


def join_order(store: Store, joined: Sequence[str]) -> list[str]:
    """Sort a container's networks as it joins them: by name, internal ones last.

    The first one is its gateway network, unless it is internal too (as in Docker).
    """
    if len(joined) < 2:
        return list(joined)
    internal = {state["Name"] for state in read_all(store) if state.get("Internal")}
    return sorted(joined, key=lambda name: (name in internal, name))


def gateway_network(store: Store, joined: Sequence[str]) -> str:
    """Return the network that has a container's default route; "" if all are internal."""
    if list(joined) == [DEFAULT]:
        return DEFAULT
    for name in join_order(store, joined)[:1]:
        state = read(store, name)
        if state is not None and not state.get("Internal"):
            return name
    return ""


def binding_address(store: Store, network: str) -> str:
    """Return the host address on which this network publishes ports; "" for all addresses."""
    if network in ("", DEFAULT):
        return ""
    state = read(store, network)
    options = (state.get("Options") or {}) if state is not None else {}
    return options.get(BINDING_OPTION, "")


def connect(
    store: Store,
    container_id: str,
    *,
    netns_pid: int,
    network: str = DEFAULT,
    mac: str | None = None,
    publish: Sequence[Binding] = (),
    interface: str = veth_pair.INTERFACE,
    dns_names: list[str] | None = None,
    is_gateway: bool = True,
) -> Endpoint:
    """Connect a container to a network and publish its ports; a failure undoes all of it.

    netns_pid: a process in the container's network namespace. mac: its MAC address; None derives
    it from the IP address. publish: {"HostIp", "HostPort", "Proto", "ContainerPort"} each, ports
    as numbers (see ports.firewall_bindings). interface: the device's name in the container.
    dns_names: its names on a user-defined network. is_gateway: set the default route to it.
    Returns the endpoint in the form of docker inspect's NetworkSettings.Networks.<name>.
    """
    if mac is not None:
        veth_pair.check_mac(mac)
    with UndoOnError() as undo, Netlink() as host:
        with LockedNetworks(store) as files:
            state = _ready(host, store, files, network)
            lease = get_or_add_lease(state, container_id)
            lease["EndpointID"] = os.urandom(32).hex()
            lease["MacAddress"] = mac or ipam.mac_of(ipam.parse_address(lease["Address"]))
            lease["Bindings"] = [binding.copy() for binding in publish]
            lease["Cable"] = veth_pair.veth_name(container_id, network)
            lease["Interface"] = interface
            if dns_names is not None:
                lease["Names"] = dns_names
            files.save(state)
        undo.callback(leave, store, container_id, network)
        with iptables.Listing() as listing:  # iptables-save runs meanwhile
            veth_pair.attach(host, state, container_id, netns_pid, is_gateway=is_gateway)
            missing = changes(store, listing.text(), state)
        if missing or publish:
            with LockedNetworks(store) as files:
                apply_rules(store, files.load(network) or state)
        delete_udp_flows(publish)
    return veth_pair.settings(state, lease)


def publish(store: Store, container_id: str, *, network: str, bindings: Sequence[Binding]) -> None:
    """Replace the published ports of a connected container; [] unpublishes all."""
    with Netlink() as host, LockedNetworks(store) as files:
        state = files.require(network)
        lease = state["Leases"][container_id]
        before, lease["Bindings"] = lease["Bindings"], [binding.copy() for binding in bindings]
        files.save(state)
        apply_rules(store, state)
        if bindings:
            link.set_hairpin(host, lease["Cable"])
    delete_udp_flows([*before, *bindings])


def set_gateway(store: Store, container_id: str, *, netns_pid: int, network: str) -> None:
    """Move a container's default route to one of its networks; "" removes the route."""
    state = read(store, network) if network else None
    with veth_pair.open_netlink(netns_pid) as inside:
        if state is None:
            link.delete_default_route(inside)
        else:
            interface = state["Leases"][container_id]["Interface"]
            link.replace_default_route(inside, interface, state["Gateway"])


def set_dns_names(store: Store, container_id: str, names_on: Callable[[str], list[str]]) -> None:
    """Change a container's DNS names on its user-defined networks. names_on: by network name."""
    for name in list_names(store):
        with LockedNetworks(store) as files:
            state = read_or_skip(store, name)
            if state is not None and "Names" in state["Leases"].get(container_id, {}):
                state["Leases"][container_id]["Names"] = names_on(name)
                files.save(state)


def endpoint_without_device(store: Store, name: str) -> Endpoint:
    """Return the endpoint of a container on "host" or "none" for docker inspect: ids only."""
    with LockedNetworks(store) as files:
        state = files.load_or_make(name)
    return veth_pair.settings(state, {"EndpointID": os.urandom(32).hex()})


def set_loopback_up(netns_pid: int) -> None:
    """Set lo up in a namespace that gets no other device (--network none)."""
    with veth_pair.open_netlink(netns_pid) as inside:
        link.set_up(inside, "lo")


def disconnect(store: Store, container_id: str) -> None:
    """Disconnect a container from all networks: rules, veth pair and address. Idempotent.

    Call it last, after the container's processes have ended: by then the kernel has removed the
    veth pair with their namespace, and there is nothing to wait for.
    """
    remove_temporary_files(store)
    for name in list_names(store):
        try:
            leave(store, container_id, name)
        except DamagedFile as error:  # the container may not be on this network at all
            document.report_skipped(error)


def leave(store: Store, container_id: str, network: str) -> None:
    """Disconnect a container from one network. Idempotent."""
    state = read(store, network)
    if state is None or container_id not in state["Leases"]:
        return
    with LockedNetworks(store) as files:
        state = files.load(network) or state
        lease = state["Leases"].get(container_id, {})
        published = lease.get("Bindings", [])
        if published:
            apply_rules(store, state, without=container_id)
            lease["Bindings"] = []  # else the next connect would add its rules again
            files.save(state)
    delete_udp_flows(published)
    if "Cable" in lease:  # else the address was only reserved
        with Netlink() as host:
            veth_pair.detach(host, lease["Cable"])
    with LockedNetworks(store) as files:
        state = files.load(network) or state
        state["Leases"].pop(container_id, None)
        files.save(state)


def leased_address(store: Store, container_id: str, network: str) -> str:
    """Return a container's address on a network; "" for none."""
    state = read(store, network)
    leases = state["Leases"] if state is not None else {}
    return leases.get(container_id, {}).get("Address", "")


def repair(store: Store, is_live: Callable[[str], bool]) -> list[str]:
    """Disconnect containers that have ended without it; returns their ids.

    is_live: whether a container runs or is starting. It is called under the networks' lock, so
    that the reservation of a starting container is not mistaken for a stale one.
    """
    dead = []
    for name in list_names(store):
        with LockedNetworks(store):
            state = read_or_skip(store, name)
            leases = state["Leases"] if state is not None else {}
            dead += [container_id for container_id in leases if not is_live(container_id)]
    for container_id in dead:
        disconnect(store, container_id)
    return dead


def teardown(store: Store) -> None:
    """Remove the store's veth pairs, rules and bridges, and restore the host's settings.

    Call it only when no container of the store runs. Files of user-defined networks stay: their
    bridges are created again at the next use.
    """
    with Netlink() as host:
        for name in list_names(store):
            with LockedNetworks(store) as files:
                state = read_or_skip(store, name)
                if state is None:
                    continue
                if state["Driver"] == "bridge":
                    for lease in state["Leases"].values():
                        if "Cable" in lease:
                            link.delete(host, lease["Cable"])
                    bridge.remove(host, store, state)
                if "Asked" in state:  # user-defined
                    files.save({**state, "Leases": {}})
                else:
                    files.remove(name)


def bring_up(store: Store, files: LockedNetworks, network: str) -> NetworkDocument:
    """Create a network's bridge and rules if missing; the caller holds the lock."""
    with Netlink() as host:
        return _ready(host, store, files, network)


def _ready(host: Netlink, store: Store, files: LockedNetworks, name: str) -> NetworkDocument:
    """Return the network's state; create the bridge at first use and after a reboot.

    The rules are in place before the first container: the bridge is never open without them.
    """
    state = files.require(name)
    if not bridge.is_up(host, store, state):
        bridge.ensure_bridge(host, store, state)
        files.save(state)
        apply_rules(store, state)
    return state


def get_or_add_lease(state: NetworkDocument, container_id: str, address: str = "") -> Lease:
    """Return a container's lease; a new one gets the requested address, or the lowest free one."""
    leases = state["Leases"]
    if container_id not in leases:
        subnet, asked = ipam.parse_subnet(state["Subnet"]), state.get("Asked") or {}
        taken = {ipam.parse_address(lease["Address"]) for lease in leases.values()}
        taken.add(ipam.parse_address(state["Gateway"]))
        taken |= {ipam.parse_address(a) for a in asked.get("AuxiliaryAddresses", {}).values()}
        part = asked.get("IPRange")
        within = ipam.parse_subnet(part, longest=32) if part else None
        free = (
            ipam.claimed(subnet, taken, address)
            if address
            else ipam.lowest_free(subnet, taken, network=state["Name"], within=within)
        )
        leases[container_id] = {"Address": ipam.address_text(free)}
    return leases[container_id]


def rules(state: NetworkDocument, *, without: str = "") -> firewall.Tables:
    """Return the firewall rules that a network's file calls for."""
    device, subnet = state["Device"], state["Subnet"]
    if state.get("Internal"):
        return firewall.internal_network_rules(device, subnet)
    masquerade = (state.get("Options") or {}).get(MASQUERADE_OPTION) != "false"
    return firewall.network_rules(
        device, subnet, list_bindings(state, without=without), masquerade=masquerade
    )


def changes(store: Store, saved: str, state: NetworkDocument, *, without: str = "") -> str:
    """Return input for iptables-restore that brings a network's rules up to date; "" if they are.

    saved: output of iptables-save.
    """
    users = firewall.user_chain(store)
    return firewall.changes(saved, state["Device"], rules(state, without=without), user_chain=users)


def apply_rules(store: Store, state: NetworkDocument, *, without: str = "") -> None:
    """Bring the firewall up to date with the network's file; the caller holds the lock.

    127.0.0.0/8 may cross the bridge only while a port is published on the host's loopback.
    """
    device = state["Device"]
    published = list_bindings(state, without=without)
    needed = any(is_on_loopback(binding["HostIp"]) for binding in published)
    if not needed:
        bridge.set_localnet(device, allowed=False)
    for attempt in (1, 2):
        text = changes(store, iptables.Listing().text(), state, without=without)
        try:
            if text:
                iptables.restore(text)
            break
        except iptables.TooSlow:
            raise
        except MinidockError:
            if attempt == 2:  # another program may have changed the rules after we read them
                raise
    if needed:
        bridge.set_localnet(device, allowed=True)


def is_on_loopback(host_ip: str) -> bool:
    """Whether a port is published on the loopback device (0.0.0.0 includes it)."""
    return host_ip in ("", "0.0.0.0") or firewall.is_loopback(host_ip)


def delete_udp_flows(published: Sequence[Binding]) -> None:
    """Delete conntrack entries of these UDP ports, so that new rules apply to their flows."""
    for binding in published:
        if binding["Proto"] == "udp" and ":" not in binding["HostIp"]:
            conntrack.forget_udp(int(binding["HostPort"]))
