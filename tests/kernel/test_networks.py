"""What a container's network does, asked of the kernel and tried by real connections.

Each rule of the firewall has a test that it lets through what it must, and one that it stops what
it must; where a rule is a guard, the attack is shown to succeed once the rule is taken away.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock import jsontext
from minidock.engine.network import bridge, networks, published_ports, veth_pair
from minidock.errors import Conflict, KernelError, MinidockError, StoreError, UsageError
from minidock.kernel import iptables
from minidock.kernel.netlink import Netlink
from minidock.kernel.op import Journal, describe, use_journal
from minidock.paths import Store
from support.command import SOURCE
from support.lab import (
    HOST,
    NEIGHBOUR,
    Container,
    Lab,
    Place,
    firewall_kinds,
    is_refused,
    machine_of_its_own,
    requested,
    seen_from,
    serving,
    sh,
)
from support.patience import patience

pytestmark = pytest.mark.root


@pytest.fixture(params=firewall_kinds())
def lab(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    """A machine with a neighbour, once with each kind of iptables."""
    for name in ("iptables", "iptables-save", "iptables-restore"):
        suffix = name.removeprefix("iptables")
        (tmp_path / name).symlink_to(f"/usr/sbin/iptables-{request.param}{suffix}")
    monkeypatch.setattr(iptables, "_DIRECTORIES", (str(tmp_path),))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with machine_of_its_own() as made:
        yield made


@pytest.fixture
def other_store(store: Store) -> Store:
    """A second store on the same machine."""
    return Store(f"{store.root}/other")


# --- the container's side ------------------------------------------------------------------------


def test_container_has_the_address_and_route_that_its_endpoint_names(
    lab: Lab, store: Store
) -> None:
    container = lab.container(store)
    endpoint = container.endpoint
    shown = container.sh("ip -o -4 address show eth0")
    assert f" {endpoint['IPAddress']}/{endpoint['IPPrefixLen']} brd " in shown
    assert endpoint["MacAddress"] in container.sh("ip link show eth0")
    assert container.sh("ip route show default").startswith(f"default via {endpoint['Gateway']} ")
    assert "LOWER_UP" in container.sh("ip link show lo")


def test_container_has_no_ipv6_but_on_its_loopback(lab: Lab, store: Store) -> None:
    shown = lab.container(store).sh("ip -o -6 address").split("\n")
    assert [line.split()[1] for line in shown if line] == ["lo"]


def test_chosen_hardware_address_is_used_and_nonsense_refused(lab: Lab, store: Store) -> None:
    place = Place()
    try:
        networks.connect(store, place.id, netns_pid=place.pid, mac="02:11:22:33:44:55")
        assert "02:11:22:33:44:55" in place.sh("ip link show eth0")
    finally:
        place.die()
    for mac in ("02:11:22:33:44", "01:00:5e:00:00:01", "02-11-22-33-44-55", "0x:11:22:33:44:55"):
        with pytest.raises(UsageError):
            networks.connect(store, "f" * 64, netns_pid=1, mac=mac)


def test_reserved_address_is_the_one_that_is_connected(lab: Lab, store: Store) -> None:
    place = Place()
    try:
        address = networks.reserve(store, place.id)
        assert networks.reserve(store, place.id) == address
        assert networks.connect(store, place.id, netns_pid=place.pid)["IPAddress"] == address
    finally:
        place.die()


def test_loopback_alone_can_be_switched_on(lab: Lab) -> None:
    place = Place()
    try:
        networks.set_loopback_up(place.pid)
        assert "LOWER_UP" in place.sh("ip link show lo")
    finally:
        place.die()


# --- who reaches whom ----------------------------------------------------------------------------


def test_container_reaches_the_world_and_is_seen_as_the_host(lab: Lab, store: Store) -> None:
    container = lab.container(store)
    with serving(lab.neighbour, 80) as server:
        assert seen_from(container, NEIGHBOUR, 80, server) == HOST


def test_containers_of_one_bridge_reach_each_other_as_themselves(lab: Lab, store: Store) -> None:
    first, second = lab.container(store), lab.container(store)
    with serving(second, 80) as server:
        assert seen_from(first, second.address, 80, server) == first.address


def test_published_port_answers_everywhere(lab: Lab, store: Store) -> None:
    web, client = lab.container(store, "8090:80"), lab.container(store)
    gateway = web.endpoint["Gateway"]
    with serving(web, 80) as server:
        assert seen_from(lab.host, "127.0.0.1", 8090, server) == gateway
        assert seen_from(lab.host, "::1", 8090, server) == gateway
        assert seen_from(lab.host, HOST, 8090, server) == HOST
        assert seen_from(lab.host, gateway, 8090, server)
        assert seen_from(lab.neighbour, HOST, 8090, server) == NEIGHBOUR
        assert seen_from(client, HOST, 8090, server) == gateway
        assert seen_from(client, gateway, 8090, server) == gateway


def test_container_reaches_its_own_published_port(lab: Lab, store: Store) -> None:
    web = lab.container(store, "8090:80")
    with serving(web, 80) as server:
        assert seen_from(web, HOST, 8090, server) == web.endpoint["Gateway"]


def test_hairpin_flag_is_what_lets_a_container_reach_itself(lab: Lab, store: Store) -> None:
    calls = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not calls.exists():
        pytest.skip("this kernel has no br_netfilter, without which no frame turns on the bridge")
    calls.write_text("1")
    web = lab.container(store, "8090:80")
    with serving(web, 80) as server:
        assert seen_from(web, HOST, 8090, server)
    cable = veth_pair.veth_name(web.id)
    sh(f"bridge link set dev {cable} hairpin off && conntrack -F 2>&1")
    assert is_refused(web, HOST, 8090)


def test_unpublished_container_has_no_hairpin(lab: Lab, store: Store) -> None:
    container = lab.container(store)
    assert "hairpin off" in sh(f"bridge -d link show dev {veth_pair.veth_name(container.id)}")


def test_neighbour_does_not_reach_a_container_by_its_own_address(lab: Lab, store: Store) -> None:
    web = lab.container(store, "8090:80")
    with serving(web, 80) as published, serving(web, 81) as unpublished:
        assert is_refused(lab.neighbour, web.address, 80)
        assert is_refused(lab.neighbour, web.address, 81)
        assert is_refused(lab.neighbour, HOST, 81)
        assert seen_from(lab.host, web.address, 81, unpublished)  # the host itself may
        sh("iptables -t raw -F && iptables -P FORWARD ACCEPT")
        assert seen_from(lab.neighbour, web.address, 80, published) == NEIGHBOUR


def test_host_address_in_the_binding_limits_where_it_answers(lab: Lab, store: Store) -> None:
    local, lan = lab.container(store, "127.0.0.1:8090:80"), lab.container(store, f"{HOST}:8091:80")
    with serving(local, 80) as server:
        assert seen_from(lab.host, "127.0.0.1", 8090, server)
        assert is_refused(lab.host, HOST, 8090)
        assert is_refused(lab.neighbour, HOST, 8090)
    with serving(lan, 80) as server:
        assert seen_from(lab.neighbour, HOST, 8091, server)
        assert is_refused(lab.host, "127.0.0.1", 8091)


def test_forwarding_policy_drop_stops_nothing_of_ours(lab: Lab, store: Store) -> None:
    sh("iptables -P FORWARD DROP")
    web, client = lab.container(store, "8090:80"), lab.container(store)
    with serving(web, 80) as server:
        assert seen_from(lab.neighbour, HOST, 8090, server)
        assert seen_from(client, HOST, 8090, server)
        assert seen_from(client, web.address, 80, server)
    with serving(lab.neighbour, 80) as server:
        assert seen_from(client, NEIGHBOUR, 80, server) == HOST


def test_two_stores_reach_each_other_only_by_published_ports(
    lab: Lab, store: Store, other_store: Store
) -> None:
    here, there = lab.container(store, "8090:80"), lab.container(other_store, "8091:80")
    assert here.endpoint["Gateway"] != there.endpoint["Gateway"]
    with serving(here, 80) as ours, serving(there, 80) as theirs:
        assert is_refused(here, there.address, 80)
        assert is_refused(there, here.address, 80)
        assert seen_from(here, HOST, 8091, theirs)
        assert seen_from(there, HOST, 8090, ours)


# --- the host's loopback stays the host's --------------------------------------------------------


def _datagram(container: Container, source: str, destination: str, port: int) -> None:
    """Send a UDP datagram with addresses of the sender's choice to the bridge, as root may."""
    gateway = container.endpoint["Gateway"]
    payload = b"attack"
    udp = struct.pack("!HHHH", 4000, port, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0)
    total = sum(struct.unpack("!10H", head + addresses))
    checksum = 0xFFFF & ~(total % 0xFFFF)
    packet = head[:10] + struct.pack("!H", checksum) + addresses + udp
    bridge_mac = bytes.fromhex("0242") + socket.inet_aton(gateway)
    own_mac = bytes.fromhex(container.endpoint["MacAddress"].replace(":", ""))
    with container.inside():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw:
        raw.bind(("eth0", 0))
        raw.send(bridge_mac + own_mac + b"\x08\x00" + packet)


