"""packet: its hops beside the firewall's counters, and where the walk ends without each rule."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support.command import REPOSITORY, Minidock
from support.followed import (
    BRIDGED,
    PORTS,
    end,
    follow,
    machine_with_web,
    named,
    put_back,
    until_it_listens,
)
from support.lab import sh
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("packet")]


@pytest.fixture(scope="module")
def web(_busybox_store: Path) -> Iterator[Minidock]:
    """A machine of its own, with container `web` that publishes ports, and `other` beside it."""
    with machine_with_web(_busybox_store, *PORTS) as minidock:
        yield minidock


@pytest.fixture
def store(web: Minidock) -> Store:
    """The store of these containers."""
    return Store(web.root)


@pytest.fixture(autouse=True)
def _rules_put_back(web: Minidock) -> Iterator[None]:
    """Each test finds the firewall whole."""
    saved = sh("iptables-save")
    yield
    put_back(saved)


def own_rules(bridge: str) -> dict[str, int]:
    """The rules in this network's own chains, and how many packets each has counted."""
    saved = sh("iptables-save -c")
    found = re.findall(rf"^\[(\d+):\d+\] (-A MINIDOCK-{bridge}\S* .*?) *$", saved, re.M)
    return {rule: int(count) for count, rule in found if "-USER " not in rule}


def zero_counters() -> None:
    for table in ("raw", "nat", "filter"):
        sh(f"iptables -t {table} -Z")


@pytest.mark.parametrize("start", ["host", "outside", "other"])
def test_hops_name_the_rules_whose_counters_rise_and_no_others(
    web: Minidock, store: Store, start: str
) -> None:
    zero_counters()
    printed = web("packet", "--json", "--from", start, "8090")
    assert printed.code == 0
    told = json.loads(printed.stdout)
    assert told["status"] == "answered"
    counted = {rule for rule, count in own_rules(store.bridge).items() if count}
    assert {rule for rule in named(told) if rule.startswith("-A MINIDOCK-")} == counted
    forwarded = "filter FORWARD" in [hop["place"] for hop in told["hops"]]
    assert forwarded == (start != "host")


def test_where_bridged_packets_pass_the_firewall_the_walk_is_the_same(
    web: Minidock, store: Store
) -> None:
    if not os.path.exists(BRIDGED):
        pytest.skip("this kernel has no br_netfilter, or has not loaded it")
    ways = []
    for setting in "01":
        sh(f"echo {setting} > {BRIDGED}")
        told = follow(store, "8090", "other")
        assert told["status"] == "answered"
        ways.append([hop["place"] for hop in told["hops"]])
    sh(f"echo 0 > {BRIDGED}")
    assert ways[0] == ways[1]


def test_each_rule_and_device_is_traced_to_the_step_that_made_it(
    web: Minidock, store: Store
) -> None:
    told = follow(store, "8090", "outside")
    steps = [rule["step"] for hop in told["hops"] for rule in hop["rules"]]
    steps += [hop["step"] for hop in told["hops"] if hop["place"] in ("bridge", "veth")]
    assert len(steps) > 5
    for step in steps:
        explained = web.ok("explain", "--json", step["container"])
        records = [json.loads(line) for line in explained.splitlines()]
        assert any(
            (r["actor"], r["number"], r["op"]) == (step["actor"], step["number"], step["op"])
            for r in records
        )


def without_each_rule(bridge: str) -> list[tuple[str, str, str, str, str]]:
    """(table, rule, from where, where the walk ends or goes another way, a word of the advice)."""
    own, out = f"MINIDOCK-{bridge}", f"MINIDOCK-{bridge}-OUT"
    local = "-m addrtype --dst-type LOCAL"
    tracked = "-m conntrack --ctstate"
    return [
        ("nat", f"OUTPUT {local} -j {own}", "host", "proxy", "-A OUTPUT"),
        ("nat", f"PREROUTING {local} -j {own}", "outside", "proxy", "-A PREROUTING"),
        ("nat", "DNAT --to-destination [^ ]*:80$", "host", "proxy", "-j DNAT"),
        ("nat", "DNAT --to-destination [^ ]*:80$", "outside", "proxy", "-j DNAT"),
        ("nat", f"POSTROUTING -j {out}", "host", "program", "-A POSTROUTING"),
        ("nat", f"{out} -s 127.0.0.0/8 -o {bridge} -j MASQ", "host", "program", "-s 127.0.0.0/8"),
        ("nat", f"{out} -s [^!]* -o {bridge} {tracked} DNAT", "other", "answer", "--ctstate DNAT"),
        ("filter", f"FORWARD -j {own} *$", "outside", "filter FORWARD", "-A FORWARD"),
        ("filter", f"-o {bridge} {tracked}", "outside", "filter FORWARD", "RELATED,ESTABLISHED"),
        ("filter", f"-i {bridge} -j ACCEPT", "outside", "filter FORWARD", f"-i {bridge} -j ACC"),
        ("raw", f"{own} -d 127.0.0.0/8 -i {bridge}", "host", "", ""),
        ("raw", f"{own} -s 127.0.0.0/8 -i {bridge}", "host", "", ""),
        ("raw", f"{own} -d .* ! -i {bridge}", "outside", "", ""),
        ("raw", f"{own} -d 127.0.0.1/32 ! -i lo .*--dport 8092", "host", "", ""),
    ]


