"""packet --dns: who answers a container's question for a name, or where it ends and why.

A fault is made on a running container, with a real resolver (nslookup) beside it that fails too.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from minidock.engine.network.dns import message as dns_message
from minidock.paths import Store
from minidock.teach.packet.dns_walk import follow
from minidock.teach.packet.output import plain_dns
from support.command import REPOSITORY, Minidock
from support.followed import end, machine_with_web, put_back
from support.lab import HOST, sh
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("packet dns")]

KNOWN_OUTSIDE = {
    "example.test": "198.51.100.7", "long.test": "198.51.100.8",
    "mute.test": "198.51.100.9", "torn.test": "198.51.100.10",  # to AAAA: nothing, SERVFAIL
}  # fmt: skip
ONLY_IPV6, EMPTY, SILENT = "six.test", "empty.test", "silent.test"
IPV6 = "fd00::7"


@contextmanager
def server_at(address: str) -> Iterator[None]:
    """A name server of somebody else's, that knows two names; of one it tells by TCP only."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard, socket.socket() as listening:
        heard.bind((address, 53))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, 53))
        listening.listen()
        ended = threading.Event()

        def answer(data: bytes, *, by_tcp: bool) -> bytes:
            query = dns_message.Query(data)
            found = KNOWN_OUTSIDE.get(query.name)
            is_a = query.kind == dns_message.A
            known = dns_message.addresses([found] if found and is_a else [])
            if query.name == ONLY_IPV6 and not is_a:
                data = socket.inet_pton(socket.AF_INET6, IPV6)
                known = [dns_message._answer(dns_message.AAAA, data)]
            code = 0 if found or query.name in (ONLY_IPV6, EMPTY) else 3
            code = 2 if query.name == "torn.test" and not is_a else code
            message = dns_message.response(query, known, code=code)
            if query.name == "long.test" and not by_tcp:
                message = dns_message.response(query, [], code=0)
                return message[:2] + bytes([message[2] | 2]) + message[3:]  # TC
            return message

        def serve_by_tcp() -> None:
            while True:
                connection, _ = listening.accept()
                with connection:
                    if ended.is_set():
                        return
                    data = connection.recv(4096)
                    if data:
                        message = answer(data[2:], by_tcp=True)
                        connection.sendall(len(message).to_bytes(2, "big") + message)

        def serve() -> None:
            while True:
                data, client = heard.recvfrom(4096)
                if ended.is_set():
                    return
                query = dns_message.Query(data)
                if query.name == SILENT or query.name == "mute.test" and query.kind != 1:
                    continue
                with suppress(PermissionError):  # a test's rule drops it
                    heard.sendto(answer(data, by_tcp=False), client)

        threads = [threading.Thread(target=each) for each in (serve, serve_by_tcp)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            heard.sendto(b"", (address, 53))
            socket.create_connection((address, 53)).close()
            for thread in threads:
                thread.join()


@pytest.fixture(scope="module")
def shop(_busybox_store: Path) -> Iterator[Minidock]:
    """A machine with `web` and `other` on the default network, and these on networks with names:

    client and db on shop, gone there too, and stopped; far on apart; lost on shop, whose further
    server is a port that nobody has; alone on an internal network.
    """
    with machine_with_web(_busybox_store) as minidock, server_at(HOST):
        minidock.ok("network", "create", "shop")
        minidock.ok("network", "create", "apart")
        minidock.ok("network", "create", "--internal", "closed")
        for name, *flags in (
            ("client", "--network", "shop", "--dns", HOST),
            ("db", "--network", "shop"),
            ("gone", "--network", "shop"),
            ("far", "--network", "apart"),
            ("lost", "--network", "shop", "--dns", "127.0.0.9"),
            ("alone", "--network", "closed"),
            ("plain", "--dns", HOST),
        ):
            minidock.ok("run", "-d", "--name", name, *flags, "busybox", "sleep", "600")
        minidock.ok("stop", "-t", "0", "gone")
        yield minidock
        minidock.ok("rm", "-f", "client", "db", "gone", "far", "lost", "alone", "plain")
        minidock.ok("network", "rm", "shop", "apart", "closed")


@pytest.fixture
def ask(shop: Minidock) -> Callable[[str, str], dict[str, Any]]:
    """What `packet --json CONTAINER --dns NAME` prints, without a process of its own."""
    store = Store(shop.root)
    return lambda container, name: plain_dns(follow(store, container, name, seconds=patience(0.4)))


@pytest.fixture
def run(shop: Minidock) -> Iterator[Callable[[str, str], str]]:
    """A shell of the host that knows a container; afterwards the host's firewall is whole again."""
    saved = sh("iptables-save")

    def shell(container: str, script: str) -> str:
        pid = shop.ok("inspect", "-f", "{{.State.Pid}}", container)
        monitor = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        conf = f"/proc/{pid}/root/etc/resolv.conf"
        inside = f"nsenter --net=/proc/{pid}/ns/net"
        cable = f"veth{shop.ok('inspect', '-f', '{{.Id}}', container)[:11]}"
        return sh(f"MONITOR={monitor} CONF={conf} CABLE={cable} INSIDE='{inside}'\n{script}")

    yield shell
    put_back(saved)


def resolves(shop: Minidock, container: str, name: str) -> bool:
    """Whether a real resolver in the container gets an address."""
    pid = shop.ok("inspect", "-f", "{{.State.Pid}}", container)
    done = subprocess.run(  # not by exec, which needs the monitor
        ["nsenter", "--target", pid, "--mount", "--net", "/bin/busybox", "timeout",
         str(round(patience(2))), "nslookup", "-type=a", name],
        capture_output=True, text=True, check=False, timeout=patience(30),
    )  # fmt: skip
    answer = done.stdout.partition("\n\n")[2]
    return done.returncode == 0 and "Address" in answer


class Fault(NamedTuple):
    """make, undo: shell, with MONITOR, CONF and INSIDE as variables. cause: of the verdict."""

    container: str
    name: str
    cause: str
    place: str = "answer"
    make: str = ""
    undo: str = ""


PUT_BACK = "cat /tmp/conf.$MONITOR > $CONF; rm /tmp/conf.$MONITOR"
SAVE = "cat $CONF > /tmp/conf.$MONITOR"
SIX_ON = "$INSIDE sh -c 'echo 0 > /proc/sys/net/ipv6/conf/lo/disable_ipv6'"
SIX_IN = f"{SIX_ON}; $INSIDE ip -6 addr add fd00::53/128 dev lo"
SIX_OUT = "$INSIDE ip -6 addr del fd00::53/128 dev lo"
ARP = (
    "A=$($INSIDE hostname -I); B=$(ip -o route get $A | sed 's/.*dev \\(\\S*\\).*/\\1/'); ip neigh"
)
GATEWAY = 'sh -c \'G=$(ip route show default | cut -d" " -f3);'
FAULTS = {
    "unknown name": Fault(
        "client", "nobody.test", "the name nobody.test does not exist: no container .*NXDOMAIN"),
    "unknown name, another server": Fault(
        "plain", "nobody.test", f"the name nobody.test does not exist: says {HOST} \\(NXDOMAIN\\)"),
    "stopped container": Fault("client", "gone", "container gone is not running"),
    "on another network": Fault("client", "far", "far is on apart, client on shop"),
    "default network": Fault(
        "plain", "web", "plain is on the default network, which has no DNS server"),
    "resolv.conf leads elsewhere": Fault(
        "client", "db", f"names {HOST}, but only 127.0.0.11 knows db",
        make=f"{SAVE}; echo nameserver {HOST} > $CONF", undo=PUT_BACK),
    "resolv.conf is empty": Fault(
        "client", "db", "names no server: resolvers then ask 127.0.0.1 .*no server answers there",
        make=f"{SAVE}; : > $CONF", undo=PUT_BACK),
    "monitor stopped": Fault(
        "client", "db", "the monitor of client .*, which serves its DNS, is stopped \\(SIGSTOP\\)",
        make="kill -STOP $MONITOR", undo="kill -CONT $MONITOR"),
    "the rule inside is gone": Fault(
        "client", "db", "the DNAT rule inside client from 127.0.0.11:53 to its DNS server",
        make="R=$($INSIDE iptables-save -t nat | grep -- '-A MINIDOCK-NAMES -p udp' | cut -c4-);"
        " $INSIDE iptables -t nat -D $R; echo \"$R\" > /tmp/rule.$MONITOR",
        undo="$INSIDE iptables -t nat -A $(cat /tmp/rule.$MONITOR); rm /tmp/rule.$MONITOR"),
    "dropped inside": Fault(
        "client", "db", "a firewall inside client drops the query: raw OUTPUT: .*--dport 53",
        "raw OUTPUT",
        make="$INSIDE iptables -t raw -I OUTPUT -p udp --dport 53 -j DROP",
        undo="$INSIDE iptables -t raw -D OUTPUT -p udp --dport 53 -j DROP"),
    "dropped on the host": Fault(
        "plain", "example.test", "this host drops the query: filter INPUT: .*--dport 53",
        "filter INPUT",
        make="iptables -I INPUT -p udp --dport 53 -j DROP",
        undo="iptables -D INPUT -p udp --dport 53 -j DROP"),
    "the answer is dropped": Fault(
        "plain", "example.test", "this host drops the answer: filter OUTPUT: .*--sport 53",
        "filter OUTPUT",
        make="iptables -I OUTPUT -p udp --sport 53 -j DROP",
        undo="iptables -D OUTPUT -p udp --sport 53 -j DROP"),
    "dropped behind our name server": Fault(
        "client", "example.test", f"no upstream server.* {HOST}:53: dropped by filter INPUT",
        make="iptables -I INPUT -p udp --dport 53 -j DROP",
        undo="iptables -D INPUT -p udp --dport 53 -j DROP"),
    "nobody listens upstream": Fault(
        "lost", "example.test", "no upstream server.* 127.0.0.9:53: none: refused, no program"),
    "no default route": Fault(
        "plain", "example.test", f"{HOST}:53: no route to the network",
        make="$INSIDE ip route del default",
        undo="$INSIDE ip route add default via "
        "$($INSIDE ip -4 -o addr show eth0 | sed 's/.*inet \\([0-9]*.[0-9]*\\)..*/\\1/').0.1"),
    "internal": Fault("alone", "example.test", "alone is on internal networks only"),
    "cut short, and TCP is dropped": Fault(
        "plain", "long.test",
        "truncated \\(TC\\), .* not answer by TCP: dropped by filter INPUT: -A IN",
        "filter INPUT",
        make="iptables -I INPUT -p tcp --dport 53 -j DROP",
        undo="iptables -D INPUT -p tcp --dport 53 -j DROP"),
    "cut short, and TCP is refused": Fault(
        "plain", "long.test",
        "truncated \\(TC\\), .* not answer by TCP: none: refused, no program listens",
        make="iptables -t nat -I PREROUTING -p tcp --dport 53 -j REDIRECT --to-ports 9",
        undo="iptables -t nat -D PREROUTING -p tcp --dport 53 -j REDIRECT --to-ports 9"),
    "cut short behind our name server": Fault(
        "client", "long.test", f"no upstream server.* by TCP, .*{HOST}:53: dropped by filter INPUT",
        make="iptables -I INPUT -p tcp --dport 53 -j DROP",
        undo="iptables -D INPUT -p tcp --dport 53 -j DROP"),
    "only an IPv6 address": Fault(
        "plain", ONLY_IPV6, "six.test has no IPv4 address \\(NOERROR\\), only IPv6: fd00::7"),
    "only an IPv6 address, by our name server": Fault(
        "client", ONLY_IPV6, "six.test has no IPv4 address .*, only IPv6: fd00::7"),
    "no address at all": Fault(
        "plain", EMPTY, "empty.test exists, and has no IPv4 address .*; no IPv6 address either"),
    "a server of IPv6": Fault(
        "plain", "example.test", "\\[fd00::53\\]:53: no route to the network",
        make=f"{SAVE}; echo nameserver fd00::53 > $CONF", undo=PUT_BACK),
    "a server of IPv6 where nobody listens, or a rule says so": Fault(
        "plain", "example.test",
        "\\[fd00::53\\]:53: none: refused \\(ECONNREFUSED\\), by .* or a firewall rule; cause "
        "not determined; checked: .*; not checked: the firewalls' .*, veth",
        make=f"{SAVE}; echo nameserver fd00::53 > $CONF; {SIX_IN}", undo=f"{SIX_OUT}; {PUT_BACK}"),
    "a server of IPv6 whose answers are dropped": Fault(
        "plain", "example.test",
        "\\[fd00::53\\]:53: none within .*not determined; checked: (?!the firewalls).*; not "
        "checked: the firewalls' traces, inside and on this host, veth",
        make=f"{SAVE}; echo nameserver fd00::53 > $CONF; {SIX_IN};"
        "$INSIDE ip6tables -I INPUT -p udp --dport 53 -j DROP",
        undo=f"$INSIDE ip6tables -F INPUT; {SIX_OUT}; {PUT_BACK}"),
    "wrong ARP entry of the host": Fault(
        "plain", "example.test", f"{HOST}:53: none within .*; this host's ARP entry maps .*:99",
        make=f"{ARP} replace $A lladdr 02:00:00:00:00:99 nud permanent dev $B",
        undo="ip neigh flush all nud permanent"),
    "wrong ARP entry of the container": Fault(
        "plain", "example.test", "plain's ARP entry maps its gateway .* to 02:00:00:00:00:99",
        make=f"$INSIDE {GATEWAY} ip neigh replace $G lladdr 02:00:00:00:00:99 dev eth0 nud per'",
        undo="$INSIDE ip neigh flush all nud permanent"),
    "wrong ARP entry behind our name server": Fault(
        "client", "example.test", f"no upstream server.* {HOST}:53: client's ARP entry maps .*:99",
        make=f"$INSIDE {GATEWAY} ip neigh replace $G lladdr 02:00:00:00:00:99 dev eth0 nud per'",
        undo="$INSIDE ip neigh flush all nud permanent"),
    "nobody has that address": Fault(
        "plain", "example.test", "no answer to this host's ARP request for 10.77.0.99 on",
        make=f"{SAVE}; echo nameserver 10.77.0.99 > $CONF", undo=PUT_BACK),
    "a route of the host drops it": Fault(
        "plain", "example.test", "a route of this host drops it: blackhole 10.99.0.53",
        make=f"{SAVE}; echo nameserver 10.99.0.53 > $CONF; ip route add blackhole 10.99.0.53",
        undo=f"ip route del blackhole 10.99.0.53; {PUT_BACK}"),
    "nothing is forwarded": Fault(
        "plain", "example.test", "IP forwarding is off .*, and 10.77.0.2 is not this host",
        make=f"{SAVE}; echo nameserver 10.77.0.2 > $CONF; sysctl -qw net.ipv4.ip_forward=0",
        undo=f"sysctl -qw net.ipv4.ip_forward=1; {PUT_BACK}"),
    "veth without master": Fault(
        "plain", "example.test", "the host's end of plain's veth pair, is attached to no bridge",
        make=f"{ARP} show >/dev/null; ip link set $CABLE nomaster; echo $B > /tmp/br.$MONITOR",
        undo="ip link set $CABLE master $(cat /tmp/br.$MONITOR); rm /tmp/br.$MONITOR"),
    "nothing proves it": Fault(
        "plain", SILENT, f"{HOST}:53: none within .*not determined; checked: the firewalls"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_question_that_fails_says_why(
    shop: Minidock,
    ask: Callable[[str, str], dict[str, Any]],
    run: Callable[[str, str], str],
    fault: str,
) -> None:
    made = FAULTS[fault]
    run(made.container, made.make)
    try:
        told = ask(made.container, made.name)
        assert not resolves(shop, made.container, made.name), "it is no fault"
    finally:
        run(made.container, made.undo)
    assert told["status"] == "stopped", told
    assert re.search(made.cause, told["verdict"]), told["verdict"]
    assert end(told) == made.place, told["hops"]
    assert ("not determined" in told["verdict"]) == ("not determined" in made.cause)


@pytest.mark.parametrize(
    ("container", "name", "places", "who"),
    [
        ("client", "db", "DNS server, records", "minidock's DNS server"),
        ("client", "example.test", "DNS server, records", "an upstream server of minidock's"),
        ("plain", "example.test", "", HOST),
        ("plain", "long.test", "", HOST),
        ("client", "long.test", "DNS server, records", "an upstream server of minidock's"),
    ],
)
def test_a_name_is_answered_and_by_whom(
    shop: Minidock,
    ask: Callable[[str, str], dict[str, Any]],
    container: str,
    name: str,
    places: str,
    who: str,
) -> None:
    wanted = KNOWN_OUTSIDE.get(name) or shop.ok(
        "inspect", "-f", "{{.NetworkSettings.Networks.shop.IPAddress}}", name
    )
    # busybox's resolver does not ask by TCP
    assert resolves(shop, container, name) or name == "long.test"
    told = ask(container, name)
    assert (told["status"], told["addresses"]) == ("answered", [wanted]), told
    assert f"says {who}" in told["verdict"]
    assert places in ", ".join(hop["place"] for hop in told["hops"])


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("mute.test", "", "gives no valid answer: none within"),
        ("torn.test", "", "gives no valid answer: SERVFAIL"),
        ("example.test", "", ""),
        ("example.test",  # the type stands behind 8 bytes of UDP, 12 of DNS and 14 of the name
         "iptables -I INPUT -p udp --dport 53 -m u32 --u32 '0>>22&0x3C@32&0xFFFF=0x001C' -j DROP",
         "gives no valid answer: dropped by filter INPUT"),
    ],
)  # fmt: skip
def test_the_result_of_the_ipv6_query_is_reported(
    ask: Callable[[str, str], dict[str, Any]], run: Callable[[str, str], str],
    name: str, make: str, said: str,
) -> None:  # fmt: skip
    run("plain", make)
    told = ask("plain", name)
    assert (told["status"], told["ipv6_addresses"]) == ("answered", [])
    notes = [note for note in told["notes"] if "AAAA" in note]
    assert bool(notes) == bool(said) and all(said in note for note in notes), told["notes"]


def test_a_server_of_ipv6_is_asked_in_its_zone(
    shop: Minidock, ask: Callable[[str, str], dict[str, Any]], run: Callable[[str, str], str]
) -> None:
    program = (
        "import socket as s; a = s.socket(s.AF_INET6, s.SOCK_DGRAM); a.bind(('::', 53))\n"
        "print(flush=True)\n"
        "while 1:\n"
        " q, c = a.recvfrom(999); v4 = q[-3] == 1\n"
        " r = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\0\\0\\4\\xc6\\x33\\x64\\x2a' if v4 else b''\n"
        " a.sendto(q[:2] + b'\\x81\\x80' + q[4:6] + bytes([0, v4]) + q[8:] + r, c)"
    )
    pid = shop.ok("inspect", "-f", "{{.State.Pid}}", "plain")
    make = "$INSIDE sh -c 'echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6;"
    run("plain", f"{make} ip -6 addr add fe80::53/64 dev eth0 nodad'")
    run("plain", f"{SAVE}; echo nameserver fe80::53%eth0 > $CONF")
    server = subprocess.Popen(
        ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", program],
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout and server.stdout.readline()
        told = ask("plain", "other.test")
        assert (told["server"], told["addresses"]) == ("fe80::53%eth0", ["198.51.100.42"]), told
        assert any("rules for IPv6" in note for note in told["notes"])
    finally:
        server.kill()
        server.communicate()
        run("plain", f"$INSIDE ip -6 addr del fe80::53/64 dev eth0; {PUT_BACK}")


def test_the_way_to_our_name_server_names_rule_and_step(
    shop: Minidock, ask: Callable[[str, str], dict[str, Any]]
) -> None:
    told = ask("client", "db")
    led = next(hop for hop in told["hops"] if hop["place"] == "nat OUTPUT")
    assert re.search(r"127\.0\.0\.11:53 becomes 127\.0\.0\.11:\d+ in client", led["text"])
    assert [rule["step"]["container"] for rule in led["rules"]] == ["client", "client"]


def test_in_another_container_s_network_its_name_server_answers(
    shop: Minidock, ask: Callable[[str, str], dict[str, Any]]
) -> None:
    shop.ok(
        "run", "-d", "--name", "guest", "--network", "container:client", "busybox", "sleep", "9"
    )
    told = ask("guest", "db")
    shop.ok("rm", "-f", "guest")
    assert "says minidock's DNS server" in told["verdict"], told
    assert any("the monitor of client" in hop["text"] for hop in told["hops"])
    assert told["notes"] == []


def test_docs_show_what_is_printed(shop: Minidock) -> None:
    def masked(text: str) -> list[str]:
        words = re.sub(r"\d+(\.\d+)*|[µm]s", "N", text).split()
        return words[: words.index("answer")]

    page = (REPOSITORY / "docs/packet.md").read_text()
    shown = page.partition("```console\n$ minidock packet client --dns db\n")[2]
    printed = shop.ok("packet", "client", "--dns", "db")
    assert masked(shown.partition("```")[0]) == masked(printed)


def test_the_command_prints_it(shop: Minidock) -> None:
    printed = shop("packet", "client", "--dns", "db")
    assert printed.code == 0, printed.stderr
    assert printed.stdout.startswith("One DNS query from client for the address of db\n")
    printed = shop("packet", "client", "--dns", "gone", "--json")
    assert printed.code == 1
    assert "gone is not running" in json.loads(printed.stdout)["verdict"]
    assert shop("packet", "gone", "--dns", "db").stderr.count("gone is not running") == 1
    assert "invalid name: 'a..b'" in shop("packet", "client", "--dns", "a..b").stderr
    assert "requires exactly one container" in shop("packet", "client", "db", "--dns", "db").stderr
    tables = sh("nft list tables")
    assert "minidock-packet" not in tables
