"""A container's network: an address for it, a cable into it, and the rules that publish its ports.

    reserve      an address, before the container exists, so that /etc/hosts can be written
    connect      a cable from the bridge into its network namespace; published ports
    disconnect   all of it gone; needs nothing but the store and the container's id

    the world ── eth0 of the host ──[forwarding, NAT]── bridge ──veth…── eth0 of a container
                                                          └────veth…── eth0 of another

Each store has one network of this kind, called "bridge" as Docker's default one; the files are one
per network, and leave room for more. "host" and "none" are networks in name only.

Sources: network_namespaces(7), veth(4), rtnetlink(7), Docker Engine API 1.45 (EndpointSettings).
"""

from __future__ import annotations

import os

from minidock.engine.network import bridge, endpoint, firewall, ipam
from minidock.engine.network.file import Locked, bindings, read, remove_unfinished
from minidock.errors import MinidockError, NotFound, UsageError
from minidock.kernel import conntrack, iptables, link
from minidock.kernel.netlink import Netlink
from minidock.undo import UndoOnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minidock.paths import Store

DEFAULT = "bridge"


class Mode:
    """What --network asks for.

    kind: "bridge", "host", "none" or "container". target: the container whose network is joined.
    """

    def __init__(self, kind: str, target: str = "") -> None:
        self.kind = kind
        self.target = target


def mode(network_mode: str) -> Mode:
    """What kind of network a HostConfig.NetworkMode means.

    Raises UsageError for container: without a container, NotFound for a network that is not there.
    """
    if network_mode in ("", "default", DEFAULT):
        return Mode("bridge")
    if network_mode in ("host", "none"):
        return Mode(network_mode)
    kind, colon, target = network_mode.partition(":")
    if kind == "container" and colon:
        if not target:
            raise UsageError(
                "invalid network mode: invalid container format container:<name|id>",
                hint="name the container whose network to join: --network container:web",
            )
        return Mode("container", target)
    raise NotFound(
        f"network {network_mode} not found", hint="there are: bridge, host, none, container:NAME"
    )


def reserve(store: Store, container_id: str, *, network: str = DEFAULT) -> str:
    """Keep an address of a network for a container; asking again gives the same one.

    Makes the network where it is not there yet. The address is the lowest free one.
    Raises Conflict where the subnet is full, or no subnet is free.
    """
    with Netlink() as host, Locked(store) as files:
        state = _ready(host, store, files, network)
        address = _lease(state, container_id)["Address"]
        files.save(state)
    return str(address)


def gateway(store: Store, *, network: str = DEFAULT) -> str:
    """The bridge's address, which is the host's as its containers see it ("host-gateway")."""
    state = read(store, network)
    return str(state["Gateway"]) if state is not None and "Gateway" in state else ""