def _hears(server: socket.socket, *, patience_seconds: float | None = None) -> str:
    """Who sent a datagram, or "" for silence."""
    server.settimeout(patience_seconds or patience(3))
    try:
        return str(server.recvfrom(64)[1][0])
    except TimeoutError:
        return ""


def test_container_cannot_reach_services_on_the_hosts_loopback(lab: Lab, store: Store) -> None:
    container = lab.container(store, "8090:80")
    assert sh(f"cat /proc/sys/net/ipv4/conf/{store.bridge}/route_localnet") == "1\n"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 5300))
        _datagram(container, container.address, "127.0.0.1", 5300)
        assert _hears(server, patience_seconds=0.4) == ""
        sh("iptables -t raw -F")
        _datagram(container, container.address, "127.0.0.1", 5300)
        assert _hears(server) == container.address  # CVE-2020-8558


def test_container_cannot_pretend_to_be_the_hosts_loopback(lab: Lab, store: Store) -> None:
    sh("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")
    container = lab.container(store, "8090:80")
    sh(f"sysctl -qw net.ipv4.conf.{store.bridge}.rp_filter=0")
    gateway = container.endpoint["Gateway"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 5300))
        _datagram(container, container.address, gateway, 5300)
        assert _hears(server) == container.address  # the way itself is open
        _datagram(container, "127.0.0.1", gateway, 5300)
        assert _hears(server, patience_seconds=0.4) == ""


