"""Protect the host's bridges and veth devices from router advertisements and ICMP redirects.

By default the kernel accepts an address and a default route from any router advertisement, and
another gateway from any ICMP redirect, on a bridge and on the host's end of a veth pair as on any
device. Containers can send both: Docker's default capabilities include NET_RAW (CVE-2020-13401).

So each such device refuses both, before it is up, and IPv6 as a whole, which no network supports
yet. disable_ipv6 alone is not enough: an administrator who sets `net.ipv6.conf.all.disable_ipv6=0`
enables IPv6 on all devices, and then the other settings still hold.

Source: ip-sysctl.rst "disable_ipv6", "accept_ra", "accept_redirects", "autoconf".
"""

from __future__ import annotations

from minidock.errors import Conflict
from minidock.kernel import sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_WANTED = (
    ("net/ipv6/conf/{}/disable_ipv6", "1"),
    ("net/ipv6/conf/{}/accept_ra", "0"),
    ("net/ipv6/conf/{}/autoconf", "0"),
    ("net/ipv6/conf/{}/accept_redirects", "0"),
    ("net/ipv4/conf/{}/accept_redirects", "0"),
)


def missing_settings(device: str, *, like: str = "") -> Iterator[tuple[str, str]]:
    """Yield the settings (name, value) that a device still needs.

    like: the device whose settings are read instead: "default" for one that does not exist yet.
    Settings that this kernel lacks (it may have no IPv6) are left out.
    """
    for pattern, value in _WANTED:
        if sysctl.read(pattern.format(like or device)) not in (value, None):
            yield pattern.format(device), value


def harden(device: str) -> None:
    """Make a device of the host refuse router advertisements, ICMP redirects and IPv6.

    Raises KernelError if a setting cannot be written, Conflict if another program resets it.
    """
    for name, value in missing_settings(device):
        sysctl.write(name, value)
    for name, value in missing_settings(device):
        raise Conflict(
            f"/proc/sys/{name} does not keep the value {value}",
            hint="another program resets it; without it, containers could set an address and a "
            "route on this host; see grep -r conf /etc/sysctl.d",
        )
