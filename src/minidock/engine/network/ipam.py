"""IPAM, address management: which subnet a network gets, and which address a container.

Pure arithmetic on IPv4 addresses, held as integers; nothing here reads or changes the machine.
(The standard library's ipaddress does more, and costs a fresh interpreter 5 ms.)

Sources: RFC 1918 (private addresses), RFC 4632 (prefixes), Docker's default address pools.
"""

from __future__ import annotations

from minidock.errors import Conflict, UsageError
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

# A route that covers a sixteenth of all addresses or more is a default route in disguise (a VPN's
# 0.0.0.0/1): everything overlaps it, and ours, being longer, goes before it.
_SHORTEST_PREFIX = 5


class Subnet:
    """A range of IPv4 addresses with a common prefix, such as 172.18.0.0/16.

    first: the network's own address, as an integer. prefix: how many leading bits are common.
    """

    def __init__(self, first: int, prefix: int) -> None:
        self.first = first
        self.prefix = prefix
        self.last = first | (1 << 32 - prefix) - 1

    def __str__(self) -> str:
        return f"{address_text(self.first)}/{self.prefix}"

    @property
    def gateway(self) -> int:
        """The bridge's own address: the first that a host may have."""
        return self.first + 1

    def hosts(self) -> range:
        """The addresses that containers may have: not the network's, gateway's or broadcast."""
        return range(self.first + 2, self.last)

    def has(self, address: int) -> bool:
        """Whether an address is one of these."""
        return self.first <= address <= self.last

    def overlaps(self, other: Subnet) -> bool:
        """Whether any address is in both."""
        return self.first <= other.last and other.first <= self.last


def parse_subnet(text: str, *, longest: int = 30) -> Subnet:
    """A subnet as people write it, "10.9.0.0/24".

    longest: the longest prefix that it may have; a part of another one may be a single address.
    Raises ValueError: not of that form, bits set behind the prefix, or no room for a container.
    """
    address, slash, length = text.partition("/")
    if not slash or not is_decimal(length):
        raise ValueError(f"{text!r} is not a subnet: address/prefix, such as 10.9.0.0/24")
    prefix = int(length)
    if not 1 <= prefix <= longest:
        raise ValueError(
            f"{text!r} is not a subnet for containers: its prefix is not in 1 to {longest}"
        )
    first = parse_address(address)
    subnet = Subnet(first & ~((1 << 32 - prefix) - 1), prefix)
    if subnet.first != first:
        raise ValueError(f"{text!r} is not a subnet; the address is in {subnet}")
    return subnet


def parse_address(text: str) -> int:
    """An IPv4 address as an integer.

    Raises ValueError for anything but four decimal numbers up to 255 without leading zeros.
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
    """An IPv4 address as people write it."""
    return ".".join(str(byte) for byte in address.to_bytes(4, "big"))


def mac_of(address: int) -> str:
    """The hardware address that belongs to an IPv4 address: Docker's 02:42, then its four bytes.

    Bit 2 of the first byte says "given locally". Tying it to the address means that a neighbour's
    ARP cache stays right when an address passes from one container to the next.
    """
    return "02:42:" + address.to_bytes(4, "big").hex(":")


def lowest_free(
    subnet: Subnet, taken: Collection[int], *, network: str, within: Subnet | None = None
) -> int:
    """The lowest address that nobody has.

    taken: with the bridge's own. within: a part of the subnet from which to choose.
    Raises Conflict where the subnet is full.
    """
    chosen = within or subnet
    first, last = max(chosen.first, subnet.first + 1), min(chosen.last, subnet.last - 1)
    for address in range(first, last + 1):
        if address not in taken:
            return address
    raise Conflict(
        f"no available IPv4 addresses on this network's address pools: {network} ({chosen})",
        hint="remove containers that are not needed, or choose a wider subnet by "
        + ("MINIDOCK_SUBNET" if network == "bridge" else "network create --subnet"),
    )


def claimed(subnet: Subnet, taken: Collection[int], address: str) -> int:
    """An address that was asked for by name.

    Raises UsageError where it is none of the subnet's, Conflict where somebody has it.
    """
    try:
        wanted = parse_address(address)
    except ValueError:
        raise UsageError(f"invalid IPv4 address: {address}") from None
    if not subnet.has(wanted):
        raise UsageError(
            f"no configured subnet contains IP address {address}", hint=f"the network has {subnet}"
        )
    if wanted in taken or wanted in (subnet.first, subnet.last):
        raise Conflict("Address already in use", hint=f"{address}: choose another of {subnet}")
    return wanted


def candidates() -> Iterator[Subnet]:
    """The subnets that a network may get, in the order in which they are tried.

    Docker's pools; but 172.17/16 comes last of the wide ones, since Docker takes it for docker0.
    """
    for second in (*range(18, 32), 17):
        yield Subnet(172 << 24 | second << 16, 16)
    for third in range(0, 256, 16):
        yield Subnet(192 << 24 | 168 << 16 | third << 8, 20)


def choose_subnet(occupied: Iterable[Subnet]) -> Subnet:
    """The first candidate that overlaps nothing that this machine has or reaches.

    Raises Conflict where all overlap.
    """
    known = [subnet for subnet in occupied if subnet.prefix >= _SHORTEST_PREFIX]
    for candidate in candidates():
        if not any(candidate.overlaps(subnet) for subnet in known):
            return candidate
    raise Conflict(
        "could not find an available, non-overlapping IPv4 address pool for the bridge",
        hint="name one that your networks do not use: MINIDOCK_SUBNET=10.99.0.0/24",
    )
