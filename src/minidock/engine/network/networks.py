"""A container's network: an address for it, a cable into it, and the rules that publish its ports.

    reserve      an address, before the container exists, so that /etc/hosts can be written
    connect      a cable from the bridge into its network namespace; published ports
    disconnect   all of it gone; needs nothing but the store and the container's id

    the world ── eth0 of the host ──[forwarding, NAT]── bridge ──veth…── eth0 of a container
                                                          └────veth…── eth0 of another

Each store has one network of this kind from the start, called "bridge" as Docker's default one;
people make others (user_defined.py). A container may be on several: one of them is its way out, and
there its ports are published. "host" and "none" are networks in name only.

Sources: network_namespaces(7), veth(4), rtnetlink(7), Docker Engine API 1.45 (EndpointSettings).
"""

from __future__ import annotations

import os

from minidock import document
from minidock.engine.network import bridge, endpoint, firewall, ipam
from minidock.engine.network.endpoint import DEFAULT
from minidock.engine.network.network_json import (
    DRIVERS,
    Locked,
    bindings,
    every,
    names,
    read,
    read_whole,
    remove_unfinished,
)
from minidock.errors import DamagedFile, MinidockError, UsageError
from minidock.kernel import conntrack, iptables, link
from minidock.kernel.netlink import Netlink
from minidock.undo import UndoOnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minidock.paths import Store

BINDING_OPTION = "com.docker.network.bridge.host_binding_ipv4"
MASQUERADE_OPTION = "com.docker.network.bridge.enable_ip_masquerade"


def reserve(store: Store, container_id: str, *, network: str = DEFAULT, address: str = "") -> str:
    """Keep an address of a network for a container; asking again gives the same one.

    Brings the network up where it is not. address: the one that it must be, else the lowest free.
    Raises NotFound, and Conflict where the address is taken, the subnet full, or no subnet free.
    """
    with Netlink() as host, Locked(store) as files:
        state = _ready(host, store, files, network)
        if address:
            check_may_choose(state)
        found = lease_of(state, container_id, address)["Address"]
        files.save(state)
    return str(found)


def check_may_choose(state: dict[str, Any]) -> None:
    """Raise UsageError where a container may not ask for an address of its choice: a network whose
    subnet nobody chose may have another one tomorrow."""
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
    """The bridge's address, which is the host's as its containers see it ("host-gateway")."""
    state = read(store, network)
    return str(state["Gateway"]) if state is not None and "Gateway" in state else ""


def in_order(store: Store, joined: Sequence[str]) -> list[str]:
    """A container's networks in the order in which it joins them: by name, internal ones last.

    The first of them is its way out, unless that is internal too (as in Docker).
    """
    if len(joined) < 2:
        return list(joined)
    internal = {state["Name"] for state in every(store) if state.get("Internal")}
    return sorted(joined, key=lambda name: (name in internal, name))


def way_out(store: Store, joined: Sequence[str]) -> str:
    """Which of a container's networks leads outside; "" where all of them are internal."""
    if list(joined) == [DEFAULT]:
        return DEFAULT
    for name in in_order(store, joined)[:1]:
        state = read(store, name)
        if state is not None and not state.get("Internal"):
            return name
    return ""


def binding_address(store: Store, network: str) -> str:
    """The host's address at which ports of this network's containers are published, "" for all."""
    if network in ("", DEFAULT):
        return ""
    state = read(store, network) or {}
    return str((state.get("Options") or {}).get(BINDING_OPTION, ""))


