"""An endpoint: the veth pair between a bridge and a container, and the container's interface.

A netlink socket belongs to the network namespace in which it was opened. To configure a container's
interface, this process (one thread, not dumpable) joins the container's network namespace for three
system calls and returns: 0.15 ms, against 1 ms and more for a forked child. Joining only a network
namespace is safe: the container's processes do not see ours, and our mounts stay the host's.

Sources: network_namespaces(7), setns(2), veth(4), ip-sysctl.rst "disable_ipv6", Docker Engine API
1.45 (EndpointSettings).
"""

from __future__ import annotations

import os
import time

from minidock.engine.network.device_settings import harden
from minidock.engine.network.network_mode import DEFAULT
from minidock.errors import KernelError, UsageError
from minidock.kernel import link, namespace, sysctl
from minidock.kernel.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import Endpoint, Lease, NetworkDocument

INTERFACE = "eth0"
MTU_OPTION = "com.docker.network.driver.mtu"
ICC_OPTION = "com.docker.network.bridge.enable_icc"
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
# The kernel destroys a namespace, its veth devices included, about 10 ms after its last process
# ended. Deleting the veth ourselves would take twice as long (an RCU grace period).
_DYING_SECONDS = 0.03


def veth_name(container_id: str, network: str = DEFAULT) -> str:
    """Return a name for the host's end of a veth pair; device names have at most 15 characters.

    On the default network it contains the container's id; on others it is random.
    """
    return f"veth{container_id[:11] if network == DEFAULT else os.urandom(6).hex()[:11]}"


def attach(
    host: Netlink,
    state: NetworkDocument,
    container_id: str,
    netns_pid: int,
    *,
    is_gateway: bool = True,
) -> None:
    """Create the veth pair, attach one end to the bridge, and configure the container's end.

    is_gateway: set the container's default route to this network's gateway.
    """
    lease = state["Leases"][container_id]
    veth, interface, mac = lease["Cable"], lease["Interface"], lease["MacAddress"]
    link.add_veth(host, veth, bridge=state["Device"], peer=interface, mac=mac, pid=netns_pid)
    harden(veth)
    if lease["Bindings"]:
        link.set_hairpin(host, veth)
    if options := state.get("Options"):
        apply_options(host, options, veth)
    link.set_up(host, veth)
    prefix = int(state["Subnet"].partition("/")[2])
    with open_netlink(netns_pid, no_ipv6_on=interface) as inside:
        link.set_up(inside, "lo")
        if mtu := (state.get("Options") or {}).get(MTU_OPTION):
            link.set_mtu(inside, interface, int(mtu))
        link.add_address(inside, interface, lease["Address"], prefix=prefix)
        link.set_up(inside, interface)
        if is_gateway:
            link.add_default_route(inside, interface, state["Gateway"])


def apply_options(host: Netlink, options: dict[str, str], veth: str) -> None:
    """Apply a network's MTU and ICC options to the host's end of a veth pair."""
    if mtu := options.get(MTU_OPTION):
        link.set_mtu(host, veth, int(mtu))
    if options.get(ICC_OPTION) == "false":
        link.set_isolated(host, veth)


def open_netlink(netns_pid: int, *, no_ipv6_on: str = "") -> Netlink:
    """Open a netlink socket in a container's network namespace, for use from outside of it.

    no_ipv6_on: a device on which to disable IPv6, link-local addresses included: the network
    routes none (as in Docker). /proc/sys/net shows the settings of the reader's namespace, so this
    is done inside.
    """
    with NetworkNamespace(netns_pid) as path:
        setting = f"net/ipv6/conf/{no_ipv6_on}/disable_ipv6"
        if no_ipv6_on and sysctl.read(setting) == "0":
            sysctl.write(setting, "1")
        return Netlink(path)


class NetworkNamespace:
    """A context manager: its block runs in a process's network namespace. Yields the path of it.

    Sockets opened in the block stay in that namespace.
    """

    def __init__(self, netns_pid: int) -> None:
        self._path = f"/proc/{netns_pid}/ns/net"

    def __enter__(self) -> str:
        self._host = _open_namespace("/proc/self/ns/net")
        try:
            target = _open_namespace(self._path)
            try:
                namespace.setns(target, ["network"], place=self._path)
            finally:
                os.close(target)
        except BaseException:
            os.close(self._host)
            raise
        return self._path

    def __exit__(self, *exception: object) -> None:
        try:
            namespace.setns(self._host, ["network"], place="")
        finally:
            os.close(self._host)


def _open_namespace(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        hint = "the process in this network namespace has ended"
        raise KernelError("network_namespaces(7)", path, error.errno or 0, hint=hint) from None


def detach(host: Netlink, veth: str) -> None:
    """Wait until the kernel has removed a veth pair with its namespace; else delete it."""
    deadline = time.monotonic() + _DYING_SECONDS
    while link.find(host, veth) is not None:
        if time.monotonic() > deadline:
            link.delete(host, veth)
            return
        time.sleep(0.0005)


def settings(state: NetworkDocument, lease: Lease) -> Endpoint:
    """Return an endpoint as docker inspect shows it under NetworkSettings.Networks.<name>."""
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
    """Raise UsageError if a text is not a unicast MAC address."""
    parts = mac.split(":")
    shaped = len(parts) == 6 and all(len(p) == 2 and _HEXADECIMAL.issuperset(p) for p in parts)
    if not shaped or int(parts[0], 16) & 1:
        raise UsageError(
            f"{mac!r} is not a unicast MAC address",
            hint="six pairs of hexadecimal digits, the first an even number: 02:42:0a:00:00:05",
        )
