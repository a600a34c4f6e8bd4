"""packet: each of many faults, made on a running container, is named with its cause, or with none.

A fault is made with ip, iptables, nft, sysctl or a signal, followed, and undone; that it is a fault
is asked of a real client beside. `cause` stands in the verdict, "not determined" where no check can
prove one. What is in no verdict is a cause of another fault.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from minidock.paths import Store
from minidock.teach.packet.output import plain
from minidock.teach.packet.probe import send
from minidock.teach.packet.steps import Steps
from minidock.teach.packet.target import between
from minidock.teach.packet.walk import walk
from support.command import Minidock
from support.conntrack import fill_connection_tracking
from support.followed import BRIDGED, end, follow, machine_with_web, put_back
from support.lab import HOST, sh
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("packet faults")]

# busybox has one server of UDP: of addresses, on port 67.
SERVERS = (
    "httpd -h / -p 127.0.0.1:81; echo interface eth0 > /dhcp; udhcpd -f /dhcp & "
    "exec httpd -f -h / -p 80"
)
PORTS = (
    "-p", "8090:80", "-p", "8091:81", "-p", "8093:83", "-p", "5353:67/udp", "-p", "5356:56/udp",
)  # fmt: skip
ANSWERED = {"answered", "relayed"}
NEW_LINK = "ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up"


class Fault(NamedTuple):
    """make, undo: shell, with BRIDGE, CABLE, PID, ADDRESS, GATEWAY, INSIDE as variables.

    start: where the probe comes from. port: that is asked. place: where the walk ends, "" for an
    answer. cause: words of the verdict.
    """

    make: str
    undo: str
    place: str
    cause: str
    start: str = "host"
    port: str = "8090"


FAULTS = {
    # the veth pair
    "veth without master": Fault(
        "ip link set $CABLE nomaster", "ip link set $CABLE master $BRIDGE",
        "veth|bridge", "the host's end of web's veth pair, is attached to no bridge"),
    "veth in another bridge": Fault(
        "ip link add elsewhere type bridge; ip link set $CABLE master elsewhere",
        "ip link set $CABLE master $BRIDGE; ip link del elsewhere",
        "veth|bridge", "is a port of elsewhere"),
    "veth down": Fault(
        "ip link set $CABLE down", "ip link set $CABLE up", "veth|bridge", "veth\\w+ is down"),
    "port disabled": Fault(
        "bridge link set dev $CABLE state 0", "bridge link set dev $CABLE state 3",
        "veth|bridge", "the bridge's port veth\\w+ is disabled"),
    "eth0 down": Fault(
        "$INSIDE ip link set eth0 down",
        "$INSIDE ip link set eth0 up; $INSIDE ip route add default via $GATEWAY",
        "veth|container|bridge", "eth0 is down inside web"),
    "eth0 renamed": Fault(
        "$INSIDE sh -c 'ip link set eth0 down; ip link set eth0 name old; ip link set old up'",
        "$INSIDE sh -c 'ip link set old down; ip link set old name eth0; ip link set eth0 up;"
        " ip route replace default via '$GATEWAY",
        "container", "web has no interface eth0 any more"),
    "bridge down": Fault(
        "ip link set $BRIDGE down", "ip link set $BRIDGE up", "routing", "is down, so its route"),
    # the container's network
    "no route inside": Fault(
        "$INSIDE ip route del default", "$INSIDE ip route add default via $GATEWAY",
        "program", "web has no route for its answer to 198.18.0.2", "outside"),
    "blackhole inside": Fault(
        "$INSIDE ip route add blackhole 198.18.0.0/24", "$INSIDE ip route del 198.18.0.0/24",
        "program", "web has no route for its answer to 198.18.0.2.*blackhole", "outside"),
    "another address": Fault(
        "$INSIDE sh -c 'ip addr del '$ADDRESS'/16 dev eth0; ip addr add 10.99.0.9/16 dev eth0'",
        "$INSIDE sh -c 'ip addr del 10.99.0.9/16 dev eth0; ip addr add '$ADDRESS'/16 dev eth0;"
        " ip route add default via '$GATEWAY; ip neigh flush dev $BRIDGE",
        "program|bridge|veth", "web does not have [0-9.]+ any more; its addresses: 10.99.0.9"),
    "rp_filter inside": Fault(
        f"$INSIDE sh -c '{NEW_LINK}; sysctl -qw"
        " net.ipv4.conf.eth0.rp_filter=1 net.ipv4.conf.all.rp_filter=1;"
        " ip route add 198.18.0.0/24 dev d0'",
        "$INSIDE sh -c 'ip link del d0;"
        " sysctl -qw net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.all.rp_filter=0'",
        "program", "reverse path filtering inside web drops it", "outside"),
    "answer by another device": Fault(
        f"$INSIDE sh -c '{NEW_LINK};"
        " sysctl -qw net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.all.rp_filter=0;"
        " ip route add 198.18.0.0/24 dev d0'",
        "$INSIDE ip link del d0",
        "program", "web sends its answer out on d0, not on eth0", "outside"),
    "iptables inside": Fault(
        "$INSIDE iptables -I INPUT -p tcp --dport 80 -j DROP",
        "$INSIDE iptables -D INPUT -p tcp --dport 80 -j DROP",
        "program", "a firewall inside web drops it: filter INPUT: -A INPUT .*--dport 80 -j DROP"),
    "reject inside": Fault(
        "$INSIDE iptables -I INPUT -p tcp --dport 80 -j REJECT --reject-with tcp-reset",
        "$INSIDE iptables -F INPUT",
        "program", "a firewall inside web drops it: filter INPUT"),
    "nft inside": Fault(
        "$INSIDE nft 'add table inet x; add chain inet x c { type filter hook output priority 0; };"
        " add rule inet x c tcp sport 80 drop'",
        "$INSIDE nft delete table inet x",
        "program", "a firewall inside web drops it"),
    # neighbours
    "wrong ARP entry of the host": Fault(
        "ip neigh replace $ADDRESS lladdr 02:00:00:00:00:99 dev $BRIDGE nud permanent",
        "ip neigh del $ADDRESS dev $BRIDGE",
        "program|veth|container", "this host's ARP entry \\(permanent\\) maps .*:00:00:00:99"),
    "wrong ARP entry of the container": Fault(
        "$INSIDE ip neigh replace $GATEWAY lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
        "$INSIDE ip neigh del $GATEWAY dev eth0",
        "answer|program", "web's ARP entry maps its gateway .* to 02:00:00:00:00:99"),
    # the host's routing
    "blackhole route": Fault(
        "ip route add blackhole $ADDRESS", "ip route del blackhole $ADDRESS",
        "routing|socket", "a route of this host drops it: blackhole"),
    "blackhole for others": Fault(
        "ip route add blackhole $ADDRESS", "ip route del blackhole $ADDRESS",
        "routing", "a route of this host drops it: blackhole", "outside"),
    "policy routing": Fault(
        f"{NEW_LINK}; ip route add $ADDRESS dev d0 table 77;"
        " ip rule add pref 100 to $ADDRESS lookup 77",
        "ip rule del pref 100; ip link del d0",
        "routing", "routes [0-9.]+ to d0, not to .*100: from all to [0-9.]+ lookup 77", "outside"),
    "ip_forward off": Fault(
        "sysctl -qw net.ipv4.ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1",
        "routing", "IP forwarding is off", "outside"),
    "route_localnet off": Fault(
        "sysctl -qw net.ipv4.conf.$BRIDGE.route_localnet=0",
        "sysctl -qw net.ipv4.conf.$BRIDGE.route_localnet=1", "routing", "it needs route_localnet"),
    # the firewall
    "FORWARD drops": Fault(
        "iptables -I FORWARD -o $BRIDGE -j DROP", "iptables -D FORWARD -o $BRIDGE -j DROP",
        "filter FORWARD", "filter FORWARD drops it: -A FORWARD -o \\S+ -j DROP", "outside"),
    "an administrator's rule": Fault(
        "iptables -I $USERS -p tcp --dport 80 -j DROP",
        "iptables -D $USERS -p tcp --dport 80 -j DROP",
        "filter FORWARD", "drops it: -A MINIDOCK-\\S+USER .*-j DROP", "outside"),
    "nft drops": Fault(
        "nft 'add table ip x; add chain ip x c { type filter hook forward priority 5; };"
        " add rule ip x c tcp dport 80 drop'", "nft delete table ip x",
        "x c", "drops it: rule \\d+ of nft's chain x c", "outside"),
    "masquerade gone": Fault(
        "iptables -t nat -D MINIDOCK-$BRIDGE-OUT -s 127.0.0.0/8 -o $BRIDGE -j MASQUERADE", "",
        "program", "it arrived with the source 127.0.0.1"),
    "DNAT gone": Fault(
        "iptables -t nat -F MINIDOCK-$BRIDGE", "", "", "through the userland proxy"),
    "frames dropped": Fault(
        "nft 'add table bridge x; add chain bridge x c { type filter hook forward priority 0; };"
        " add chain bridge x o { type filter hook output priority 0; };"
        " add rule bridge x o tcp dport 80 drop'", "nft delete table bridge x",
        "x o", "drops it: rule \\d+ of nft's chain x o"),
    # programs
    "stopped program": Fault(
        "kill -STOP $HTTPD", "kill -CONT $HTTPD",
        "", "httpd \\(pid \\d+\\) is stopped \\(SIGSTOP\\)"),
    "stopped monitor": Fault(
        "iptables -t nat -F MINIDOCK-$BRIDGE; kill -STOP $MONITOR", "kill -CONT $MONITOR",
        ".*", "the monitor of web \\(pid \\d+\\) holds the port and is stopped"),
    "on 127.0.0.1": Fault(
        "", "", "program", "listening on 127.0.0.1 inside the container", port="8091"),
    "on another port": Fault(
        "", "", "program", "no program in web listens on port 83", port="8093"),
    # UDP
    "UDP: nobody": Fault(
        "", "", "program", "no program in web listens on port 56", port="5356/udp"),
    "UDP: a rule": Fault(
        "iptables -I FORWARD -p udp --dport 67 -j DROP",
        "iptables -D FORWARD -p udp --dport 67 -j DROP",
        "filter FORWARD", "drops it: -A FORWARD -p udp", "outside", "5353/udp"),
    "UDP: a rule of OUTPUT": Fault(
        "iptables -I OUTPUT -p udp --dport 5353 -j DROP; iptables -t raw -I OUTPUT -p udp"
        " --dport 5353 -j DROP",
        "iptables -D OUTPUT -p udp --dport 5353 -j DROP; iptables -t raw -D OUTPUT -p udp"
        " --dport 5353 -j DROP",
        "raw OUTPUT", "raw OUTPUT drops it: -A OUTPUT -p udp", port="5353/udp"),
    "UDP: a rule inside": Fault(
        "$INSIDE iptables -I INPUT -p udp -j DROP", "$INSIDE iptables -D INPUT -p udp -j DROP",
        "program", "a firewall inside web drops it", port="5353/udp"),
}  # fmt: skip


@pytest.fixture(scope="module")
def web(_busybox_store: Path) -> Iterator[Minidock]:
    """A machine of its own with `web`, whose network the tests break."""
    with machine_with_web(_busybox_store, *PORTS, servers=SERVERS, listening=3) as minidock:
        yield minidock


@pytest.fixture
def store(web: Minidock) -> Store:
    """Its store."""
    return Store(web.root)


@pytest.fixture
def run(web: Minidock, store: Store) -> Iterator[Callable[[str], str]]:
    """A shell that knows the names of this machine; afterwards the firewall is whole again."""
    shown = web.ok(
        "inspect", "-f",
        "{{.State.Pid}} {{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}} {{.Id}}", "web",
    )  # fmt: skip
    pid, address, gateway, container = shown.split()
    monitor = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    names = {
        "BRIDGE": store.bridge, "CABLE": f"veth{container[:11]}", "PID": pid, "HTTPD": pid,
        "ADDRESS": address, "GATEWAY": gateway, "MONITOR": monitor,
        "INSIDE": f"nsenter --net=/proc/{pid}/ns/net",
        "USERS": f"MINIDOCK-{store.derived_bridge}-USER",
    }  # fmt: skip
    head = "".join(f"{name}='{value}'\n" for name, value in names.items())
    saved = sh("iptables-save")
    yield lambda script: sh(head + script)
    put_back(saved)


def _until(store: Store, status: set[str], *asked: str) -> dict[str, Any]:
    """The result once the kernel has settled: an address is learned again, a port forwards."""
    deadline = time.monotonic() + patience(5)
    while (told := follow(store, *asked))["status"] not in status:
        assert time.monotonic() < deadline, told
        time.sleep(0.1)
    return told


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_cause_or_with_none(
    store: Store, run: Callable[[str], str], name: str
) -> None:
    fault = FAULTS[name]
    if fault.make:
        _until(store, ANSWERED, fault.port, fault.start)
    run(fault.make)
    try:
        told = follow(store, fault.port, fault.start)
    finally:
        run(fault.undo)
    assert re.fullmatch(fault.place, end(told)), (told["verdict"], told["hops"][-1])
    assert re.search(fault.cause, told["verdict"]), told["verdict"]
    assert ("not determined" in told["verdict"]) == ("not determined" in fault.cause)


def test_after_all_faults_the_machine_is_whole(store: Store) -> None:
    for asked in (("8090",), ("8090", "outside"), ("8090", "other"), ("5353/udp",)):
        assert _until(store, ANSWERED, *asked)["notes"] == []


def test_what_nothing_proves_is_not_determined(store: Store, run: Callable[[str], str]) -> None:
    """A bridge that forgets whom it knows: what a port drops by itself tells nobody why."""
    run("bridge link set dev $CABLE flood off learning off; bridge fdb flush dev $CABLE || :")
    run("for mac in $(bridge fdb show dev $CABLE | cut -d' ' -f1); do"
        " bridge fdb del $mac dev $CABLE master 2>/dev/null; done; :")  # fmt: skip
    told = follow(store, "8090")
    run("bridge link set dev $CABLE flood on learning on")
    assert told["status"] == "stopped", told
    assert "cause not determined; checked: the bridge, the veth, eth0 inside" in told["verdict"]


def test_hairpin_that_is_off_is_named(store: Store, run: Callable[[str], str]) -> None:
    if not os.path.exists(BRIDGED):
        pytest.skip("this kernel has no br_netfilter, without which no frame turns on the bridge")
    run(f"echo 1 > {BRIDGED}; bridge link set dev $CABLE hairpin off")
    try:
        told = follow(store, "8090", "web")
    finally:
        run(f"bridge link set dev $CABLE hairpin on; echo 0 > {BRIDGED}")
    assert "web connects to itself, and hairpin is off" in told["verdict"], told


def test_what_the_uplink_alone_would_meet_is_said(store: Store, run: Callable[[str], str]) -> None:
    run("iptables -I FORWARD -i lan0 -p tcp -j DROP; sysctl -qw net.ipv4.conf.lan0.rp_filter=1")
    told = follow(store, "8090", "outside")
    run("sysctl -qw net.ipv4.conf.lan0.rp_filter=0")
    assert told["status"] == "answered"
    assert any("-A FORWARD -i lan0 -p tcp -j DROP" in note for note in told["notes"]), told["notes"]
    assert any("lan0 has rp_filter=1" in note for note in told["notes"])


def test_mtus_that_differ_are_said(store: Store, run: Callable[[str], str]) -> None:
    run("ip link set $CABLE mtu 1200")
    told = follow(store, "8090")
    run("ip link set $CABLE mtu 1500")
    (note,) = told["notes"]
    assert "MTUs differ (eth0 1500, veth" in note and "larger than 1200 bytes" in note


def test_udp_that_is_tracked_to_another_address_is_said(
    store: Store, run: Callable[[str], str]
) -> None:
    """A flow that began under a rule that is gone; the probe, from a port of its own, arrives."""
    rule = "OUTPUT -t nat -p udp --dport 5353 -j DNAT --to-destination 198.18.0.77:67"
    send_one = f"bash -c 'exec 3<>/dev/udp/{HOST}/5353; ss -Hanu dst {HOST}:5353; echo >&3'"
    run(f"iptables -I {rule}")
    port = run(send_one).split()[3].rpartition(":")[2]
    run(f"iptables -D {rule}")
    assert "198.18.0.77" in run("conntrack -L -p udp --orig-port-dst 5353")
    told = _until(store, ANSWERED, "5353/udp")
    (note,) = told["notes"]
    assert f"{HOST}:{port} to 198.18.0.77 as long as the flow is active" in note
    run(re.search("`(.*)`", note)[1])  # type: ignore[index]
    assert _until(store, ANSWERED, "5353/udp")["notes"] == []


TABLE_TO_FILL = 300_000


def test_a_full_table_of_connections_is_named(store: Store, run: Callable[[str], str]) -> None:
    """Only the first network may set how many there are, and each has so many: it is filled."""
    most = int(run("sysctl -n net.netfilter.nf_conntrack_max"))
    if most > TABLE_TO_FILL:
        pytest.skip("this kernel tracks more connections than a test can make")
    _until(store, ANSWERED, "8090")
    asked_from = (("8090", "outside"), ("5353/udp", "host"))
    try:
        fill_connection_tracking(most)
        every = [follow(store, *asked) for asked in asked_from]
    finally:
        run("conntrack -F")
    for told in every:
        assert told["status"] == "stopped", told
        assert re.search(rf"tracking could not add it: \d+ of {most}", told["verdict"]), told
    _until(store, ANSWERED, "8090", "outside")


def test_a_datagram_that_arrived_names_its_process(store: Store) -> None:
    told = _until(store, ANSWERED, "5353/udp")
    program = next(hop["text"] for hop in told["hops"] if hop["place"] == "program")
    assert program.startswith("udhcpd (pid ") and ":67" in program


def test_one_container_calls_another(
    web: Minidock, store: Store, run: Callable[[str], str]
) -> None:
    def called(text: str) -> dict[str, Any]:
        result = send(store, between(store, "other", text), seconds=patience(0.4), start="other")
        return plain(walk(result, Steps(store)))

    told = called("web:80")
    assert told["status"] == "answered", told
    assert [hop["place"] for hop in told["hops"]][:4] == ["socket", "bridge", "veth", "container"]
    run("ip link set $CABLE nomaster")
    told = called("web:80")
    run("ip link set $CABLE master $BRIDGE")
    assert "web's veth pair, is attached to no bridge" in told["verdict"]
    printed = web("packet", "other", "web:83")
    assert printed.code == 1 and "no program in web listens on port 83" in printed.stdout
    web.ok("network", "create", "apart")
    web.ok("run", "-d", "--name", "far", "--network", "apart", "busybox", "sleep", "600")
    told = web("packet", "far", "web:80")
    web.ok("rm", "-f", "far")
    web.ok("network", "rm", "apart")
    assert told.code == 1
    assert "raw MINIDOCK-" in told.stdout and "the rule is there for this" in told.stdout
    assert "name the port" in web("packet", "other", "web").stderr


def test_a_stopped_program_is_a_fault_that_a_client_sees(
    store: Store, run: Callable[[str], str]
) -> None:
    """The test of the test: the kernel connects, and nobody answers."""
    run("kill -STOP $HTTPD")
    try:
        asked = "busybox wget -T 1 -q -O - http://127.0.0.1:8090/ >/dev/null 2>&1 && echo served"
        assert run(f"{asked} || echo silent") == "silent\n"
    finally:
        run("kill -CONT $HTTPD")
    assert signal.SIGSTOP