def connect(
    store: Store,
    container_id: str,
    *,
    netns_pid: int,
    network: str = DEFAULT,
    mac: str | None = None,
    publish: Sequence[dict[str, Any]] = (),
    interface: str = endpoint.INTERFACE,
    known_as: list[str] | None = None,
    way_out: bool = True,
) -> dict[str, Any]:
    """Plug a container into a network, and publish its ports; nothing is left if that fails.

    netns_pid: a process in the container's network namespace. mac: its hardware address, else one
    that follows from its address. publish: {"HostIp", "HostPort", "Proto", "ContainerPort"} each,
    ports as numbers (ports.published makes them of held ports). interface: its device's name
    inside. known_as: the names by which a user's network knows it. way_out: its default route.
    Returns its endpoint in the form of docker inspect's NetworkSettings.Networks.<name>.
    """
    if mac is not None:
        endpoint.check_mac(mac)
    with UndoOnError() as undo, Netlink() as host:
        with Locked(store) as files:
            state = _ready(host, store, files, network)
            lease = lease_of(state, container_id)
            lease["EndpointID"] = os.urandom(32).hex()
            lease["MacAddress"] = mac or ipam.mac_of(ipam.parse_address(lease["Address"]))
            lease["Bindings"] = [dict(binding) for binding in publish]
            lease["Cable"] = endpoint.cable_name(container_id, network)
            lease["Interface"] = interface
            if known_as is not None:
                lease["Names"] = known_as
            files.save(state)
        undo.callback(leave, store, container_id, network)
        with iptables.Listing() as listing:  # beside it, the cable is laid
            endpoint.plug_in(host, state, container_id, netns_pid, way_out=way_out)
            missing = changes(store, listing.text(), state)
        if missing or publish:
            with Locked(store) as files:
                apply_rules(store, files.load(network) or state)
        forget_udp_flows(publish)
    return endpoint.settings(state, lease)


def publish(
    store: Store, container_id: str, *, network: str, bindings: Sequence[dict[str, Any]]
) -> None:
    """Let a container's ports lead to it by this network, where it is connected; none: no more."""
    with Netlink() as host, Locked(store) as files:
        state = files.require(network)
        lease = state["Leases"][container_id]
        before, lease["Bindings"] = lease["Bindings"], [dict(binding) for binding in bindings]
        files.save(state)
        apply_rules(store, state)
        if bindings:
            link.set_hairpin(host, lease["Cable"])
    forget_udp_flows([*before, *bindings])


def lead_out(store: Store, container_id: str, *, netns_pid: int, network: str) -> None:
    """Make a network that a container is on its way out ("": it has none any more)."""
    state = read(store, network) if network else None
    with endpoint.inside(netns_pid) as there:
        if state is None:
            link.delete_default_route(there)
        else:
            interface = state["Leases"][container_id]["Interface"]
            link.replace_default_route(there, interface, state["Gateway"])


def know_as(store: Store, container_id: str, called: Callable[[str], list[str]]) -> None:
    """Let user's networks know a container by other names. called: its names on a network."""
    for name in names(store):
        with Locked(store) as files:
            state = read_whole(store, name)
            if state is not None and "Names" in state["Leases"].get(container_id, {}):
                state["Leases"][container_id]["Names"] = called(name)
                files.save(state)


def bare_endpoint(store: Store, name: str) -> dict[str, Any]:
    """The endpoint of a container on "host" or "none", as docker inspect shows it: just ids."""
    with Locked(store) as files:
        state = files.load_or_make(name)
    return endpoint.settings(state, {"EndpointID": os.urandom(32).hex()})


def set_loopback_up(netns_pid: int) -> None:
    """Switch on lo in a namespace that gets nothing else, as --network none has it."""
    with endpoint.inside(netns_pid) as inside:
        link.set_up(inside, "lo")


def disconnect(store: Store, container_id: str) -> None:
    """Take a container off its networks: rules, cable and address; what is gone stays gone.

    Best called when its processes are dead and all else is taken down: by then the kernel has
    removed the cable on its own, and nobody waits.
    """
    remove_unfinished(store)
    for name in names(store):
        try:
            leave(store, container_id, name)
        except DamagedFile as error:  # of a network that it may not even be on
            document.passed_over(error)


def leave(store: Store, container_id: str, network: str) -> None:
    """Take a container off one network; nothing happens where it is not on it."""
    state = read(store, network)
    if state is None or container_id not in state["Leases"]:
        return
    with Locked(store) as files:
        state = files.load(network) or state
        lease = state["Leases"].get(container_id, {})
        published = lease.get("Bindings", [])
        if published:
            apply_rules(store, state, without=container_id)
            lease["Bindings"] = []  # or the next connect would put its rules back
            files.save(state)
    forget_udp_flows(published)
    if "Cable" in lease:  # else its address was reserved, and no more
        with Netlink() as host:
            endpoint.unplug(host, lease["Cable"])
    with Locked(store) as files:
        state = files.load(network) or state
        state["Leases"].pop(container_id, None)
        files.save(state)


