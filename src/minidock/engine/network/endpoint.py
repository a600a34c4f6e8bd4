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

from minidock.errors import KernelError, UsageError
from minidock.kernel import link, namespace, sysctl
from minidock.kernel.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INTERFACE = "eth0"
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
# A namespace whose last process ended is taken apart by the kernel within about 10 ms, cables
# included; deleting the cable ourselves would wait twice as long, for RCU and in vain.
_DYING_SECONDS = 0.03


def cable_name(container_id: str) -> str:
    """The host's end of a container's cable: a device's name has 15 characters at most."""
    return f"veth{container_id[:11]}"


def plug_in(host: Netlink, state: dict[str, Any], container_id: str, netns_pid: int) -> None:
    """Lay the cable, and set up the container's end of it."""
    lease = state["Leases"][container_id]
    cable, mac = cable_name(container_id), lease["MacAddress"]
    link.add_veth(host, cable, bridge=state["Device"], peer=INTERFACE, mac=mac, pid=netns_pid)
    if lease["Bindings"]:
        link.set_hairpin(host, cable)
    prefix = int(state["Subnet"].partition("/")[2])
    with inside(netns_pid, no_ipv6_on=INTERFACE) as there:
        link.set_up(there, "lo")
        link.add_address(there, INTERFACE, lease["Address"], prefix=prefix)
        link.set_up(there, INTERFACE)
        link.add_default_route(there, INTERFACE, state["Gateway"])


def inside(netns_pid: int, *, no_ipv6_on: str = "") -> Netlink:
    """A conversation with a container's network namespace, held from outside.

    no_ipv6_on: a device that is to have no IPv6, not even the address that it would give itself:
    this network routes none (as Docker has it). Settings too are set from inside only.
    """
    place = f"/proc/{netns_pid}/ns/net"
    home = _open_namespace("/proc/self/ns/net")
    try:
        away = _open_namespace(place)
        try:
            namespace.setns(away, ["network"])
        finally:
            os.close(away)
        try:
            setting = f"net/ipv6/conf/{no_ipv6_on}/disable_ipv6"
            if no_ipv6_on and sysctl.read(setting) == "0":
                sysctl.write(setting, "1")
            return Netlink(place)
        finally:
            namespace.setns(home, ["network"])
    finally:
        os.close(home)


def _open_namespace(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        hint = "the process whose network this is has ended"
        raise KernelError("network_namespaces(7)", path, error.errno or 0, hint=hint) from None


def unplug(host: Netlink, container_id: str) -> None:
    """Leave no cable: the kernel's own clean-up of a dying namespace is given a moment first."""
    cable = cable_name(container_id)
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
        "Gateway": state.get("Gateway", ""),
        "IPAddress": lease.get("Address", ""),
        "IPPrefixLen": int(state["Subnet"].partition("/")[2]) if "Subnet" in state else 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DriverOpts": None,
        "DNSNames": None,
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
