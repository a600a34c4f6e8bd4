"""What the machine is like just now, where a probe got lost: asked of the kernel, and not guessed.

    this host       devices, the route to the container and the answer's, neighbours, bridge ports
    in the network  of the container: devices, addresses, the answer's route, neighbours
    counters        that say by rising that a packet was dropped: read before the probe, and after

`ip`, `bridge` and `tc` are asked, in the container's network too (they are the host's programs:
none of the container's is executed). What cannot be asked is empty, and no cause is made of it.

Sources: ip-route(8) "route get", ip-neighbour(8), bridge(8), tc(8), proc_pid_net(5).
"""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minidock.engine.network.endpoint import NetworkNamespace
from minidock.errors import MinidockError
from minidock.kernel import conntrack, nftrace, sysctl
from minidock.teach.packet.target import Target

_SECONDS = 10
_BRIDGE_FAMILY = 7  # NFPROTO_BRIDGE
_DENYING = ("blackhole", "unreachable", "prohibit")  # types of routes that lead nowhere


@dataclass
class Route:
    """The kernel's answer to `ip route get`.

    device: by which it would leave. gateway: the next hop, "" for none. refused: the kernel's
    words, where it has no way. text: the route that denies it then, "blackhole 192.0.2.0/24".
    """

    device: str = ""
    gateway: str = ""
    refused: str = ""
    text: str = ""


@dataclass
class Network:
    """One network namespace. devices: by name, as `ip -d link` has them. addresses: of IPv4.

    neighbours: by address. policies: rules of `ip rule` beside the kernel's. shapers: devices with
    a qdisc that may drop. strict: devices that hear only whom their routes lead to (rp_filter=1).
    """

    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    addresses: list[str] = field(default_factory=list)
    neighbours: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: list[str] = field(default_factory=list)
    shapers: dict[str, str] = field(default_factory=dict)
    strict: list[str] = field(default_factory=list)

    def is_up(self, device: str) -> bool | None:
        """Whether a device is on; None where there is none."""
        found = self.devices.get(device)
        return None if found is None else "UP" in found["flags"]

    def wrong_cable(
        self, cable: str, bridge: str, name: str, *, up: tuple[str, ...]
    ) -> tuple[str, str] | None:
        """What is wrong with this host's end of a container's cable, and what to do.

        name: the container's. up: the devices that have to be on.
        """
        end = f"{cable}, the host's end of {name}'s cable,"
        found = self.devices.get(cable)
        if found is None:
            return f"{end} is not there any more", f"minidock restart {name}"
        for device in up:
            if self.is_up(device) is False:
                return f"{device} is down", f"ip link set dev {device} up"
        if found.get("master") != bridge:
            where = f"into {found['master']}" if "master" in found else "into nothing"
            return f"{end} is plugged {where}", f"ip link set dev {cable} master {bridge}"
        return None


@dataclass
class Facts:
    """See above.

    there: the route to the container. sender: the one to the probe's sender. back: that of the
    answer, inside; back_host: as this host forwards it. arrival: whether the container's kernel
    takes the packet in. ports, fdb: the bridge's. bridge_rules: how many rules there are for
    bridged frames. bridged: whether they pass iptables too. rose: counters of drops that rose.
    tracked: connections, and how many there may be. flows: of UDP to the published port.
    """

    host: Network
    inside: Network
    there: Route
    sender: Route
    arrival: Route
    back: Route
    back_host: Route
    ports: dict[str, dict[str, Any]]
    fdb: dict[str, str]
    bridge_rules: int
    bridged: bool
    rose: dict[str, int]
    tracked: tuple[int, int]
    flows: list[conntrack.Flow]


class Counters:
    """Counters of drops, before a probe; `risen` says which have risen since."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._before = self._read()

    def risen(self) -> dict[str, int]:
        """By how much each has risen."""
        now = self._read()
        return {name: now[name] - self._before.get(name, 0) for name in now}

    def _read(self) -> dict[str, int]:
        found = {"conntrack": _conntrack_drops()}
        with suppress(OSError, ValueError):
            lines = Path(f"/proc/{self._target.pid}/net/netstat").read_text().splitlines()
            names, values = lines[0].split()[1:], lines[1].split()[1:]
            found["listen"] = int(values[names.index("ListenOverflows")])
        return found


def look(
    target: Target, *, source: str, arrived_as: str, came_by: str, mark: int | None, rose: Counters
) -> Facts:
    """The facts about a probe's way.

    source: its sender on the host. arrived_as: its sender as the container sees it. came_by: the
    device by which it came to this host, "" where it began here.
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
        fdb={
            each["mac"]: each.get("ifname", "")
            for each in _ask("bridge", "fdb", "show", "br", target.bridge) or []
        },
        bridge_rules=_bridge_rules(),
        bridged=sysctl.read("net/bridge/bridge-nf-call-iptables") == "1",
        rose=rose.risen(),
        tracked=(
            int(sysctl.read("net/netfilter/nf_conntrack_count") or 0),
            int(sysctl.read("net/netfilter/nf_conntrack_max") or 0),
        ),
        flows=_flows(target),
    )


def read_network() -> Network:
    """What `ip` says in the network namespace that this process is in."""
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
    """Whether a device of this network namespace drops what its routes would not lead back to."""
    values = [sysctl.read(f"net/ipv4/conf/{each}/rp_filter") or "0" for each in ("all", device)]
    return max(values) == "1"  # the larger one counts; 2 asks for any route


def _policies() -> list[str]:
    """The rules of `ip rule` beside the kernel's own three."""
    own = {(0, "local"), (32766, "main"), (32767, "default")}
    found = []
    for each in _ask("ip", "-4", "rule") or []:
        if (each["priority"], each.get("table")) not in own or each.get("src") != "all":
            does = f"lookup {each['table']}" if "table" in each else each.get("action", "")
            to = f" to {each['dst']}" if "dst" in each else ""
            found.append(f"{each['priority']}: from {each.get('src', 'all')}{to} {does}")
    return found


def route_get(words: list[str]) -> Route:
    """`ip route get`, as the kernel would route a packet with these words now."""
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
    """What is tracked of UDP to a published port: nothing decides anew where these packets go."""
    if target.is_direct or target.protocol != "udp":
        return []
    with suppress(MinidockError):
        return conntrack.udp_flows(target.port)
    return []


def _bridge_rules() -> int:
    """How many rules there are for bridged frames (ebtables-nft, nft's bridge family)."""
    with suppress(MinidockError):
        return sum(len(numbers) for numbers in nftrace.handles(_BRIDGE_FAMILY).values())
    return 0


def _conntrack_drops() -> int:
    """Packets that connection tracking could not take in, of all processors."""
    with suppress(OSError, ValueError):
        head, *rows = Path("/proc/net/stat/nf_conntrack").read_text().splitlines()
        place = head.split().index("drop")
        return sum(int(row.split()[place], 16) for row in rows)
    return 0


def _ask(program: str, *words: str) -> list[dict[str, Any]] | None:
    done = _run(program, "-j", *words)
    return _json(done.stdout) if done and done.returncode == 0 else None


def _json(text: str) -> list[dict[str, Any]]:
    found = json.loads(text) if text.strip() else []
    return [each for each in found if each] if isinstance(found, list) else [found]


def _run(program: str, *words: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            [program, *words], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
