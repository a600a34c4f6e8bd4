"""The state of the machine's network at the time of a probe, read from the kernel.

    this host       devices, routes to the container and back, neighbours, bridge ports
    the container   in its network namespace: devices, addresses, the route back, neighbours
    counters        drop counters, read before and after the probe

It runs the host's `ip`, `bridge` and `tc`, also in the container's network namespace; no program of
the container is executed. What cannot be read is empty, and proves no cause.

Sources: ip-route(8) "route get", ip-neighbour(8), bridge(8), tc(8), proc_pid_net(5).
"""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from minidock.engine.network.veth_pair import NetworkNamespace
from minidock.errors import MinidockError
from minidock.kernel import conntrack, nftrace, sysctl
from minidock.teach.packet.target import Target

_SECONDS = 10
_BRIDGE_FAMILY = 7  # NFPROTO_BRIDGE
_DENYING = ("blackhole", "unreachable", "prohibit")  # types of routes that lead nowhere


@dataclass
class Route:
    """The kernel's answer to `ip route get`.

    device: the outgoing device. gateway: the next hop, "" if none. refused: the kernel's error if
    there is no route. text: the route that denies it, such as "blackhole 192.0.2.0/24".
    """

    device: str = ""
    gateway: str = ""
    refused: str = ""
    text: str = ""


class LinkInfo(TypedDict, total=False):
    info_kind: str


class Device(TypedDict, total=False):
    """A device as `ip -d link` prints it."""

    ifname: str
    flags: list[str]
    mtu: int
    master: str
    address: str
    linkinfo: LinkInfo


class Neighbour(TypedDict, total=False):
    """An entry of `ip neigh`. lladdr: the MAC address. state: such as PERMANENT."""

    dst: str
    dev: str
    lladdr: str
    state: list[str]


class BridgePort(TypedDict, total=False):
    """A port as `bridge -d link` prints it."""

    ifname: str
    state: str
    hairpin: bool


@dataclass
class Network:
    """One network namespace. devices: name -> an object of `ip -d link`. addresses: IPv4.

    neighbours: by address. policies: rules of `ip rule` except the defaults. shapers: devices with
    a qdisc that may drop. strict: devices with strict reverse path filtering (rp_filter=1).
    """

    devices: dict[str, Device] = field(default_factory=dict)
    addresses: list[str] = field(default_factory=list)
    neighbours: dict[str, Neighbour] = field(default_factory=dict)
    policies: list[str] = field(default_factory=list)
    shapers: dict[str, str] = field(default_factory=dict)
    strict: list[str] = field(default_factory=list)

    def is_up(self, device: str) -> bool | None:
        """Whether a device is up; None if it does not exist."""
        found = self.devices.get(device)
        return None if found is None else "UP" in found["flags"]

    def veth_fault(
        self, veth: str, bridge: str, name: str, *, up: tuple[str, ...]
    ) -> tuple[str, str] | None:
        """What is wrong with the host's end of a container's veth pair, and how to fix it.

        name: of the container. up: the devices that must be up.
        """
        end = f"{veth}, the host's end of {name}'s veth pair,"
        found = self.devices.get(veth)
        if found is None:
            return f"{end} does not exist any more", f"minidock restart {name}"
        for device in up:
            if self.is_up(device) is False:
                return f"{device} is down", f"ip link set dev {device} up"
        if found.get("master") != bridge:
            where = f"a port of {found['master']}" if "master" in found else "attached to no bridge"
            return f"{end} is {where}", f"ip link set dev {veth} master {bridge}"
        return None


@dataclass
class Facts:
    """The state of the network at the time of a probe.

    there: the route to the container. sender: the route to the probe's sender. back: the answer's
    route, inside; back_host: on this host. arrival: the route of the packet on arrival inside.
    ports, fdb: of the bridge. bridge_rules: the number of rules for bridged frames. bridged:
    whether iptables sees bridged frames. risen_counters: increase of each drop counter. tracked:
    entries of connection tracking, and their maximum. flows: tracked UDP to the published port.
    """

    host: Network
    inside: Network
    there: Route
    sender: Route
    arrival: Route
    back: Route
    back_host: Route
    ports: dict[str, BridgePort]
    fdb: dict[str, str]
    bridge_rules: int
    bridged: bool
    risen_counters: dict[str, int]
    tracked: tuple[int, int]
    flows: list[conntrack.Flow]


