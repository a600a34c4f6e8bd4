"""The text of a container's /etc/hosts, with --add-host and its own addresses.

In Docker's form. Values of flags are checked first: a newline in one would add a line of the
caller's choice.

Sources: hosts(5), hostname(7), Docker's libnetwork/etchosts (behaviour).
"""

from __future__ import annotations

from minidock.addresses import is_address
from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HOST_GATEWAY = "host-gateway"
HOSTS = "/etc/hosts"
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")
_LOCALHOST = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def hosts_file(
    hostname: str,
    address: str,
    extra_hosts: Sequence[str] = (),
    *,
    further: Sequence[str] = (),
    gateway: str = "",
    own_network: bool = True,
    host_path: str = HOSTS,
) -> str:
    """Return the text of a container's /etc/hosts.

    hostname: the container's hostname, or several separated by spaces; the first label of a single
    dotted one is added. address: its own, "" for none (--network none); further: its addresses on
    other networks. extra_hosts: "name:address" each, as in HostConfig.ExtraHosts; "host-gateway"
    stands for `gateway`. own_network: False for --network host, which starts from the host's file.
    Raises UsageError for an invalid name or address.
    """
    text = _LOCALHOST if own_network else read_text(host_path)
    text += "\n" if text and not text.endswith("\n") else ""
    for entry in extra_hosts:
        name, target = split_extra_host(entry)
        if target == HOST_GATEWAY:
            if not gateway:
                raise UsageError(
                    f"unable to derive the IP value for {HOST_GATEWAY}",
                    hint="this container's network has no gateway; give the address itself",
                )
            target = gateway
        text += f"{target}\t{name}\n"
    for own in [address, *further] if address else []:
        text += own_line(own, hostname)
    return text


def own_line(address: str, hostname: str) -> str:
    """Return the line of /etc/hosts for the container's own address on one network.

    Raises UsageError for an invalid hostname.
    """
    names = hostname.split()
    for name in names:
        check_hostname(name)
    if len(names) == 1 and "." in hostname:
        names.append(hostname.partition(".")[0])
    return f"{address}\t{' '.join(names)}\n"


def split_extra_host(entry: str) -> tuple[str, str]:
    """Split an --add-host entry, "name:address" or "name=address", into name and address.

    Raises UsageError with Docker's message.
    """
    separator = "=" if "=" in entry else ":"
    name, found, target = entry.partition(separator)
    if not found or not name:
        raise UsageError(f"bad format for add-host: {entry!r}", hint="--add-host name:address")
    if not _NAME.issuperset(name):
        raise UsageError(
            f"invalid host name in add-host: {name!r}",
            hint="a name has letters, digits, dots, dashes and underscores only",
        )
    if target.startswith("[") and target.endswith("]"):
        target = target[1:-1]
    if target != HOST_GATEWAY and not is_address(target):
        raise UsageError(f"invalid IP address in add-host: {target!r}")
    return name, target


def check_hostname(hostname: str) -> None:
    """Raise UsageError for an invalid hostname (hostname(7), 64 characters at most)."""
    labels = hostname.split(".")
    shaped = all(label and label[0] != "-" and label[-1] != "-" for label in labels)
    if not shaped or not _NAME.issuperset(hostname) or len(hostname) > 64:
        raise UsageError(
            f"invalid hostname: {hostname!r}",
            hint="up to 64 letters, digits, dashes and dots; no dash at either end of a part",
        )


def read_text(path: str) -> str:
    """Read a file of the host; "" if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
