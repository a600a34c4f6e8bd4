"""Probes of the network: bridge, veth and firewall rules, in a new network namespace.

A new network namespace has its own links, settings and firewall, so everything can be created there
as `run` does, and nothing on this machine changes.
Sources: network_namespaces(7), and those of kernel/link.py and kernel/iptables.py.
"""

from __future__ import annotations

import os

from minidock.engine.doctor.child_probe import Tried
from minidock.engine.network import firewall as rules_of
from minidock.errors import MinidockError
from minidock.kernel import iptables, link, namespace
from minidock.kernel.netlink import Netlink
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import ContainerBinding

_BRIDGE, _ADDRESS, _SUBNET, _PREFIX = "mdtry0", "192.0.2.1", "192.0.2.0/24", 24
_PUBLISHED: list[ContainerBinding] = [
    {"HostIp": "", "HostPort": 80, "Proto": protocol, "Address": "192.0.2.2",
     "ContainerPort": 80, "Container": "doctor"}
    for protocol in ("tcp", "udp")
]  # fmt: skip


def firewall(_: Store, tried: Tried) -> None:
    """Create a bridge with an address, a veth attached to it, and the rules that publish a port."""
    with tried("namespace"):
        namespace.unshare(["network"])
    if not tried.works("namespace"):
        return  # the rest must never happen in the host's namespace
    with tried("bridge"), Netlink() as here:
        link.add_bridge(here, _BRIDGE, mac="02:42:c0:00:02:01")
        link.add_address(here, _BRIDGE, _ADDRESS, prefix=_PREFIX)
        link.set_up(here, _BRIDGE)
    with tried("veth"), Netlink() as here:
        mac = "02:42:c0:00:02:02"
        link.add_veth(here, "mdtry1", bridge=_BRIDGE, peer="mdtry2", mac=mac, pid=os.getpid())
        link.set_hairpin(here, "mdtry1")
    with tried("rules"):
        wanted = rules_of.network_rules(_BRIDGE, _SUBNET, _PUBLISHED)
        iptables.restore(rules_of.changes(iptables.Listing().text(), _BRIDGE, wanted))
        if rules_of.changes(iptables.Listing().text(), _BRIDGE, wanted):
            raise MinidockError("iptables-save does not print the rules that were created")


def forwarding(_: Store, tried: Tried) -> None:
    """Check whether the settings that a bridge needs could be changed, without changing them."""
    for setting in ("ip_forward", "conf/default/route_localnet"):
        with tried(setting):
            os.close(os.open(f"/proc/sys/net/ipv4/{setting}", os.O_WRONLY | os.O_CLOEXEC))