def test_without_each_rule_the_walk_ends_there_and_says_what_is_missing(
    web: Minidock, store: Store
) -> None:
    whole = sh("iptables-save")
    for table, pattern, start, place, word in without_each_rule(store.bridge):
        rules = sh(f"iptables-save -t {table}")
        gone = [line for line in rules.splitlines() if re.search(rf"^-A .*{pattern}", line)]
        assert len(gone) == 1, (pattern, gone)
        sh(f"iptables -t {table} -D{gone[0].rstrip()[2:]}")
        told = follow(store, "8090", start)
        missing = [each["rule"] for each in told["missing"]]
        assert missing == [gone[0].rstrip()], pattern
        if place == "proxy":
            assert told["status"] == "relayed", pattern
            assert "no rule matches" in told["hops"][1]["text"]
        else:
            assert end(told) == place, (pattern, told["verdict"])
        assert word in told["advice"], (pattern, told["advice"])
        put_back(whole)
    for start in ("host", "outside", "other"):
        assert follow(store, "8090", start)["status"] == "answered", "the rules are back"


def test_settings_and_devices_that_are_off_end_the_walk(web: Minidock, store: Store) -> None:
    def ends(start: str, off: str, on: str, place: str) -> str:
        sh(off)
        told = follow(store, "8090", start)
        sh(on)
        assert end(told) == place, told
        assert told["missing"] == []
        return f"{told['verdict']}; {told['advice']}"

    device = f"ip link set dev {store.bridge}"
    localnet = f"net.ipv4.conf.{store.bridge}.route_localnet"
    told = ends("host", f"sysctl -qw {localnet}=0", f"sysctl -qw {localnet}=1", "routing")
    assert "it needs route_localnet" in told
    assert f"sysctl -w {localnet}=1; or starting any" in told
    forwarding = "sysctl -qw net.ipv4.ip_forward"
    told = ends("outside", f"{forwarding}=0", f"{forwarding}=1", "routing")
    assert "IP forwarding is off; sysctl -w net.ipv4.ip_forward=1" in told
    found = re.search(r"veth[0-9a-f]{11}", web.ok("packet", "8090"))
    assert found
    veth = f"ip link set dev {found[0]}"
    told = ends("host", f"{veth} down", f"{veth} up", "veth")
    assert "is down; ip link set dev veth" in told
    assert ends("outside", f"{device} down", f"{device} up", "routing")
    inside = f"nsenter --net=/proc/{web.ok('inspect', '-f', '{{.State.Pid}}', 'web')}/ns/net"
    rule = "INPUT -p tcp --dport 80 -j DROP"
    told = ends("host", f"{inside} iptables -I {rule}", f"{inside} iptables -D {rule}", "program")
    assert "a firewall inside web drops it: filter INPUT" in told
    assert follow(store, "8090")["status"] == "answered"


@pytest.mark.parametrize(
    ("command", "port", "flags"),
    [
        ("minidock packet 8090", "8090", ()),
        ("minidock packet --from outside 8090", "8090", ("--from", "outside")),
    ],
)
def test_docs_show_what_is_printed(
    web: Minidock, command: str, port: str, flags: tuple[str, ...]
) -> None:
    def outline(text: str) -> list[str]:
        """The hops' places and words, and what follows them; names and numbers masked."""
        text = re.sub(r"\n {20,}", " ", text)  # unfold
        text = re.sub(r"  ← \w+ \d+ of \w+|mdt?[0-9a-f]{8}\w*|minidock0", "", text)
        text = re.sub(r"0x[0-9a-f]+|veth[0-9a-f]+|[0-9.]+ (µs|ms)|\d+|[0-9a-f]{12}", "N", text)
        return [line.split(" -A ")[0].rstrip() for line in text.splitlines()]

    page = (REPOSITORY / "docs/packet.md").read_text()
    shown = page.partition(f"```console\n$ {command}\n")[2].partition("```")[0]
    assert outline(shown) == outline(web.ok("packet", *flags, port) + "\n")