def leased(store: Store, container_id: str, network: str) -> str:
    """The address that a container has on a network, "" for none."""
    state = read(store, network) or {"Leases": {}}
    return str(state["Leases"].get(container_id, {}).get("Address", ""))


def repair(store: Store, is_live: Callable[[str], bool]) -> list[str]:
    """Take the dead off their networks; returns their ids.

    is_live: whether a container runs or is just starting. It is asked under the networks' lock,
    after which no starting container's reservation can be mistaken for a dead one's.
    """
    dead = []
    for name in names(store):
        with Locked(store):
            state = read_whole(store, name)
            leases = state["Leases"] if state is not None else {}
            dead += [container_id for container_id in leases if not is_live(container_id)]
    for container_id in dead:
        disconnect(store, container_id)
    return dead


def teardown(store: Store) -> None:
    """Remove the store's networks: cables, rules, bridges; settings that we changed go back.

    A user's network is made again at its next use, and the default one with a file of its own.

    For a store without running containers, which would be left without a network.
    """
    with Netlink() as host:
        for name in names(store):
            with Locked(store) as files:
                state = read_whole(store, name)
                if state is None:
                    continue
                if state["Driver"] == "bridge":
                    for lease in state["Leases"].values():
                        if "Cable" in lease:
                            link.delete(host, lease["Cable"])
                    bridge.remove(host, store, state)
                if "Asked" in state:  # a user's wish stays
                    files.save({**state, "Leases": {}})
                else:
                    files.remove(name)


def bring_up(store: Store, files: Locked, network: str) -> dict[str, Any]:
    """A network with its bridge and its rules in the kernel; the lock must be held."""
    with Netlink() as host:
        return _ready(host, store, files, network)


def _ready(host: Netlink, store: Store, files: Locked, name: str) -> dict[str, Any]:
    """The network's state, its bridge being up; at the first use, and after a reboot, it is made.

    The rules come before any container does: the bridge is never open to more than they allow.
    """
    state = files.require(name)
    if not bridge.is_up(host, store, state):
        bridge.make(host, store, state)
        files.save(state)
        apply_rules(store, state)
    return state


def lease_of(state: dict[str, Any], container_id: str, address: str = "") -> dict[str, Any]:
    """A container's lease; a new one has the address that was asked for, or the lowest free one."""
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
    lease: dict[str, Any] = leases[container_id]
    return lease


def rules(state: dict[str, Any], *, without: str = "") -> firewall.Tables:
    """The rules that a network is to have, by its file."""
    device, subnet = state["Device"], state["Subnet"]
    if state.get("Internal"):
        return firewall.wanted_inside(device, subnet)
    hidden = (state.get("Options") or {}).get(MASQUERADE_OPTION) != "false"
    return firewall.wanted(device, subnet, bindings(state, without=without), masquerade=hidden)


def changes(store: Store, saved: str, state: dict[str, Any], *, without: str = "") -> str:
    """What iptables-restore has to be told for the rules that a network is to have; "" for nothing.

    saved: what iptables-save printed.
    """
    users = firewall.user_chain(store)
    return firewall.changes(saved, state["Device"], rules(state, without=without), user_chain=users)


def apply_rules(store: Store, state: dict[str, Any], *, without: str = "") -> None:
    """Bring the firewall to what the network's file says, in one step; the lock must be held.

    Only while a port is published on the host's loopback may 127/8 cross the bridge at all.
    """
    device = state["Device"]
    published = bindings(state, without=without)
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
            if attempt == 2:  # once, somebody else may have changed the rules after we read them
                raise
    if needed:
        bridge.set_localnet(device, allowed=True)


def is_on_loopback(host_ip: str) -> bool:
    """Whether a port is published on an address of the loopback device."""
    return host_ip in ("", "0.0.0.0") or firewall.is_loopback(host_ip)


def forget_udp_flows(published: Sequence[dict[str, Any]]) -> None:
    """Have the rules decide anew about flows to these ports."""
    for binding in published:
        if binding["Proto"] == "udp" and ":" not in binding["HostIp"]:
            conntrack.forget_udp(int(binding["HostPort"]))
