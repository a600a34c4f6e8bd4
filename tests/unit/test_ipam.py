"""Address arithmetic, held against the standard library's ipaddress."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock.engine.network import ipam
from minidock.errors import Conflict

addresses = st.integers(0, 2**32 - 1)
prefixes = st.integers(1, 30)


def _subnet(address: int, prefix: int) -> ipam.Subnet:
    return ipam.Subnet(address & ~((1 << 32 - prefix) - 1), prefix)


@given(addresses)
def test_addresses_read_and_write_as_the_standard_library_has_them(address: int) -> None:
    text = str(ipaddress.IPv4Address(address))
    assert ipam.address_text(address) == text
    assert ipam.parse_address(text) == address


@given(addresses, prefixes, addresses, prefixes)
def test_subnets_overlap_as_the_standard_library_says(a: int, pa: int, b: int, pb: int) -> None:
    first, second = _subnet(a, pa), _subnet(b, pb)
    expected = ipaddress.ip_network(str(first)).overlaps(ipaddress.ip_network(str(second)))
    assert first.overlaps(second) is second.overlaps(first) is expected


@given(addresses, prefixes)
def test_hosts_are_all_but_network_gateway_and_broadcast(address: int, prefix: int) -> None:
    subnet = _subnet(address, prefix)
    network = ipaddress.ip_network(str(subnet))
    assert len(subnet.hosts()) == network.num_addresses - 3
    assert subnet.hosts()[0] == int(network.network_address) + 2
    assert subnet.hosts()[-1] == int(network.broadcast_address) - 1
    assert subnet.gateway == int(network.network_address) + 1


@pytest.mark.parametrize(
    "text",
    ["10.0.0.0", "10.0.0.0/", "10.0.0.0/31", "10.0.0.0/0", "10.0.0.1/24", "10.0.0/24", "::/64",
     "10.0.0.0/24\n", "010.0.0.0/8", "10.0.0.256/32", "10.0.0.0/+8", "10.0.0.0/²"],
)  # fmt: skip
def test_what_is_no_subnet_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ipam.parse_subnet(text)


def test_hardware_address_follows_from_the_address_as_in_docker() -> None:
    assert ipam.mac_of(ipam.parse_address("172.17.0.2")) == "02:42:ac:11:00:02"


@given(st.sets(st.integers(2, 6)))
def test_lowest_free_address_is_given(taken: set[int]) -> None:
    subnet = ipam.parse_subnet("10.9.0.0/29")
    free = sorted(set(range(2, 7)) - taken)
    occupied = {subnet.first + number for number in taken} | {subnet.gateway}
    if free:
        assert ipam.lowest_free(subnet, occupied, network="bridge") == subnet.first + free[0]
    else:
        with pytest.raises(Conflict, match=r"no available IPv4 addresses .* bridge"):
            ipam.lowest_free(subnet, occupied, network="bridge")


def test_candidates_are_private_and_do_not_overlap() -> None:
    networks = [ipaddress.ip_network(str(subnet)) for subnet in ipam.candidates()]
    assert all(network.is_private for network in networks)
    assert len(networks) == 15 + 16
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[:i])


def test_dockers_own_default_subnet_comes_last_of_the_wide_ones() -> None:
    wide = [str(subnet) for subnet in ipam.candidates() if subnet.prefix == 16]
    assert wide[-1] == "172.17.0.0/16"


def test_route_to_half_of_the_world_does_not_occupy_it() -> None:
    half = ipam.Subnet(128 << 24, 1)
    assert str(ipam.choose_subnet([half])) == "172.18.0.0/16"
    assert str(ipam.choose_subnet([ipam.parse_subnet("172.16.0.0/12")])) == "192.168.0.0/20"
