"""The network part of where CONTAINER: addresses, cables, bridges, listeners and firewall rules."""

from __future__ import annotations

from minidock.engine.network.file import every
from minidock.engine.network.firewall import chain_of, parse
from minidock.engine.network.mode import mode
from minidock.kernel import iptables
from minidock.teach.page import few
from minidock.teach.where.shown import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.engine.container.containers import Container


def network_parts(container: Container, pid: int) -> list[Part]:
    """What the kernel has of a running container's network."""
    asked = mode(container.host_config["NetworkMode"])
    if asked.kind == "host":
        return [Part("network", "host", "the host's own", ["ip", "address"])]
    inside = ["nsenter", "-t", str(pid), "-n"]
    if asked.kind == "container":
        what = f"that of the container {asked.target[:12]}"
        return [Part("network", asked.target, what, [*inside, "ip", "address"])]
    parts = [
        Part("routes", f"/proc/{pid}/net/route", "where its packets go",
             [*inside, "ip", "route", "show"])
    ]  # fmt: skip
    joined = [network for network in every(container.store) if container.id in network["Leases"]]
    saved = parse(iptables.save().output()) if joined else {}
    for network in joined:
        parts += _endpoint(container, network, inside)
        parts += _rules(network, saved, container.id)
    return parts


def _endpoint(container: Container, network: dict[str, Any], inside: list[str]) -> list[Part]:
    """One cable: the container's end, the host's end, and the bridge that it is plugged into."""
    lease = network["Leases"][container.id]
    store, name, device = container.store, network["Name"], network["Device"]
    parts = [
        Part(f"network {name}", store.network(name), "who has which address",
             ["cat", store.network(name)])
    ]  # fmt: skip
    if "Cable" in lease:
        interface, cable = lease["Interface"], lease["Cable"]
        parts += [
            Part(interface, lease["Address"], f"{lease['Address']}: its end of the cable",
                 [*inside, "ip", "address", "show", "dev", interface], mac=lease["MacAddress"]),
            Part(cable, cable, f"the host's end of it, a veth, plugged into {device}",
                 ["ip", "link", "show", "dev", cable]),
        ]  # fmt: skip
    parts.append(
        Part(device, device, f"the bridge, with the gateway's address {network['Gateway']}",
             ["ip", "address", "show", "dev", device])
    )  # fmt: skip
    return parts + _listeners(lease)


def _listeners(lease: dict[str, Any]) -> list[Part]:
    """The published ports, which the monitor holds so that nobody else gets them."""
    ports = {(b["HostPort"], b["Proto"]): b["ContainerPort"] for b in lease.get("Bindings", ())}
    return [
        Part(f"port {port}/{protocol}", f"{port}/{protocol}",
             f"held on the host by the monitor; it leads to {lease['Address']}:{inner}",
             ["ss", f"-Hln{protocol[0]}p", f"sport = :{port}"])
        for (port, protocol), inner in ports.items()
        if protocol in ("tcp", "udp")
    ]  # fmt: skip


def _rules(
    network: dict[str, Any], saved: dict[str, dict[str, list[str]]], container_id: str
) -> list[Part]:
    """The chains that the network's packets pass."""
    chain = chain_of(network["Device"])
    purposes = {
        ("raw", chain): "nobody from outside calls a container by its own address",
        ("nat", chain): "what comes to a published port becomes a container's",
        ("nat", f"{chain}-OUT"): "what leaves for the world takes the host's address",
        ("filter", chain): "what may pass between the bridge and the rest",
    }
    parts = []
    for (table, name), purpose in purposes.items():
        rules = saved.get(table, {}).get(name)
        if rules is None:
            command = ["iptables", "-t", table, "-S"]
            what = f"{name} is not there: was the firewall flushed? `minidock restart` makes it"
        else:
            own = sum(container_id[:12] in rule for rule in rules)
            command = ["iptables", "-t", table, "-S", name]
            what = f"{few(len(rules), 'rule')}{f', {own} for it alone' if own else ''}: {purpose}"
        parts.append(Part(f"rules, {table}", name, what, command, table=table))
    return parts