def _route_loopback_to_host(neighbour: Place) -> None:
    """Have a neighbour reach 127.0.0.1 by its cable: what it sends there arrives at the host."""
    neighbour.sh(
        "sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.lan0.route_localnet=1;"
        "ip rule add pref 10 to 127.0.0.1 lookup 77; ip rule del pref 0 lookup local;"
        f"ip rule add pref 20 lookup local; ip route add 127.0.0.1 via {HOST} dev lan0"
        f" src {NEIGHBOUR} table 77"
    )


def test_port_published_on_loopback_is_unreachable_for_a_neighbour_that_routes_127(
    lab: Lab, store: Store
) -> None:
    web, all_of_them = lab.container(store, "127.0.0.1:8090:80"), lab.container(store, "8091:80")
    _route_loopback_to_host(lab.neighbour)
    with serving(all_of_them, 80) as server:  # the way itself is open: this port is everybody's
        assert seen_from(lab.neighbour, "127.0.0.1", 8091, server) == NEIGHBOUR
    with serving(web, 80) as server:
        assert seen_from(lab.host, "127.0.0.1", 8090, server) == web.endpoint["Gateway"]
        assert is_refused(lab.neighbour, "127.0.0.1", 8090)
        sh("iptables -t raw -F")
        assert seen_from(lab.neighbour, "127.0.0.1", 8090, server) == NEIGHBOUR


def test_udp_port_published_on_loopback_is_unreachable_for_a_neighbour_that_routes_127(
    lab: Lab, store: Store
) -> None:
    web = lab.container(store, "127.0.0.2:53:53/udp")
    _route_loopback_to_host(lab.neighbour)
    lab.neighbour.sh("ip rule add pref 11 to 127.0.0.2 lookup 77")
    lab.neighbour.sh(f"ip route add 127.0.0.2 via {HOST} dev lan0 src {NEIGHBOUR} table 77")
    with _udp(web) as server, _udp(lab.neighbour) as client, _udp(lab.host) as own:
        server.bind(("0.0.0.0", 53))
        assert _ask(own, "127.0.0.2", server) == web.endpoint["Gateway"]
        client.sendto(b"question", ("127.0.0.2", 53))
        assert _hears(server, patience_seconds=0.4) == ""
        sh("iptables -t raw -F")
        client.sendto(b"question", ("127.0.0.2", 53))
        assert _hears(server) == NEIGHBOUR


def test_what_guards_a_port_of_loopback_goes_with_it_and_guards_no_other(
    lab: Lab, store: Store
) -> None:
    web = lab.container(store, "127.0.0.1:8090:80", "127.0.0.1:53:53/udp", "8091:81")
    guards = "iptables-save -t raw | grep -e '-i lo' || :"
    assert [line.split("--dport ")[1].split()[0] for line in sh(guards).splitlines()] == [
        "8090",
        "53",
    ]
    web.stop()
    assert sh(guards) == ""


def test_loopback_crosses_the_bridge_only_while_a_port_is_published(lab: Lab, store: Store) -> None:
    setting = f"cat /proc/sys/net/ipv4/conf/{store.bridge}/route_localnet"
    lab.container(store)
    assert sh(setting) == "0\n"
    web = lab.container(store, "8090:80")
    assert sh(setting) == "1\n"
    web.stop()
    assert sh(setting) == "0\n"


# --- UDP -----------------------------------------------------------------------------------------


