"""IP address management (IPAM): choose a network's subnet and a container's address.

Pure functions on IPv4 addresses as integers. (The standard library's ipaddress does more, but its
import takes 5 ms.)

Sources: RFC 1918 (private addresses), RFC 4632 (prefixes), Docker's default address pools.
"""

from __future__ import annotations

from minidock.errors import Conflict, UsageError
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

# A route with a shorter prefix acts as a default route (a VPN's 0.0.0.0/1): every subnet overlaps
# it, and the bridge's route wins, being more specific.
_SHORTEST_PREFIX = 5


class Subnet:
    """A range of IPv4 addresses with a common prefix, such as 172.18.0.0/16.

    first: the network address, as an integer. prefix: the prefix length in bits.
    """

    def __init__(self, first: int, prefix: int) -> None:
        self.first = first
        self.prefix = prefix
        self.last = first | (1 << 32 - prefix) - 1

    def __str__(self) -> str:
        return f"{address_text(self.first)}/{self.prefix}"

    @property
    def gateway(self) -> int:
        """The default address of the bridge: the first host address."""
        return self.first + 1

    def hosts(self) -> range:
        """Return the addresses for containers: not the network, gateway or broadcast address."""
        return range(self.first + 2, self.last)

    def has(self, address: int) -> bool:
        """Whether an address is in the subnet."""
        return self.first <= address <= self.last

    def overlaps(self, other: Subnet) -> bool:
        """Whether two subnets share an address."""
        return self.first <= other.last and other.first <= self.last


def parse_subnet(text: str, *, longest: int = 30) -> Subnet:
    """Parse a subnet in CIDR notation, "10.9.0.0/24".

    longest: the maximum prefix length; an --ip-range may be a single address (32).
    Raises ValueError for other text, host bits that are set, and a prefix that is too long.
    """
    address, slash, length = text.partition("/")
    if not slash or not is_decimal(length):
        raise ValueError(f"{text!r} is not a subnet in CIDR notation, such as 10.9.0.0/24")
    prefix = int(length)
    if not 1 <= prefix <= longest:
        raise ValueError(
            f"{text!r} is not a subnet for containers: the prefix length is not in 1 to {longest}"
        )
    first = parse_address(address)
    subnet = Subnet(first & ~((1 << 32 - prefix) - 1), prefix)
    if subnet.first != first:
        raise ValueError(f"{text!r} is not a subnet; the address is in {subnet}")
    return subnet


def parse_address(text: str) -> int:
    """Parse an IPv4 address to an integer.

    Raises ValueError unless it is four decimal numbers up to 255 without leading zeros.
    """
    value = 0
    parts = text.split(".")
    for part in parts:
        if not is_decimal(part) or str(int(part)) != part or int(part) > 255:
            break
        value = value << 8 | int(part)
    else:
        if len(parts) == 4:
            return value
    raise ValueError(f"{text!r} is not an IPv4 address")


def address_text(address: int) -> str:
    """Format an IPv4 address in dotted-decimal notation."""
    return ".".join(str(byte) for byte in address.to_bytes(4, "big"))


def mac_of(address: int) -> str:
    """Return the MAC address for an IPv4 address: 02:42 as in Docker, then its four bytes.

    02 means "locally administered". Since it depends on the IP address, a neighbour's ARP cache
    stays valid when another container gets that address.
    """
    return "02:42:" + address.to_bytes(4, "big").hex(":")


def lowest_free(
    subnet: Subnet, taken: Collection[int], *, network: str, within: Subnet | None = None
) -> int:
    """Return the lowest free address.

    taken: including the bridge's own. within: the --ip-range to choose from.
    Raises Conflict if the subnet is full.
    """
    chosen = within or subnet
    first, last = max(chosen.first, subnet.first + 1), min(chosen.last, subnet.last - 1)
    for address in range(first, last + 1):
        if address not in taken:
            return address
    raise Conflict(
        f"no available IPv4 addresses on this network's address pools: {network} ({chosen})",
        hint="remove containers that you do not need, or choose a larger subnet with "
        + ("MINIDOCK_SUBNET" if network == "bridge" else "network create --subnet"),
    )


def claimed(subnet: Subnet, taken: Collection[int], address: str) -> int:
    """Return a requested address as an integer.

    Raises UsageError if it is not in the subnet, Conflict if it is taken.
    """
    try:
        requested = parse_address(address)
    except ValueError:
        raise UsageError(f"invalid IPv4 address: {address}") from None
    if not subnet.has(requested):
        raise UsageError(
            f"no configured subnet contains IP address {address}",
            hint=f"the network's subnet is {subnet}",
        )
    if requested in taken or requested in (subnet.first, subnet.last):
        raise Conflict("Address already in use", hint=f"choose another address of {subnet}")
    return requested


def candidates() -> Iterator[Subnet]:
    """Yield the default address pools, in the order in which they are tried.

    They are Docker's, but 172.17.0.0/16 comes last of the /16 ones: Docker uses it for docker0.
    """
    for second in (*range(18, 32), 17):
        yield Subnet(172 << 24 | second << 16, 16)
    for third in range(0, 256, 16):
        yield Subnet(192 << 24 | 168 << 16 | third << 8, 20)


def choose_subnet(occupied: Iterable[Subnet]) -> Subnet:
    """Return the first candidate that does not overlap an address or route of the host.

    Raises Conflict if all overlap.
    """
    known = [subnet for subnet in occupied if subnet.prefix >= _SHORTEST_PREFIX]
    for candidate in candidates():
        if not any(candidate.overlaps(subnet) for subnet in known):
            return candidate
    raise Conflict(
        "could not find an available, non-overlapping IPv4 address pool for the bridge",
        hint="choose a subnet that your networks do not use: MINIDOCK_SUBNET=10.99.0.0/24",
    )
