"""where CONTAINER, network: addresses, veth pairs, bridges, published ports, firewall rules."""

from __future__ import annotations

import os
from contextlib import suppress

from minidock.engine.network.firewall import chain_of, parse
from minidock.engine.network.network_json import read_all
from minidock.engine.network.network_mode import parse_network_mode
from minidock.kernel import iptables, link
from minidock.kernel.netlink import Netlink
from minidock.teach.ns.network import query_network
from minidock.teach.page import plural
from minidock.teach.where.output import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import Lease, NetworkDocument
    from minidock.engine.container.containers import Container


def network_parts(container: Container, pid: int) -> list[Part]:
    """List the parts of a running container's network in the kernel."""
    asked = parse_network_mode(container.host_config["NetworkMode"])
    if asked.kind == "host":
        return [Part("network", "host", "the host's own", ["ip", "address"])]
    inside = ["nsenter", "-t", str(pid), "-n"]
    if asked.kind == "container":
        what = f"that of the container {asked.target[:12]}"
        return [Part("network", asked.target, what, [*inside, "ip", "address"])]
    parts = [
        Part("routes", f"/proc/{pid}/net/route", "its routes",
             [*inside, "ip", "route", "show"])
    ]  # fmt: skip
    joined = [network for network in read_all(container.store) if container.id in network["Leases"]]
    saved = parse(iptables.save().output()) if joined else {}
    kernel = Devices(pid, container.monitor_pid or 0) if joined else None
    for network in joined:
        assert kernel is not None
        parts += _endpoint(container, network, inside, kernel)
        parts += _rules(network, saved, container.id)
    return parts


class Devices:
    """Network devices and sockets, on the host and inside.

    links, inside: by name. addresses: IPv4 addresses of a host device, by its index. held: the
    ports that the container's monitor holds, as (protocol, number).
    """

    def __init__(self, pid: int, monitor: int) -> None:
        self.inside = {each["name"]: each for each in query_network(pid)["links"]}
        self.addresses: dict[int, list[str]] = {}
        with Netlink() as kernel:
            self.links = {each.name: each for each in link.list_links(kernel)}
            for index, address, _ in link.list_addresses(kernel):
                self.addresses.setdefault(index, []).append(address)
        self._names = {each.index: each.name for each in self.links.values()}
        self.held = _held_by(monitor) if monitor else set()

    def bridge_of(self, name: str) -> str:
        """The bridge of which a device is a port; "" if none."""
        return self._names.get(self.links[name].master, "")


def _held_by(pid: int) -> set[tuple[str, int]]:
    """The ports of this host on which a process has sockets. Source: proc_pid_net(5)."""
    sockets = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        with suppress(FileNotFoundError), open(f"/proc/net/{table}", encoding="ascii") as file:
            for fields in [line.split() for line in file][1:]:
                if f"socket:[{fields[9]}]" in sockets:
                    found.add((table[:3], int(fields[1].rpartition(":")[2], 16)))
    return found


def _endpoint(
    container: Container, network: NetworkDocument, inside: list[str], kernel: Devices
) -> list[Part]:
    """One veth pair: the container's end, the host's end, and its bridge."""
    lease = network["Leases"][container.id]
    store, name, device = container.store, network["Name"], network["Device"]
    parts = [
        Part(f"network {name}", store.network(name), "its leases: the address of each container",
             ["cat", store.network(name)])
    ]  # fmt: skip
    if (interface := lease.get("Interface", "")) in kernel.inside:
        found = [a.partition("/")[0] for a in kernel.inside[interface]["addresses"] if ":" not in a]
        what = f"{', '.join(found) or 'no address'}: its end of the veth pair"
        what += "" if kernel.inside[interface]["up"] else ", which is down"
        command = [*inside, "ip", "address", "show", "dev", interface]
        parts.append(Part(interface, ", ".join(found), what, command))
    if (veth := lease.get("Cable", "")) in kernel.links:
        bridge = kernel.bridge_of(veth)
        what = f"the host's end of it, attached to {bridge or 'no bridge'}"
        parts.append(Part(veth, veth, what, ["ip", "link", "show", "dev", veth]))
    if device in kernel.links:
        gateway = network["Gateway"]
        has = gateway in kernel.addresses.get(kernel.links[device].index, ())
        what = f"the bridge, {'with' if has else 'without'} the gateway's address {gateway}"
        parts.append(Part(device, device, what, ["ip", "address", "show", "dev", device]))
    return parts + _listeners(lease, kernel.held)


def _listeners(lease: Lease, held: set[tuple[str, int]]) -> list[Part]:
    """The published ports, which the monitor reserves with sockets."""
    ports = {(b["HostPort"], b["Proto"]): b["ContainerPort"] for b in lease.get("Bindings", ())}
    parts = []
    for (port, protocol), inner in ports.items():
        if protocol in ("tcp", "udp"):
            by = "held on the host by the monitor"
            if (protocol, int(port)) not in held:
                by = "published, but not held by the monitor"
            parts.append(
                Part(f"port {port}/{protocol}", f"{port}/{protocol}",
                     f"{by}; it leads to {lease['Address']}:{inner}",
                     ["ss", f"-Hln{protocol[0]}p", f"sport = :{port}"])
            )  # fmt: skip
    return parts


def _rules(
    network: NetworkDocument, saved: dict[str, dict[str, list[str]]], container_id: str
) -> list[Part]:
    """The chains that the network's packets pass."""
    chain = chain_of(network["Device"])
    purposes = {
        ("raw", chain): "blocks connections from outside to containers' own addresses",
        ("nat", chain): "translates published ports to containers",
        ("nat", f"{chain}-OUT"): "masquerades outgoing packets",
        ("filter", chain): "filters what passes between the bridge and other devices",
    }
    parts = []
    for (table, name), purpose in purposes.items():
        rules = saved.get(table, {}).get(name)
        if rules is None:
            command = ["iptables", "-t", table, "-S"]
            what = f"{name} is missing: was the firewall flushed? `minidock restart` restores it"
        else:
            own = sum(container_id[:12] in rule for rule in rules)
            command = ["iptables", "-t", table, "-S", name]
            what = (
                f"{plural(len(rules), 'rule')}{f', {own} for it alone' if own else ''}: {purpose}"
            )
        parts.append(Part(f"rules, {table}", name, what, command, table=table))
    return parts