def connect(
    store: Store,
    container_id: str,
    *,
    netns_pid: int,
    network: str = DEFAULT,
    mac: str | None = None,
    publish: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Plug a container into its network, and publish its ports; nothing is left if that fails.

    netns_pid: a process in the container's network namespace. mac: its hardware address, else one
    that follows from its address. publish: {"HostIp", "HostPort", "Proto", "ContainerPort"} each,
    ports as numbers (ports.published makes them of held ports).
    Returns its endpoint in the form of docker inspect's NetworkSettings.Networks.<name>.
    """
    if mac is not None:
        endpoint.check_mac(mac)
    with UndoOnError() as undo, Netlink() as host:
        with Locked(store) as files:
            state = _ready(host, store, files, network)
            lease = _lease(state, container_id)
            lease["EndpointID"] = os.urandom(32).hex()
            lease["MacAddress"] = mac or ipam.mac_of(ipam.parse_address(lease["Address"]))
            lease["Bindings"] = [dict(binding) for binding in publish]
            files.save(state)
        undo.callback(disconnect, store, container_id)
        with iptables.Listing() as listing:  # beside it, the cable is laid
            endpoint.plug_in(host, state, container_id, netns_pid)
            rules = firewall.wanted(state["Device"], state["Subnet"], bindings(state))
            missing = firewall.changes(listing.text(), state["Device"], rules)
        if missing or publish:
            with Locked(store) as files:
                _apply_rules(files.load(network) or state)
        _forget_udp(publish)
    return endpoint.settings(state, lease)


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
    with Netlink() as host:
        for name in _names(store):
            state = read(store, name)
            if state is None or container_id not in state["Leases"]:
                continue
            with Locked(store) as files:
                state = files.load(name) or state
                lease = state["Leases"].get(container_id, {})
                published = lease.get("Bindings", [])
                if published:
                    _apply_rules(state, without=container_id)
                    lease["Bindings"] = []  # or the next connect would put its rules back
                    files.save(state)
            _forget_udp(published)
            endpoint.unplug(host, container_id)
            with Locked(store) as files:
                state = files.load(name) or state
                state["Leases"].pop(container_id, None)
                files.save(state)


def repair(store: Store, is_live: Callable[[str], bool]) -> list[str]:
    """Take the dead off their networks; returns their ids.

    is_live: whether a container runs or is just starting. It is asked under the networks' lock,
    after which no starting container's reservation can be mistaken for a dead one's.
    """
    dead = []
    for name in _names(store):
        with Locked(store) as files:
            state = files.load(name)
            leases = state["Leases"] if state is not None else {}
            dead += [container_id for container_id in leases if not is_live(container_id)]
    for container_id in dead:
        disconnect(store, container_id)
    return dead


def teardown(store: Store) -> None:
    """Remove the store's networks: cables, rules, bridge, files; settings that we changed go back.

    For a store without running containers, which would be left without a network.
    """
    with Netlink() as host:
        for name in _names(store):
            with Locked(store) as files:
                state = files.load(name)
                if state is not None and state["Driver"] == "bridge":
                    for container_id in state["Leases"]:
                        link.delete(host, endpoint.cable_name(container_id))
                    bridge.remove(host, store, state)
                files.remove(name)


def list_networks(store: Store) -> list[dict[str, Any]]:
    """All networks, as Docker's NetworkList has them: bridge, host and none."""
    return [inspect(store, name) for name in (DEFAULT, "host", "none")]


def inspect(store: Store, reference: str) -> dict[str, Any]:
    """A network by name, id or id prefix, in the form of docker network inspect.

    Raises NotFound.
    """
    from minidock.engine.network.view import document

    with Locked(store) as files:
        states = [files.load_or_make(name) for name in (DEFAULT, "host", "none")]
    for state in states:
        if reference in (state["Name"], state["Id"]):
            return document(store, state)
    matching = [state for state in states if reference and state["Id"].startswith(reference)]
    if len(matching) != 1:
        raise NotFound(f"network {reference} not found", hint="see: minidock network ls")
    return document(store, matching[0])


def _names(store: Store) -> list[str]:
    try:
        entries = os.listdir(store.networks)
    except FileNotFoundError:
        return []
    return [entry.removesuffix(".json") for entry in entries if entry.endswith(".json")]


def _ready(host: Netlink, store: Store, files: Locked, name: str) -> dict[str, Any]:
    """The network's state, its bridge being up; at the first use, and after a reboot, it is made.

    The rules come before any container does: the bridge is never open to more than they allow.
    """
    state = files.load_or_make(name)
    if not bridge.is_up(host, store, state):
        bridge.make(host, store, state)
        files.save(state)
        _apply_rules(state)
    return state


def _lease(state: dict[str, Any], container_id: str) -> dict[str, Any]:
    leases = state["Leases"]
    if container_id not in leases:
        taken = {ipam.parse_address(lease["Address"]) for lease in leases.values()}
        subnet = ipam.parse_subnet(state["Subnet"])
        free = ipam.lowest_free(subnet, taken, network=state["Name"])
        leases[container_id] = {"Address": ipam.address_text(free)}
    lease: dict[str, Any] = leases[container_id]
    return lease


def _apply_rules(state: dict[str, Any], *, without: str = "") -> None:
    """Bring the firewall to what the network's file says, in one step; the lock must be held.

    Only while a port is published on the host's loopback may 127/8 cross the bridge at all.
    """
    device = state["Device"]
    published = bindings(state, without=without)
    rules = firewall.wanted(device, state["Subnet"], published)
    needed = any(_on_loopback(binding["HostIp"]) for binding in published)
    if not needed:
        bridge.set_localnet(device, allowed=False)
    for attempt in (1, 2):
        text = firewall.changes(iptables.Listing().text(), device, rules)
        try:
            if text:
                iptables.restore(text)
            break
        except MinidockError:
            if attempt == 2:  # once, somebody else may have changed the rules after we read them
                raise
    if needed:
        bridge.set_localnet(device, allowed=True)


def _on_loopback(host_ip: str) -> bool:
    return host_ip in ("", "0.0.0.0") or host_ip.startswith("127.")


def _forget_udp(published: Sequence[dict[str, Any]]) -> None:
    for binding in published:
        if binding["Proto"] == "udp" and ":" not in binding["HostIp"]:
            conntrack.forget_udp(int(binding["HostPort"]))
