"""Plan the network operations of a run: bridges, rules, veth pairs, DNS.

Addresses, subnets and rules come from the engine's functions on a network's state file, such as
`networks.get_or_add_lease` and `networks.changes`. This module repeats the order of the engine's
kernel operations, on copies of the state files that are never written.

Sources: engine/network/networks.py, bridge.py, veth_pair.py and engine/monitor/networking.py.
"""

from __future__ import annotations

import os
from errno import EADDRINUSE

from minidock.engine.container import endpoints
from minidock.engine.container.network_aliases import has_dns_names
from minidock.engine.monitor.networking import wanted_ports
from minidock.engine.network import (
    bridge,
    device_settings,
    firewall,
    ipam,
    network_json,
    networks,
    published_ports,
    veth_pair,
)
from minidock.engine.network.dns import sockets
from minidock.engine.network.network_mode import DEFAULT
from minidock.engine.network.network_mode import parse_network_mode as mode_of
from minidock.engine.network.resolv_conf import NAME_SERVER
from minidock.errors import Conflict, MinidockError, NotFound, UsageError
from minidock.kernel import conntrack, iptables, link, namespace, sysctl
from minidock.kernel.netlink import Netlink
from minidock.kernel.port import hold, listen_for_names
from minidock.runtime.program import Slot
from minidock.teach.plan import rules
from minidock.teach.plan.foresight import Ports, RunFails
from minidock.teach.plan.planned_ops import PID, PLACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minidock.document_types.network import Binding, Lease, NetworkDocument
    from minidock.engine.container.containers import Container
    from minidock.teach.plan.planned_ops import PlannedOps