def _ask(client: socket.socket, address: str, server: socket.socket) -> str:
    """Send a datagram to port 53 and get an answer; returns the client as the server sees it."""
    client.settimeout(patience(5))
    server.settimeout(patience(5))
    client.sendto(b"question", (address, 53))
    question, peer = server.recvfrom(64)
    server.sendto(b"answer", peer)
    answer, sender = client.recvfrom(64)
    assert (question, answer, sender[0]) == (b"question", b"answer", address)
    return str(peer[0])


def _udp(place: Place, family: int = socket.AF_INET) -> socket.socket:
    with place.inside():
        return socket.socket(family, socket.SOCK_DGRAM)


def test_udp_is_published_like_tcp(lab: Lab, store: Store) -> None:
    container = lab.container(store, "53:53/udp")
    with _udp(container) as server:
        server.bind(("0.0.0.0", 53))
        for client, address in ((lab.host, "127.0.0.1"), (lab.host, HOST), (lab.neighbour, HOST)):
            with _udp(client) as asking:
                assert _ask(asking, address, server)
        with _udp(lab.host, socket.AF_INET6) as asking:
            assert _ask(asking, "::1", server) == container.endpoint["Gateway"]


def test_udp_client_that_keeps_its_port_finds_the_new_container(lab: Lab, store: Store) -> None:
    first = lab.container(store, "53:53/udp")
    with _udp(lab.neighbour) as asking:
        asking.bind((NEIGHBOUR, 4000))
        with _udp(first) as server:
            server.bind(("0.0.0.0", 53))
            assert _ask(asking, HOST, server) == NEIGHBOUR
        lab.container(store)  # takes the next address
        first.stop()
        lab.container(store)  # takes the first one's address
        asking.sendto(b"nobody", (HOST, 53))
        third = lab.container(store, "53:53/udp")
        assert third.address != first.address
        with _udp(third) as server:
            server.bind(("0.0.0.0", 53))
            assert _ask(asking, HOST, server) == NEIGHBOUR


# --- held ports ----------------------------------------------------------------------------------


def test_published_port_is_taken_for_everybody_else(lab: Lab, store: Store) -> None:
    web = lab.container(store, "8090:80", "53:53/udp")
    for family, kind, port in (
        (socket.AF_INET, socket.SOCK_STREAM, 8090),
        (socket.AF_INET6, socket.SOCK_STREAM, 8090),
        (socket.AF_INET, socket.SOCK_DGRAM, 53),
    ):
        with socket.socket(family, kind) as server, pytest.raises(OSError, match="in use"):
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if port == 8090 else 0)
            server.bind(("", port))
            server.listen()
    with pytest.raises(Conflict, match=r"Bind for 0.0.0.0:8090 failed: port is already allocated"):
        published_ports.bind(requested("8090:81"), store=store)
    web.stop()
    with serving(lab.host, 8090), pytest.raises(Conflict, match="address already in use"):
        published_ports.bind(requested("8090:80"), store=store)


def test_no_port_is_held_when_one_of_them_is_taken(lab: Lab, store: Store) -> None:
    with serving(lab.host, 8091):
        with pytest.raises(Conflict):
            published_ports.bind(requested("8090:80", "8091:81"))
        socket.create_server(("0.0.0.0", 8090)).close()


def test_address_of_another_host_cannot_be_published_on(lab: Lab) -> None:
    with pytest.raises(MinidockError, match="Cannot assign requested address") as raised:
        published_ports.bind(requested("9.9.9.9:8090:80"))
    assert "9.9.9.9 is not an address of this host" in raised.value.hint


def test_free_choice_and_ranges_give_ports_that_answer(lab: Lab, store: Store) -> None:
    with serving(lab.host, 8000):
        web = lab.container(store, "8000-8010:80", ":81", "127.0.0.1::82")
    shown = published_ports.port_map(web.published, ["80/tcp", "99/tcp"])
    assert shown["80/tcp"] == [
        {"HostIp": "0.0.0.0", "HostPort": "8001"},
        {"HostIp": "::", "HostPort": "8001"},
    ]
    assert shown["99/tcp"] is None
    assert [binding["HostIp"] for binding in shown["82/tcp"]] == ["127.0.0.1"]
    chosen = int(shown["81/tcp"][0]["HostPort"])
    with serving(web, 81) as server:
        assert seen_from(lab.neighbour, HOST, chosen, server)


# --- the rules are kept --------------------------------------------------------------------------


def _flush() -> None:
    for table in ("raw", "nat", "filter"):
        sh(f"iptables -t {table} -F && iptables -t {table} -X")


def _rules() -> str:
    """All rules and chains, without their counters: the kernel sends a packet now and then."""
    return sh("iptables-save | sed '/^#/d; s/ \\[[0-9:]*\\]$//'")