def test_what_the_advice_says_helps(web: Minidock, store: Store) -> None:
    sh("iptables -t nat -F")
    told = follow(store, "8090")
    assert told["status"] == "relayed"
    command = re.search(r"minidock (restart web)$", told["advice"])
    assert command
    web.ok(*command[1].split(), "-t", "0")
    until_it_listens(web)
    told = follow(store, "8090")
    assert (told["status"], told["missing"]) == ("answered", [])


def test_the_container_s_end_is_explained(web: Minidock, store: Store) -> None:
    told = follow(store, "8091")
    assert end(told) == "program"
    assert told["verdict"] == (
        "listening on 127.0.0.1 inside the container: published ports cannot reach it"
    )
    assert "0.0.0.0:81" in told["advice"]
    told = follow(store, "8093")
    assert (end(told), told["verdict"].partition(";")[0]) == (
        "program",
        "no program in web listens on port 83",
    )
    told = follow(store, "8092")
    program = next(hop["text"] for hop in told["hops"] if hop["place"] == "program")
    assert "listens on 0.0.0.0:82: any address of this network namespace" in program
    assert "published on 127.0.0.1 only" in told["hops"][0]["text"]
    result = web("packet", "--from", "outside", "8092")
    assert (result.code, result.stdout) == (1, "")
    assert "only this host itself can connect to 127.0.0.1" in result.stderr


def test_ipv6_is_relayed_and_the_packet_s_way_says_so(web: Minidock, store: Store) -> None:
    zero_counters()
    told = follow(store, "[::1]:8090")
    assert told["status"] == "relayed"
    pid = Path(f"/proc/{web.ok('inspect', '-f', '{{.State.Pid}}', 'web')}/stat")
    monitor = pid.read_text().rpartition(")")[2].split()[1]
    assert any(hop["place"] == "proxy" and f"pid {monitor}," in hop["text"] for hop in told["hops"])
    dnat = [count for rule, count in own_rules(store.bridge).items() if rule.endswith(":80")]
    assert dnat == [0], "no packet was translated"


def test_killed_in_the_middle_it_leaves_nothing(web: Minidock, store: Store) -> None:
    before = sh("nft list tables; ip -br link; iptables-save | grep -v '^#' | sed 's/ *\\[.*//'")
    sh(f"iptables -I FORWARD 1 -o {store.bridge} -j DROP")
    running = web.start("packet", "--from", "outside", "8090")
    deadline = time.monotonic() + patience(10)
    while "minidock-packet" not in sh("nft list tables") or "mdpkt" not in sh("ip -br link"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    sh(f"iptables -D FORWARD -o {store.bridge} -j DROP")
    while before != (
        left := sh("nft list tables; ip -br link; iptables-save | grep -v '^#' | sed 's/ *\\[.*//'")
    ):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_a_foreign_rule_that_drops_it_is_named(web: Minidock, store: Store) -> None:
    sh(f"iptables -I FORWARD 1 -o {store.bridge} -j DROP")
    told = follow(store, "8090", "outside")
    assert end(told) == "filter FORWARD"
    assert f"-A FORWARD -o {store.bridge} -j DROP" in told["verdict"]
    assert "the rule is not minidock's" in told["advice"]
    sh(f"iptables -D FORWARD -o {store.bridge} -j DROP")
    sh("nft add table ip mine; nft add chain ip mine c '{ type filter hook forward priority 5; }'")
    sh("nft add rule ip mine c tcp dport 80 drop")
    told = follow(store, "8090", "outside")
    sh("nft delete table ip mine")
    assert end(told) == "mine c"
    assert "nft list ruleset" in told["advice"]


def test_ports_that_nobody_answers_are_refused_in_words(web: Minidock) -> None:
    def says(port: str, *flags: str) -> str:
        result = web("packet", *flags, port)
        assert (result.code, result.stdout) == (1, "")
        return result.stderr

    assert "no container publishes port 9" in says("9")
    assert "invalid port: 80x" in says("80x")
    assert "198.51.100.1 is not an address of this host" in says("198.51.100.1:8090")
    assert "is published, but not on ::1" in says("[::1]:8092")
    assert "no container publishes port 8090/udp" in says("8090/udp")
    assert "supported protocols: tcp, udp" in says("8090/sctp")
    assert "No such container: nobody" in says("8090", "--from", "nobody")
    web.ok("stop", "-t", "0", "web")
    assert "which is not running" in says("8090")