class PlannedWiring:
    """Plan what engine/monitor/networking.py would do for a container's first run.

    note: collects assumptions. states: the planned state files of its networks, by name.
    """

    def __init__(self, ops: PlannedOps, container: Container, note: list[str]) -> None:
        self._acts = ops
        self._container = container
        self._store = container.store
        self._note = note
        self.kind = mode_of(container.host_config.get("NetworkMode") or "").kind
        self.states: dict[str, NetworkDocument] = {}
        self._saved: str | None = None
        self._first = ""
        self._ports: list[Binding] = []
        document = container.document
        joined = endpoints.network_names(document) if self.kind == "bridge" else []
        for name in joined:
            self.states[name] = self._state(name)
        self._order = networks.join_order(self._store, joined)
        self.gateway_network = networks.gateway_network(self._store, joined) if joined else ""

    @property
    def before(self) -> str:
        """The output of iptables-save now."""
        return self._first

    @property
    def after(self) -> str:
        """Its output once the container runs."""
        return self._saved or ""

    def hold_ports(self) -> None:
        """As NetworkSandbox.hold_ports: bind the published ports."""
        wanted = wanted_ports(self._container, self.gateway_network)
        held = Ports()
        single = published_ports.is_single_port
        for each in sorted(wanted, key=lambda binding: not single(str(binding["HostPort"]))):
            self._hold(each, held)

    def _hold(self, binding: Binding, held: Ports) -> None:
        """As published_ports._bind_one: the first free port of a range, or the kernel chooses."""
        given = binding["HostIp"]
        addresses = [given] if given else published_ports.wildcard_addresses()
        for port in dict.fromkeys(published_ports.candidate_ports(str(binding["HostPort"]))):
            if self._hold_all(addresses, port, binding, held):
                return
        taken = f"{addresses[0]}:{binding['HostPort']}"
        try:
            raise RunFails(published_ports.port_taken(taken, binding, self._store))
        except PermissionError:  # only root may read whose port it is
            raise RunFails(published_ports.port_taken(taken, binding, None)) from None

    def _hold_all(self, addresses: list[str], port: int, binding: Binding, held: Ports) -> bool:
        chosen: Any = port or Slot("port")  # a placeholder for the number that the kernel chooses
        bound: list[Binding] = []
        for place, address in enumerate(addresses):
            wanted = port if place == 0 else chosen
            self._acts.add(published_ports.hold_all, hold, address, wanted, binding["Proto"])
            refused = held.refusal(address, port, binding["Proto"])
            if refused and refused.errno == EADDRINUSE:
                return False
            if refused:
                raise RunFails(published_ports.with_hint(refused, addresses[0], port))
            bound.append({**binding, "HostIp": address, "HostPort": chosen})
        self._ports += bound
        return True

    def reserve(self) -> list[str]:
        """As NetworkSandbox.reserve: an address on each network, and its bridge."""
        return [self._reserve(name) for name in self._order]

    def _reserve(self, name: str) -> str:
        with Netlink() as host:
            self._ready(host, name)
        state = self.states[name]
        address = endpoints.requested_address(self._container.document, name)
        if address:
            networks.check_may_choose(state)
        return str(networks.get_or_add_lease(state, self._container.id, address)["Address"])

    def connect(self) -> None:
        """As NetworkSandbox.connect: a veth pair to each network, once its namespace exists."""
        if self.kind == "none":
            self._enter()
            self._leave()
            self._acts.add(networks.set_loopback_up, link.set_up, PLACE, "lo")
        for number, name in enumerate(self._order):
            self._connect(name, f"eth{number}", is_gateway=name == self.gateway_network)
        if has_dns_names(self._container.document):
            self._serve_names()

    # One network's bridge

    def _ready(self, host: Netlink, name: str) -> None:
        state = self.states[name]
        if bridge.is_up(host, self._store, state):
            return
        device = bridge.device_of(self._store, state)
        bridge.check_name(device)
        found = link.find(host, device)
        if found is not None:
            bridge.check_owner(host, self._store, found)
        own = found.index if found else 0
        subnet = self._subnet(host, state, own)
        first = bridge.asked_range(state).get("Gateway")
        gateway = first or ipam.address_text(bridge.first_address(state, subnet))
        if state.get("Subnet", str(subnet)) != str(subnet):
            self._move(state, device, found)
            found = None
        state.update({"Device": device, "Subnet": str(subnet), "Gateway": gateway})
        self._make_device(host, state, found)
        for veth in bridge.list_veths(host, state):
            self._distrust(veth, like=veth)
        self._switch_on_forwarding()
        self._apply_rules(state)

    def _subnet(self, host: Netlink, state: NetworkDocument, own: int) -> ipam.Subnet:
        try:
            return bridge.assign_subnet(host, self._store, state, own)
        except PermissionError:  # only root may read the other networks' files
            routed = [bridge.subnet_around(*route) for route in link.list_routes(host)]
            return ipam.choose_subnet(routed)

    def _move(self, state: NetworkDocument, device: str, found: link.Link | None) -> None:
        """As bridge.discard_old_subnet: delete a bridge whose subnet is in use elsewhere by now."""
        if found is not None and state["Leases"]:
            raise Conflict(
                f"the network {state['Name']} cannot leave {state['Subnet']}: containers use it",
                hint="stop this store's containers first",
            )
        if found is not None:
            self._acts.add(bridge.discard_old_subnet, link.delete, "", device)
        state["Leases"] = {}

    def _make_device(self, host: Netlink, state: NetworkDocument, found: link.Link | None) -> None:
        caller, device, gateway = bridge.ensure_device, state["Device"], state["Gateway"]
        prefix = ipam.parse_subnet(state["Subnet"]).prefix
        index = found.index if found else -1
        if found is None:
            mac = ipam.mac_of(ipam.parse_address(gateway))
            self._acts.add(caller, link.add_bridge, "", device, mac=mac)
        self._distrust(device, like="default" if found is None else device)
        if found is None or not found.alias:
            self._acts.add(caller, link.set_alias, "", device, bridge.alias_of(self._store))
        if mtu := (state.get("Options") or {}).get(veth_pair.MTU_OPTION):
            self._acts.add(caller, link.set_mtu, "", device, int(mtu))
        if (index, gateway, prefix) not in link.list_addresses(host):
            self._acts.add(caller, link.add_address, "", device, gateway, prefix=prefix)
        if found is None or not found.flags & link.IFF_UP:
            self._acts.add(caller, link.set_up, "", device)

    def _distrust(self, device: str, *, like: str) -> None:
        for name, value in device_settings.missing_settings(device, like=like):
            self._acts.add(device_settings.harden, sysctl.write, name, value)

    def _switch_on_forwarding(self) -> None:
        caller = bridge.enable_forwarding
        if (sysctl.read(bridge.FORWARDING) or "0") == "1":
            return
        policy = firewall.forward_policy(self._listing())
        if policy != "DROP":
            self._restore(caller, "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n")
        self._acts.add(caller, sysctl.write, bridge.FORWARDING, "1")

    # The firewall

    def _listing(self) -> str:
        """The output of iptables-save: read once, then with the planned changes."""
        self._acts.add(iptables.Listing.__init__, iptables.save)
        return self._firewall()

    def _firewall(self) -> str:
        if self._saved is None:
            try:
                self._saved = iptables.Listing().text()
            except MinidockError:
                if os.geteuid() == 0:
                    raise
                self._note.append("assumed that the firewall has no rules: only root may list them")
                self._saved = ""
            self._first = self._saved
        return self._saved

    def _restore(self, caller: Callable[..., object], text: str) -> None:
        self._acts.add(caller, iptables.restore, text)
        self._saved = rules.after(self._firewall(), text)

    def _apply_rules(self, state: NetworkDocument) -> None:
        """As networks.apply_rules."""
        device, published = state["Device"], network_json.list_bindings(state)
        needed = any(networks.is_on_loopback(binding["HostIp"]) for binding in published)
        if not needed:
            self._set_localnet(device, "0")
        text = networks.changes(self._store, self._listing(), state)
        if text:
            self._restore(networks.apply_rules, text)
        if needed:
            self._set_localnet(device, "1")

    def _set_localnet(self, device: str, value: str) -> None:
        name = f"net/ipv4/conf/{device}/route_localnet"
        now = sysctl.read(name)
        if now is None:  # a new bridge inherits the default
            now = sysctl.read("net/ipv4/conf/default/route_localnet")
        if now not in (value, None):
            self._acts.add(bridge.set_localnet, sysctl.write, name, value)

    # One veth pair

    def _connect(self, name: str, interface: str, *, is_gateway: bool) -> None:
        """As networks.connect."""
        state, container, document = self.states[name], self._container, self._container.document
        first = name == document["HostConfig"]["NetworkMode"]
        asked = (document["Config"].get("MacAddress") or None) if first else None
        published = [_forwarded(binding) for binding in self._ports] if is_gateway else []
        lease = networks.get_or_add_lease(state, container.id)
        lease.update({
            "MacAddress": asked or ipam.mac_of(ipam.parse_address(lease["Address"])),
            "Bindings": published,
            "Cable": _veth(container.id, name),
            "Interface": interface,
        })  # fmt: skip
        missing = networks.changes(self._store, self._listing(), state)
        self._attach(state, lease, is_gateway=is_gateway)
        if missing or published:
            self._apply_rules(state)
        for binding in published:
            if binding["Proto"] == "udp" and ":" not in binding["HostIp"]:
                self._acts.add(networks.delete_udp_flows, conntrack.forget_udp, binding["HostPort"])

    def _attach(self, state: NetworkDocument, lease: Lease, *, is_gateway: bool) -> None:
        """As veth_pair.attach: the veth pair, then the container's end of it."""
        caller, veth, interface = veth_pair.attach, lease["Cable"], lease["Interface"]
        options = state.get("Options") or {}
        prefix = int(state["Subnet"].partition("/")[2])
        add = self._acts.add
        add(
            caller, link.add_veth, "", veth,
            bridge=state["Device"], peer=interface, mac=lease["MacAddress"], pid=PID,
        )  # fmt: skip
        self._distrust(veth, like="default")
        if lease["Bindings"]:
            add(caller, link.set_hairpin, "", veth)
        mtu = int(options.get(veth_pair.MTU_OPTION) or 0)
        if mtu:
            add(veth_pair.apply_options, link.set_mtu, "", veth, mtu)
        if options.get(veth_pair.ICC_OPTION) == "false":
            add(veth_pair.apply_options, link.set_isolated, "", veth)
        add(caller, link.set_up, "", veth)
        self._enter()
        if _has_ipv6():
            setting = f"net/ipv6/conf/{interface}/disable_ipv6"
            add(veth_pair.open_netlink, sysctl.write, setting, "1")
        self._leave()
        add(caller, link.set_up, PLACE, "lo")
        if mtu:
            add(caller, link.set_mtu, PLACE, interface, mtu)
        add(caller, link.add_address, PLACE, interface, lease["Address"], prefix=prefix)
        add(caller, link.set_up, PLACE, interface)
        if is_gateway:
            add(caller, link.add_default_route, PLACE, interface, state["Gateway"])

    def _enter(self) -> None:
        caller = veth_pair.NetworkNamespace.__enter__
        self._acts.add(caller, namespace.setns, Slot("namespace"), ["network"], place=PLACE)

    def _leave(self) -> None:
        self._acts.add(
            veth_pair.NetworkNamespace.__exit__,
            namespace.setns,
            Slot("home"),
            ["network"],
            place="",
        )

    def _serve_names(self) -> None:
        """As dns/sockets.open_sockets: two rules inside redirect port 53 to its DNS server."""
        self._enter()
        text = sockets.redirect_rules(Slot("udp_port"), Slot("tcp_port"))  # type: ignore[arg-type]
        for protocol in ("udp", "tcp"):
            self._acts.add(sockets.open_sockets, listen_for_names, NAME_SERVER, protocol)
        self._acts.add(sockets.open_sockets, iptables.restore, text, PLACE)
        self._leave()

    def _state(self, name: str) -> NetworkDocument:
        """A network's state file, or the one that its first use would write. Raises NotFound."""
        try:
            found = network_json.read(self._store, name)
        except PermissionError:
            if name not in network_json.DRIVERS:
                raise UsageError(
                    f"only root may read the network {name}", hint="sudo minidock plan run …"
                ) from None
            return self._as_its_bridge_is(name)
        if found is not None:
            return found
        if name not in network_json.DRIVERS:
            raise NotFound(f"network {name} not found", hint="see: minidock network ls")
        return _new(name)

    def _as_its_bridge_is(self, name: str) -> NetworkDocument:
        """The default network without its state file, from its bridge: for users without root."""
        state = _new(name)
        device = self._store.bridge
        with Netlink() as host:
            found = link.find(host, device) if name == DEFAULT else None
            addresses = link.list_addresses(host)
        own = [(a, p) for index, a, p in addresses if found and index == found.index]
        if found is None or not bridge.is_owned_by(self._store, found) or not own:
            self._note.append(
                f"assumed that the network {name} is new: only root may read its file"
            )
            return state
        address, prefix = own[0]
        self._note.append(
            f"the network {name} has the bridge {device}; only root may read which of its "
            "addresses are in use"
        )
        subnet = str(bridge.subnet_around(address, prefix))
        return {**state, "Device": device, "Subnet": subnet, "Gateway": address}


def _new(name: str) -> NetworkDocument:
    return {
        "Name": name, "Id": "", "Created": "", "Driver": network_json.DRIVERS[name], "Leases": {},
    }  # fmt: skip


def _veth(container_id: str, network: str) -> str:
    """As veth_pair.veth_name, which is random for all networks but the default."""
    if network == DEFAULT:
        return veth_pair.veth_name(container_id)
    return f"veth{Slot('random')}"


def _forwarded(binding: Binding) -> Binding:
    return {
        "HostIp": binding["HostIp"], "HostPort": binding["HostPort"], "Proto": binding["Proto"],
        "ContainerPort": binding["ContainerPort"],
    }  # fmt: skip


def _has_ipv6() -> bool:
    """Whether a device in a new network namespace would have IPv6 enabled."""
    default = sysctl.read("net/ipv6/conf/default/disable_ipv6")
    inherits = sysctl.read("net/core/devconf_inherit_init_net") == "1"
    return default is not None and not (inherits and default == "1")