def test_flushed_rules_come_back_with_the_next_container(lab: Lab, store: Store) -> None:
    web = lab.container(store, "8090:80")
    before = _rules()
    _flush()
    client = lab.container(store)
    assert sorted(_rules().splitlines()) == sorted(before.splitlines())
    with serving(web, 80) as server:
        assert seen_from(lab.neighbour, HOST, 8090, server) == NEIGHBOUR
        assert is_refused(lab.neighbour, client.address, 80)


def test_relay_takes_over_while_the_firewall_is_flushed(lab: Lab, store: Store) -> None:
    web = lab.container(store, "8090:80")
    _flush()
    with serving(web, 80) as server:
        assert seen_from(lab.neighbour, HOST, 8090, server) == web.endpoint["Gateway"]


def test_rules_stand_before_those_that_came_later(lab: Lab, store: Store) -> None:
    lab.container(store)
    sh("iptables -I FORWARD 1 -j DROP")
    client = lab.container(store)
    assert sh("iptables -S FORWARD").splitlines()[2].endswith(f"-j MINIDOCK-{store.bridge}")
    with serving(lab.neighbour, 80) as server:
        assert seen_from(client, NEIGHBOUR, 80, server)


def test_a_network_without_changes_costs_no_rule_change(
    lab: Lab, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.container(store)

    def refuse(rules: str) -> None:
        raise AssertionError(f"the firewall was changed:\n{rules}")

    monkeypatch.setattr(iptables, "restore", refuse)
    lab.container(store).stop()


# --- nothing stays -------------------------------------------------------------------------------


def _traces(store: Store, container_id: str) -> list[str]:
    network = Path(store.network("bridge"))
    places = {
        "link": sh("ip -o link"),
        "rule": sh("iptables-save"),
        "lease": network.read_text() if network.exists() else "",
    }
    return [what for what, text in places.items() if container_id[:11] in text]


def test_stopped_container_leaves_no_rule_no_link_and_no_address(lab: Lab, store: Store) -> None:
    web = lab.container(store, "8090:80", "53:53/udp")
    assert _traces(store, web.id) == ["link", "rule", "lease"]
    web.stop()
    assert _traces(store, web.id) == []
    networks.disconnect(store, web.id)
    assert lab.container(store).address == web.address


def test_container_whose_namespace_lives_on_is_unplugged(lab: Lab, store: Store) -> None:
    web = lab.container(store, "8090:80")
    networks.disconnect(store, web.id)
    assert _traces(store, web.id) == []
    assert "eth0" not in web.sh("ip -o link")


def test_failed_connect_leaves_nothing(lab: Lab, store: Store) -> None:
    gone = Place()
    gone.die()
    with pytest.raises(KernelError, match="ESRCH|ENOENT|EINVAL"):
        networks.connect(store, gone.id, netns_pid=gone.pid)
    with pytest.raises(KernelError, match="ENOENT"):
        networks.set_loopback_up(gone.pid)
    assert _traces(store, gone.id) == []


def test_repair_takes_the_dead_off_and_leaves_the_living(lab: Lab, store: Store) -> None:
    dead, alive = lab.container(store, "8090:80"), lab.container(store, "8091:80")
    dead.die()
    assert networks.repair(store, lambda container_id: container_id == alive.id) == [dead.id]
    assert _traces(store, dead.id) == []
    with serving(alive, 80) as server:
        assert seen_from(lab.neighbour, HOST, 8091, server)


def test_address_is_given_back_on_a_full_disk(lab: Lab, store: Store) -> None:
    Path(store.networks).mkdir()
    sh(f"mount -t tmpfs -o size=16k minidock-test {store.networks}")
    try:
        web = lab.container(store, "8090:80")
        with (
            open(f"{store.networks}/filler", "wb") as filler,
            pytest.raises(OSError, match="space"),
        ):
            while True:
                os.write(filler.fileno(), bytes(4096))
        web.stop()
        assert _traces(store, web.id) == []
        with pytest.raises(StoreError, match="No space left"):
            for number in range(100):
                networks.reserve(store, f"{number:064x}")
        Path(f"{store.networks}/filler").unlink()
        assert os.listdir(store.networks) == ["bridge.json"]
        networks.repair(store, lambda container_id: False)
        assert networks.reserve(store, "a" * 64) == web.address
    finally:
        sh(f"umount {store.networks}")


def test_damaged_file_says_what_to_do(lab: Lab, store: Store) -> None:
    """If no container has run since the boot, the bridge is recreated."""
    networks.reserve(store, "a" * 64)
    Path(store.network("bridge")).write_text('{"Name":')
    os.makedirs(store.run)
    with pytest.raises(StoreError, match="is damaged") as raised:
        networks.reserve(store, "a" * 64)
    assert "--repair" in raised.value.hint
    os.rmdir(store.run)
    assert networks.reserve(store, "a" * 64)


def test_open_files_are_as_many_afterwards_as_before(lab: Lab, store: Store) -> None:
    lab.container(store, "8090:80").stop()
    before = os.listdir("/proc/self/fd")
    lab.container(store, "8090:80").stop()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_teardown_leaves_the_machine_as_it_was_found(
    lab: Lab, store: Store, other_store: Store
) -> None:
    def machine() -> list[str]:
        lines = sh("iptables-save").splitlines()
        rules = [line for line in lines if line.startswith("-A") or " DROP [" in line]
        chains = [line for line in lines if line.startswith(":MINIDOCK")]
        links = sh("ip -br link | grep -v lan0")
        return [*rules, *chains, links, sh("cat /proc/sys/net/ipv4/ip_forward")]

    before = machine()
    lab.container(store, "8090:80").stop()
    lab.container(other_store, "8091:80").stop()
    networks.teardown(store)
    assert sh("cat /proc/sys/net/ipv4/ip_forward") == "1\n"  # the other store needs it
    networks.teardown(other_store)
    networks.teardown(other_store)
    assert machine() == before
    assert list(Path(store.networks).iterdir()) == []


def test_teardown_heeds_a_bridge_that_has_no_rules_yet(
    lab: Lab, store: Store, other_store: Store
) -> None:
    """Another store makes its first network just now: the rules come after the bridge."""
    lab.container(store).stop()
    with Netlink() as host:
        bridge.ensure_bridge(host, other_store, {"Name": "bridge", "Leases": {}})
    networks.teardown(store)
    assert sh("cat /proc/sys/net/ipv4/ip_forward") == "1\n"
    assert sh("iptables -S FORWARD").startswith("-P FORWARD DROP")
    lab.container(other_store).stop()
    networks.teardown(other_store)
    assert sh("cat /proc/sys/net/ipv4/ip_forward") == "0\n"
    assert sh("iptables -S FORWARD").startswith("-P FORWARD ACCEPT")


def test_forwarding_does_not_make_a_router_of_the_host(lab: Lab, store: Store) -> None:
    other_side = Place()
    try:
        sh(f"ip link add lan1 type veth peer name lan1 netns {other_side.pid}")
        sh("ip address add 10.78.0.1/24 dev lan1 && ip link set lan1 up")
        other_side.sh("ip address add 10.78.0.2/24 dev lan1 && ip link set lan1 up")
        other_side.sh("ip route add default via 10.78.0.1")
        lab.container(store)
        assert sh("cat /proc/sys/net/ipv4/ip_forward") == "1\n"
        with serving(other_side, 80):
            assert is_refused(lab.neighbour, "10.78.0.2", 80)
            sh("iptables -P FORWARD ACCEPT")
            assert not is_refused(lab.neighbour, "10.78.0.2", 80)
    finally:
        other_side.die()


# --- the bridge and its addresses ----------------------------------------------------------------


def test_bridge_that_somebody_deleted_is_made_again(lab: Lab, store: Store) -> None:
    first = lab.container(store)
    first.stop()
    sh(f"ip link delete {store.bridge}")
    second = lab.container(store)
    assert second.address == first.address
    with serving(lab.neighbour, 80) as server:
        assert seen_from(second, NEIGHBOUR, 80, server) == HOST


def test_bridge_left_half_made_is_finished(lab: Lab, store: Store) -> None:
    sh(f"ip link add {store.bridge} type bridge")
    assert lab.container(store).address


def test_device_of_somebody_else_is_left_alone(lab: Lab, store: Store) -> None:
    sh(f"ip link add {store.bridge} type bridge && ip address add 10.5.0.1/24 dev {store.bridge}")
    with pytest.raises(Conflict, match="is not the bridge of"):
        networks.reserve(store, "a" * 64)
    networks.teardown(store)
    assert store.bridge in sh("ip -br link")


def test_subnet_avoids_what_this_machine_reaches(lab: Lab, store: Store) -> None:
    sh(f"ip route add 172.16.0.0/12 via {NEIGHBOUR}")
    sh(f"ip route add 192.168.0.0/20 via {NEIGHBOUR}")
    sh(f"ip route add 0.0.0.0/1 via {NEIGHBOUR}")  # a VPN's half of the world
    assert lab.container(store).address == "192.168.16.2"


def test_no_free_subnet_is_an_error_that_says_what_to_do(lab: Lab, store: Store) -> None:
    sh(f"ip route add 172.16.0.0/12 via {NEIGHBOUR}")
    sh(f"ip route add 192.168.0.0/16 via {NEIGHBOUR}")
    with pytest.raises(Conflict, match="non-overlapping") as raised:
        networks.reserve(store, "a" * 64)
    assert "MINIDOCK_SUBNET" in raised.value.hint


def test_chosen_subnet_is_used_until_it_is_full(
    lab: Lab, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIDOCK_SUBNET", "10.99.0.0/29")
    chosen = Store(store.root)
    given = [networks.reserve(chosen, f"{number:064x}") for number in range(5)]
    assert given == [f"10.99.0.{number}" for number in range(2, 7)]
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        networks.reserve(chosen, "f" * 64)
    networks.disconnect(chosen, f"{2:064x}")
    assert networks.reserve(chosen, "f" * 64) == "10.99.0.4"


def test_subnet_that_cannot_be_one_is_refused(
    lab: Lab, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for subnet in ("10.99.0.1/24", "10.99.0.0", "10.99.0.0/31", "10.77.0.0/16"):
        monkeypatch.setenv("MINIDOCK_SUBNET", subnet)
        with pytest.raises(MinidockError, match="MINIDOCK_SUBNET"):
            networks.reserve(Store(store.root), "a" * 64)


def test_ten_at_the_same_time_get_ten_addresses(lab: Lab, store: Store) -> None:
    program = (
        "import sys; from minidock.paths import Store\n"
        "from minidock.engine.network import networks\n"
        "print(networks.reserve(Store(sys.argv[1]), sys.argv[2]))"
    )
    command = ["python3", "-c", program, store.root]
    started = [
        subprocess.Popen(
            [*command, f"{number:064x}"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        for number in range(10)
    ]
    given = [process.communicate()[0].strip() for process in started]
    assert sorted(given) == sorted({f"{given[0].rpartition('.')[0]}.{n}" for n in range(2, 12)})


# --- an administrator's own rules ----------------------------------------------------------------


def _user_chain(store: Store) -> str:
    """As `iptables -S` names it: of a store that is not the machine's default one."""
    return f"MINIDOCK-{store.derived_bridge}-USER"


def test_an_administrators_chain_is_asked_first_and_is_empty(lab: Lab, store: Store) -> None:
    sh("iptables -A FORWARD -i nowhere -j DROP")
    web = lab.container(store, "8090:80")
    chain = _user_chain(store)
    assert sh(f"iptables -S {chain}").splitlines() == [f"-N {chain}", f"-A {chain} -j RETURN"]
    forward = sh("iptables -S FORWARD").splitlines()[1:]
    assert forward[0] == f"-A FORWARD -j {chain}"
    with serving(web, 80) as server:
        assert seen_from(lab.neighbour, HOST, 8090, server)
        sh(f"iptables -I {chain} -s {NEIGHBOUR} -j DROP")
        assert is_refused(lab.neighbour, HOST, 8090)
        assert seen_from(lab.host, "127.0.0.1", 8090, server)


def test_an_administrators_rules_outlive_containers_networks_and_repairs(
    lab: Lab, store: Store
) -> None:
    web, chain = lab.container(store, "8090:80"), _user_chain(store)
    own = f"-A {chain} -s {NEIGHBOUR}/32 -j DROP"
    sh(f"iptables -I {chain} -s {NEIGHBOUR} -j DROP")
    web.stop()
    assert own in sh(f"iptables -S {chain}")
    sh("iptables -F FORWARD && iptables -t nat -F")  # as some program might: it is repaired
    again = lab.container(store, "8090:80")
    assert own in sh(f"iptables -S {chain}")
    assert sh("iptables -S FORWARD").splitlines()[1] == f"-A FORWARD -j {chain}"
    with serving(again, 80):
        assert is_refused(lab.neighbour, HOST, 8090)
    again.stop()
    networks.teardown(store)
    assert own in sh(f"iptables -S {chain}")
    assert sh("iptables -S FORWARD").splitlines()[1:] == [f"-A FORWARD -j {chain}"]
    assert sh("sysctl -n net.ipv4.ip_forward") == "0\n"  # nobody else needs it


def test_an_administrators_empty_chain_goes_with_the_last_network(lab: Lab, store: Store) -> None:
    lab.container(store, "8090:80").stop()
    networks.teardown(store)
    assert "MINIDOCK" not in sh("iptables-save")


def test_the_chains_of_two_stores_are_both_asked_before_any_network(
    lab: Lab, store: Store, other_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = lab.container(store), lab.container(other_store, "8091:80")
    lab.container(store)
    jumps = [line.split()[-1] for line in sh("iptables -S FORWARD").splitlines()[1:]]
    assert set(jumps[:2]) == {_user_chain(store), _user_chain(other_store)}
    assert len(jumps) == 4
    with serving(there, 80) as server:
        assert seen_from(here, HOST, 8091, server)
        sh(f"iptables -I {_user_chain(store)} -s {here.address} -j DROP")
        assert is_refused(here, HOST, 8091)
    asked: list[str] = []
    monkeypatch.setattr(iptables, "restore", asked.append)
    lab.container(other_store), lab.container(store)
    assert asked == []  # neither moves the other's


def test_foreign_rules_in_our_chains_stay_where_they_are(lab: Lab, store: Store) -> None:
    web, chain = lab.container(store, "8090:80"), f"MINIDOCK-{store.bridge}"
    foreign = {
        "filter": [f"-A {chain} -s 192.0.2.7/32 -j DROP", f"-A {chain} -s 192.0.2.8/32 -j DROP"],
        "nat": [f"-A {chain} -p tcp -m tcp --dport 7 -j DNAT --to-destination 192.0.2.9:7"],
        "raw": [f"-A {chain} -s 192.0.2.9/32 -i {store.bridge} -j DROP"],
    }
    sh(f"iptables -I {chain} -s 192.0.2.7 -j DROP && iptables -I {chain} 3 -s 192.0.2.8 -j DROP")
    sh(f"iptables -t nat {foreign['nat'][0].replace('-A', '-I')}")
    sh(f"iptables -t raw {foreign['raw'][0]}")
    sh(f"iptables -t nat -A POSTROUTING -d 192.0.2.10 -j {chain}-OUT")

    def there(table: str) -> list[str]:
        return sh(f"iptables -t {table} -S {chain}").splitlines()[1:]

    placed = there("filter")
    other = lab.container(store, "127.0.0.1:8092:80")
    web.stop()
    sh(f"iptables -D {placed[-1].replace('-A ', '')}")  # one of ours is lost, and comes back
    third = lab.container(store, "8093:80")
    assert there("filter") == placed
    for table, rules in foreign.items():
        assert [rule for rule in there(table) if rule in rules] == rules
    with serving(third, 80) as server:
        assert seen_from(lab.neighbour, HOST, 8093, server)
    assert "8090" not in sh("iptables-save -t nat")
    other.stop()
    third.stop()
    networks.teardown(store)
    for table, rules in foreign.items():
        assert there(table) == rules
    assert sh(f"iptables -t nat -S {chain}-OUT").splitlines() == [f"-N {chain}-OUT"]
    assert f"-d 192.0.2.10/32 -j {chain}-OUT" in sh("iptables-save -t nat")


def test_bridge_whose_chains_would_be_anothers_is_refused(
    lab: Lab, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USER", "br-USER", "br-OUT"):
        monkeypatch.setattr(store, "bridge", name)
        with pytest.raises(UsageError):
            lab.container(store)


# --- the journal ---------------------------------------------------------------------------------


def test_the_twins_build_the_same_network(lab: Lab, store: Store) -> None:
    """The shell commands of the journal, run by a shell, make what the ops made."""
    lines: list[str] = []
    use_journal(Journal(lines.append, actor="monitor"))
    try:
        container = lab.container(store, "8090:80")
    finally:
        use_journal(None)

    def picture() -> tuple[str, str, str]:
        rules = sh("iptables-save | grep -e MINIDOCK -e :FORWARD")
        bridge = sh(f"ip -br address show {store.bridge} | cut -d' ' -f1-40; bridge -d link")
        inner = container.sh("ip -o -4 address; ip route; ip -br link")
        return rules, re.sub(r"\d+: |fe80\S+|@\S+", "", bridge), re.sub(r"\d+: |@\S+", "", inner)

    before = picture()
    networks.disconnect(store, container.id)
    networks.teardown(store)
    assert "MINIDOCK" not in sh("iptables-save")
    passive = ("namespace.setns", "port.hold", "iptables.save")
    for record in map(jsontext.loads, lines):
        # Joining a namespace is in the twins of what is done there; reading makes nothing.
        if "begin" in record and record["op"] not in passive:
            place = container if record["phase"].endswith("veth_pair.open_netlink") else lab.host
            place.sh(describe(record)["twin"])
    assert picture() == before


def test_the_journal_shows_what_the_kernel_made(lab: Lab, store: Store) -> None:
    lines: list[str] = []
    use_journal(Journal(lines.append, actor="monitor"))
    try:
        container = lab.container(store)
    finally:
        use_journal(None)
    made = [record["made"] for record in map(jsontext.loads, lines) if "made" in record]
    for device in (store.bridge, veth_pair.veth_name(container.id)):
        index = int(sh(f"ip -o link show {device}").partition(":")[0])
        assert {"name": device, "ifindex": index} in made