class Counters:
    """Drop counters before a probe; `count_risen` returns their increase since."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._before = self._read()

    def count_risen(self) -> dict[str, int]:
        """The increase of each counter."""
        now = self._read()
        return {name: now[name] - self._before.get(name, 0) for name in now}

    def _read(self) -> dict[str, int]:
        found = {"conntrack": _conntrack_drops()}
        with suppress(OSError, ValueError):
            lines = Path(f"/proc/{self._target.pid}/net/netstat").read_text().splitlines()
            names, values = lines[0].split()[1:], lines[1].split()[1:]
            found["listen"] = int(values[names.index("ListenOverflows")])
        return found


def gather(
    target: Target,
    *,
    source: str,
    arrived_as: str,
    came_by: str,
    mark: int | None,
    counters: Counters,
) -> Facts:
    """Read the state of everything on a probe's path.

    source: its source address on the host. arrived_as: its source as the container sees it.
    came_by: the device on which it entered this host, "" if it started here.
    """
    here = ["from", source, "iif", came_by] if came_by else []
    marked = ["mark", str(mark)] if mark is not None else []
    interface = target.lease["Interface"]
    back_host = Route()
    if came_by:
        back_host = route_get([source, "from", target.address, "iif", target.bridge])
    with NetworkNamespace(target.pid):
        inside = read_network()
        arrival = route_get([target.address, "from", arrived_as, "iif", interface])
        back = route_get([arrived_as, "from", target.address])
    return Facts(
        host=read_network(),
        inside=inside,
        there=route_get([target.address, *here, *marked]),
        sender=route_get([source]) if came_by else Route(),
        arrival=arrival,
        back=back,
        back_host=back_host,
        ports={each["ifname"]: each for each in _ask("bridge", "-d", "link") or []},
        fdb=_fdb(target.bridge),
        bridge_rules=_bridge_rules(),
        bridged=sysctl.read("net/bridge/bridge-nf-call-iptables") == "1",
        risen_counters=counters.count_risen(),
        tracked=(
            int(sysctl.read("net/netfilter/nf_conntrack_count") or 0),
            int(sysctl.read("net/netfilter/nf_conntrack_max") or 0),
        ),
        flows=_flows(target),
    )


def _fdb(bridge: str) -> dict[str, str]:
    """A bridge's forwarding database: MAC address -> port."""
    entries = _ask("bridge", "fdb", "show", "br", bridge) or []
    return {each["mac"]: each.get("ifname", "") for each in entries}


def read_network() -> Network:
    """Read the state of the network namespace that this process is in."""
    links = _ask("ip", "-d", "link") or []
    addresses = _ask("ip", "-4", "address") or []
    devices = {each["ifname"]: each for each in links if "ifname" in each}
    return Network(
        devices=devices,
        addresses=[one["local"] for each in addresses for one in each.get("addr_info", ())],
        neighbours={each["dst"]: each for each in _ask("ip", "-4", "neigh", "show") or []},
        policies=_policies(),
        shapers={
            each["dev"]: each["kind"]
            for each in _ask("tc", "qdisc", "show") or []
            if each.get("kind") in ("netem", "tbf", "clsact", "ingress")
        },
        strict=[name for name in devices if is_strict(name)],
    )


def is_strict(device: str) -> bool:
    """Whether a device of this network namespace has strict reverse path filtering."""
    values = [sysctl.read(f"net/ipv4/conf/{each}/rp_filter") or "0" for each in ("all", device)]
    return max(values) == "1"  # the maximum applies; 2 is loose mode


def _policies() -> list[str]:
    """The rules of `ip rule` except the three defaults."""
    own = {(0, "local"), (32766, "main"), (32767, "default")}
    found = []
    for each in _ask("ip", "-4", "rule") or []:
        if (each["priority"], each.get("table")) not in own or each.get("src") != "all":
            does = f"lookup {each['table']}" if "table" in each else each.get("action", "")
            to = f" to {each['dst']}" if "dst" in each else ""
            found.append(f"{each['priority']}: from {each.get('src', 'all')}{to} {does}")
    return found


def route_get(words: list[str]) -> Route:
    """Run `ip route get` with these arguments."""
    done = _run("ip", "-j", "route", "get", *words)
    if done is None:
        return Route(device="?")
    found = _json(done.stdout)
    if done.returncode or not found:
        said = done.stderr.strip().removeprefix("RTNETLINK answers: ")
        matched = _ask("ip", "-4", "route", "show", "table", "all", "match", words[0]) or []
        denying = [each for each in matched if each.get("type", "unicast") in _DENYING]
        text = f"{denying[-1]['type']} {denying[-1]['dst']}" if denying else ""
        return Route(refused=said or "no answer", text=text)
    return Route(found[0].get("dev", ""), found[0].get("gateway", ""))


def _flows(target: Target) -> list[conntrack.Flow]:
    """Tracked UDP flows to a published port: their packets skip the nat table."""
    if target.is_direct or target.protocol != "udp":
        return []
    with suppress(MinidockError):
        return conntrack.udp_flows(target.port)
    return []


def _bridge_rules() -> int:
    """The number of rules for bridged frames (ebtables-nft, nft's bridge family)."""
    with suppress(MinidockError):
        return sum(len(numbers) for numbers in nftrace.handles(_BRIDGE_FAMILY).values())
    return 0


def _conntrack_drops() -> int:
    """Packets that connection tracking dropped, summed over all CPUs."""
    with suppress(OSError, ValueError):
        head, *rows = Path("/proc/net/stat/nf_conntrack").read_text().splitlines()
        place = head.split().index("drop")
        return sum(int(row.split()[place], 16) for row in rows)
    return 0


def _ask(program: str, *words: str) -> list[Any] | None:  # its objects differ by command
    done = _run(program, "-j", *words)
    return _json(done.stdout) if done and done.returncode == 0 else None


def _json(text: str) -> list[Any]:  # as above
    found = json.loads(text) if text.strip() else []
    return [each for each in found if each] if isinstance(found, list) else [found]


def _run(program: str, *words: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            [program, *words], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
