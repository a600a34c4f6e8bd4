"""What a device of the host's believes of what a container says: nothing.

The host's end of a container's network (the bridge, and each cable's end there) is a device like
any other to the kernel: by default it takes an address and a default route from whoever sends a
router advertisement, and a better gateway from whoever sends an ICMP redirect. Containers may send
both, since Docker's default capabilities have NET_RAW (CVE-2020-13401).

So both are switched off on each such device, and IPv6 with them, which no network has so far. It is
done before the device is up. Each setting alone would do against most of this; an administrator who
writes `net.ipv6.conf.all.disable_ipv6=0` switches IPv6 on for all devices, though, and the other
settings are what is left then.

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
    """The settings that a device has yet to get: (name, value).

    like: the device whose settings are read in its place: "default" for one that is to be made.
    What this kernel does not have (IPv6 may be left out) needs no setting.
    """
    for pattern, value in _WANTED:
        if sysctl.read(pattern.format(like or device)) not in (value, None):
            yield pattern.format(device), value


def harden(device: str) -> None:
    """Have a device of the host's believe nothing that a container says.

    Raises KernelError where a setting cannot be written, Conflict where it does not stay.
    """
    for name, value in missing_settings(device):
        sysctl.write(name, value)
    for name, value in missing_settings(device):
        raise Conflict(
            f"/proc/sys/{name} does not stay {value}",
            hint="another program sets it back: without it containers could give this host an "
            "address and a route; see grep -r conf /etc/sysctl.d",
        )
