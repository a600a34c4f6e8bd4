"""An endpoint: a container's end of its network, and the cable that leads there.

How a container's namespace is entered. An address is set through a netlink socket that was opened
inside the namespace it is for. So this process (one thread, not dumpable) joins the container's
network namespace for three system calls and goes back: 0.15 ms, against 1 ms and more for a forked
child. Joining this one kind of namespace opens no path to our files: the container's processes
still do not see us, nor have we entered their mounts. All the rest is done from outside.

Sources: network_namespaces(7), setns(2), veth(4), ip-sysctl.rst "disable_ipv6", Docker Engine API
1.45 (EndpointSettings).
"""

from __future__ import annotations

import os
import time

from minidock.engine.network.device_settings import distrust
from minidock.errors import KernelError, UsageError
from minidock.kernel import link, namespace, sysctl
from minidock.kernel.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT = "bridge"  # the network of a container that was given none
INTERFACE = "eth0"
MTU_OPTION = "com.docker.network.driver.mtu"
ICC_OPTION = "com.docker.network.bridge.enable_icc"
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
# A namespace whose last process ended is taken apart by the kernel within about 10 ms, cables
# included; deleting the cable ourselves would wait twice as long, for RCU and in vain.
_DYING_SECONDS = 0.03


def cable_name(container_id: str, network: str = DEFAULT) -> str:
    """The host's end of a container's cable: a device's name has 15 characters at most.

    On the default network it is named for the container; on others it has a name of its own.
    """
    return f"veth{container_id[:11] if network == DEFAULT else os.urandom(6).hex()[:11]}"


def plug_in(
    host: Netlink, state: dict[str, Any], container_id: str, netns_pid: int, *, way_out: bool = True
) -> None:
    """Lay the cable, and set up the container's end of it.

    way_out: what is not for a neighbour goes to this network's gateway.
    """
    lease = state["Leases"][container_id]
    cable, interface, mac = lease["Cable"], lease["Interface"], lease["MacAddress"]
    link.add_veth(host, cable, bridge=state["Device"], peer=interface, mac=mac, pid=netns_pid)
    distrust(cable)
    if lease["Bindings"]:
        link.set_hairpin(host, cable)
    if state.get("Options"):
        apply_options(host, state["Options"], cable)
    link.set_up(host, cable)
    prefix = int(state["Subnet"].partition("/")[2])
    with inside(netns_pid, no_ipv6_on=interface) as there:
        link.set_up(there, "lo")
        if mtu := (state.get("Options") or {}).get(MTU_OPTION):
            link.set_mtu(there, interface, int(mtu))
        link.add_address(there, interface, lease["Address"], prefix=prefix)
        link.set_up(there, interface)
        if way_out:
            link.add_default_route(there, interface, state["Gateway"])


def apply_options(host: Netlink, options: dict[str, str], cable: str) -> None:
    """What a network's options say of the cable's end at the bridge."""
    if mtu := options.get(MTU_OPTION):
        link.set_mtu(host, cable, int(mtu))
    if options.get(ICC_OPTION) == "false":
        link.set_isolated(host, cable)


def inside(netns_pid: int, *, no_ipv6_on: str = "") -> Netlink:
    """A conversation with a container's network namespace, held from outside.

    no_ipv6_on: a device that is to have no IPv6, not even the address that it would give itself:
    this network routes none (as Docker has it). Settings too are set from inside only.
    """
    with Visit(netns_pid) as place:
        setting = f"net/ipv6/conf/{no_ipv6_on}/disable_ipv6"
        if no_ipv6_on and sysctl.read(setting) == "0":
            sysctl.write(setting, "1")
        return Netlink(place)


class Visit:
    """A block in which this process is in a container's network; its value names the place.

    Sockets that are made in it stay there.
    """

    def __init__(self, netns_pid: int) -> None:
        self._place = f"/proc/{netns_pid}/ns/net"

    def __enter__(self) -> str:
        self._home = _open_namespace("/proc/self/ns/net")
        try:
            away = _open_namespace(self._place)
            try:
                namespace.setns(away, ["network"], place=self._place)
            finally:
                os.close(away)
        except BaseException:
            os.close(self._home)
            raise
        return self._place

    def __exit__(self, *exception: object) -> None:
        try:
            namespace.setns(self._home, ["network"], place="")
        finally:
            os.close(self._home)


def _open_namespace(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        hint = "the process whose network this is has ended"
        raise KernelError("network_namespaces(7)", path, error.errno or 0, hint=hint) from None


def unplug(host: Netlink, cable: str) -> None:
    """Leave no cable: the kernel's own clean-up of a dying namespace is given a moment first."""
    deadline = time.monotonic() + _DYING_SECONDS
    while link.find(host, cable) is not None:
        if time.monotonic() > deadline:
            link.delete(host, cable)
            return
        time.sleep(0.0005)


def settings(state: dict[str, Any], lease: dict[str, Any]) -> dict[str, Any]:
    """An endpoint as docker inspect shows it under NetworkSettings.Networks.<name>."""
    return {
        "IPAMConfig": None,
        "Links": None,
        "Aliases": None,
        "MacAddress": lease.get("MacAddress", ""),
        "NetworkID": state["Id"],
        "EndpointID": lease["EndpointID"],
        "Gateway": "" if state.get("Internal") else state.get("Gateway", ""),
        "IPAddress": lease.get("Address", ""),
        "IPPrefixLen": int(state["Subnet"].partition("/")[2]) if "Subnet" in state else 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DriverOpts": None,
        "DNSNames": lease.get("Names"),
    }


def check_mac(mac: str) -> None:
    """Raise UsageError for what cannot be one device's hardware address."""
    parts = mac.split(":")
    shaped = len(parts) == 6 and all(len(p) == 2 and _HEXADECIMAL.issuperset(p) for p in parts)
    if not shaped or int(parts[0], 16) & 1:
        raise UsageError(
            f"{mac!r} is not a hardware address for a container",
            hint="six pairs of hexadecimal digits, the first an even number: 02:42:0a:00:00:05",
        )
