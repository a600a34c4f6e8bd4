"""What containers say of the way to the world is not believed by the host (CVE-2020-13401).

Each attack is a real packet, seen to arrive on the host's device; and each is shown to succeed once
the settings are the kernel's own again.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.engine.network import veth_pair
from minidock.paths import Store
from support.lab import HOST, NEIGHBOUR, Container, Lab, Place, machine_of_its_own, sh
from support.patience import patience

pytestmark = pytest.mark.root

KERNELS_OWN = {
    "ipv6": {"disable_ipv6": 0, "accept_ra": 1, "autoconf": 1, "accept_redirects": 1},
    "ipv4": {"accept_redirects": 1},
}
ADVERTISED = "2001:db8:6d64"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A machine whose devices accept router advertisements unless configured otherwise."""
    with machine_of_its_own() as made:
        _set("default", KERNELS_OWN)
        _set("all", {"ipv6": {"disable_ipv6": 0, "forwarding": 0}})
        yield made


def _set(device: str, settings: dict[str, dict[str, int]]) -> None:
    for family, values in settings.items():
        for name, value in values.items():
            Path(f"/proc/sys/net/{family}/conf/{device}/{name}").write_text(f"{value}\n")


def _advertise(container: Place) -> None:
    """Send a router advertisement: an address for everybody, and a default route by us."""
    source = socket.inet_pton(socket.AF_INET6, "fe80::6d64")
    everybody = socket.inet_pton(socket.AF_INET6, "ff02::1")
    prefix = socket.inet_pton(socket.AF_INET6, f"{ADVERTISED}::")
    option = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 86400, 14400, 0, prefix)
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + option
    pseudo = source + everybody + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    head = struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + source + everybody
    _send(container, bytes.fromhex("333300000001"), 0x86DD, head + body)


def _redirect(container: Container, destination: str, source: str, to: str) -> None:
    """Tell the host, in a router's name, that another machine is the better way to destination."""
    gateway, own = container.endpoint["Gateway"], socket.inet_aton(to)
    quoted = _ipv4(17, HOST, destination, struct.pack("!HHHH", 4000, 53, 8, 0))
    body = struct.pack("!BBH4s", 5, 1, 0, own) + quoted
    body = body[:2] + struct.pack("!H", _checksum(body)) + body[4:]
    to_bridge = bytes.fromhex("0242") + socket.inet_aton(gateway)
    _send(container, to_bridge, 0x0800, _ipv4(1, source, HOST, body))


def _ipv4(protocol: int, source: str, destination: str, body: bytes) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0)
    return head[:10] + struct.pack("!H", _checksum(head + addresses)) + addresses + body


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF & ~total


def _send(container: Place, to: bytes, kind: int, packet: bytes) -> None:
    with container.inside():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw:
        raw.bind(("eth0", 0))
        raw.send(to + bytes.fromhex("02420a0000ff") + struct.pack("!H", kind) + packet)


def _arrives(attack: Callable[[], None], device: str, kind: int) -> None:
    """Perform an attack, and return once its frame has come in by a device of the host."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind)) as tap:
        tap.bind((device, kind))
        tap.settimeout(patience(5))
        attack()
        tap.recv(2048)


def _host() -> str:
    """The host's addresses and routes of both families."""
    return sh(
        "ip -o address | sed 's/ *valid_lft.*//'; ip route show table all;"
        "ip -6 route show table all"
    )


def _until(attack: Callable[[], None], seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + patience(10)
    while not seen():
        assert time.monotonic() < deadline, "the attack does not succeed where nothing prevents it"
        attack()
        time.sleep(0.05)


def test_router_advertisement_changes_nothing_on_the_host(lab: Lab, store: Store) -> None:
    container = lab.container(store)
    before = _host()
    assert "fe80" not in sh(f"ip -6 address show dev {store.bridge}")
    for _ in range(3):
        _arrives(lambda: _advertise(container), store.bridge, 0x86DD)
    assert _host() == before
    _set(store.bridge, KERNELS_OWN)
    _until(lambda: _advertise(container), lambda: ADVERTISED in _host())
    assert f"dev {store.bridge} proto ra" in sh("ip -6 route show default")


def test_ipv6_that_somebody_switched_on_for_all_takes_no_advice(lab: Lab, store: Store) -> None:
    container = lab.container(store)
    _set("all", {"ipv6": {"disable_ipv6": 1}})
    _set("all", {"ipv6": {"disable_ipv6": 0}})
    assert Path(f"/proc/sys/net/ipv6/conf/{store.bridge}/disable_ipv6").read_text() == "0\n"
    for _ in range(3):
        _arrives(lambda: _advertise(container), store.bridge, 0x86DD)
    assert ADVERTISED not in _host()
    assert not sh("ip -6 route show default")


def test_cable_that_is_taken_off_the_bridge_takes_no_advice(lab: Lab, store: Store) -> None:
    container = lab.container(store)
    cable = veth_pair.veth_name(container.id)
    sh(f"ip link set dev {cable} nomaster")
    for _ in range(3):
        _arrives(lambda: _advertise(container), cable, 0x86DD)
    assert ADVERTISED not in _host()
    assert "inet6" not in sh(f"ip address show dev {cable}")
    _set(cable, KERNELS_OWN)
    _until(lambda: _advertise(container), lambda: ADVERTISED in _host())


def test_redirect_in_a_routers_name_changes_no_way_of_the_host(lab: Lab, store: Store) -> None:
    container = lab.container(store)
    _set("all", {"ipv4": {"accept_redirects": 1, "rp_filter": 0, "secure_redirects": 0}})
    _set(store.bridge, {"ipv4": {"rp_filter": 0, "secure_redirects": 0}})
    way = f"ip route get 203.0.113.7 from {HOST}"

    accomplice = "10.77.0.3"  # has to be on the LAN: the kernel asks there for its hardware address
    lab.neighbour.sh(f"ip address add {accomplice}/24 dev lan0")

    def attack() -> None:
        _redirect(container, "203.0.113.7", NEIGHBOUR, accomplice)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:  # a route that is in use
        flow.bind((HOST, 4000))
        flow.connect(("203.0.113.7", 53))
        _arrives(attack, store.bridge, 0x0800)
        assert f"via {NEIGHBOUR} " in sh(way)
        _set(store.bridge, {"ipv4": {"accept_redirects": 1}})
        _until(attack, lambda: f"via {accomplice} " in sh(way))


def test_devices_of_an_older_version_learn_it_with_the_next_container(
    lab: Lab, store: Store
) -> None:
    first = lab.container(store)
    devices = (store.bridge, veth_pair.veth_name(first.id))
    for device in devices:
        _set(device, KERNELS_OWN)
    second = lab.container(store)
    for _ in range(3):
        _arrives(lambda: _advertise(second), store.bridge, 0x86DD)
    assert ADVERTISED not in _host()
    for device in (*devices, veth_pair.veth_name(second.id)):
        assert "inet6" not in sh(f"ip address show dev {device}")
