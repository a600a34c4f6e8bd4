"""Networks that people make, through deaths: of containers, monitors, commands, and the machine."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.engine.container import lookup
from minidock.engine.network.network_json import LockedNetworks, read_all
from minidock.engine.network.veth_pair import NetworkNamespace
from minidock.paths import Store
from support import machine, stores
from support.attack import without
from support.command import Minidock
from support.machine import kill_and_wait
from support.patience import patience

pytestmark = pytest.mark.root


@pytest.fixture
def image(store: Store, busybox_tar: Path) -> Iterator[str]:
    yield from stores.busybox_and_no_leftovers(store, busybox_tar)
    assert [network for network in read_all(store) if network["Leases"]] == []


def run(minidock: Minidock, name: str, *flags: str, image: str = "busybox") -> None:
    minidock.ok("run", "-d", "--name", name, *flags, image, "sleep", "600")


def reaches(minidock: Minidock, source: str, name: str) -> bool:
    return minidock("exec", source, "ping", "-c", "1", "-W", "1", name).code == 0


def links_of(store: Store) -> list[str]:
    return [link for link in machine.links() if store.bridge in link]


def rules_of(store: Store) -> list[str]:
    return [rule for rule in machine.firewall_rules() if store.bridge in rule]


# The first id that is drawn begins with twelve decimal digits.
DIGITS_FIRST = """
import os
drawn = [bytes.fromhex("123456789012" + 52 * "a")]
random = os.urandom
os.urandom = lambda size: drawn.pop() if drawn and size == 32 else random(size)
"""


def networks_of(minidock: Minidock, name: str) -> dict[str, Any]:
    found = minidock.ok("inspect", "-f", "{{json .NetworkSettings.Networks}}", name)
    return json.loads(found)  # type: ignore[no-any-return]


def monitor_of(store: Store, name: str) -> int:
    return lookup.find(store, name).monitor_pid


def test_monitor_that_is_killed_leaves_nothing_on_any_network(
    store: Store, minidock: Minidock, image: str
) -> None:
    for name in ("one", "two"):
        minidock.ok("network", "create", name)
    run(minidock, "other", "--network", "one")
    run(minidock, "web", "--network", "one", "--network", "two", "-p", "80")
    assert reaches(minidock, "other", "web")
    kill_and_wait(monitor_of(store, "web"))
    assert minidock.ok("ps", "-a", "--filter", "name=web", "--format", "{{.State}}") == "exited"
    assert not reaches(minidock, "other", "web")
    assert [rule for rule in rules_of(store) if "DNAT --to" in rule] == []
    minidock.ok("network", "rm", "two")
    minidock.ok("start", "other")
    refused = minidock("start", "web")
    assert refused.code == 1 and "network two not found" in refused.stderr
    minidock.ok("network", "create", "two")
    minidock.ok("start", "web")
    assert reaches(minidock, "other", "web")


@pytest.mark.alone  # another store would take the subnet that is free in between
def test_networks_come_again_after_a_reboot(store: Store, minidock: Minidock, image: str) -> None:
    minidock.ok("network", "create", "--subnet", "10.231.7.0/24", "fixed")
    minidock.ok("network", "create", "free")
    before = minidock.ok("network", "inspect", "-f", "{{json .IPAM.Config}}", "fixed", "free")
    always = ("--restart", "always")
    run(minidock, "aa", *always, "--network", "name=fixed,ip=10.231.7.77", "--network", "free")
    run(minidock, "bb", *always, "--network", "free")
    stores.reboot(store)
    assert links_of(store) == [] == rules_of(store)
    minidock.ok("system", "start-all")
    assert (
        minidock.ok("network", "inspect", "-f", "{{json .IPAM.Config}}", "fixed", "free") == before
    )
    assert reaches(minidock, "bb", "aa") and reaches(minidock, "aa", "bb")
    assert networks_of(minidock, "aa")["fixed"]["IPAddress"] == "10.231.7.77"


def test_system_down_takes_the_bridges_and_keeps_the_networks(
    store: Store, minidock: Minidock, image: str
) -> None:
    minidock.ok("network", "create", "--internal", "one")
    minidock.ok("run", "--rm", "--network", "one", image, "true")
    minidock.ok("system", "down")
    assert links_of(store) == [] == rules_of(store)
    assert minidock.ok("network", "ls", "-q", "-f", "name=one")
    minidock.ok("run", "--rm", "--network", "one", image, "true")
    minidock.ok("network", "rm", "one")
    assert links_of(store) == [] == rules_of(store)


def test_restarted_container_has_its_names_again(
    store: Store, minidock: Minidock, image: str
) -> None:
    minidock.ok("network", "create", "one")
    run(minidock, "asks", "--network", "one")
    flags = ("--network", "one", "--network-alias", "nick", "--restart", "always")
    minidock.ok("run", "-d", "--name", "web", *flags, image, "sh", "-c", "sleep 600 & wait")
    first = lookup.find(store, "web").state["Pid"]
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + patience(10)
    while lookup.find(store, "web").state["Pid"] in (first, 0):  # 0: between two runs
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert reaches(minidock, "asks", "nick")
    assert minidock.ok("exec", "web", "ping", "-c", "1", "asks")


def test_a_container_finds_itself_whatever_its_id(
    store: Store, minidock: Minidock, image: str
) -> None:
    """One in 281 random ids begins with twelve decimal digits, which the C library looks up
    nowhere, as it does a hostname of digits that somebody asks for."""
    minidock.ok("network", "create", "lan")
    asked = ["--network", "lan", image, "hostname", "-i"]
    assert minidock("run", "--rm", "--hostname", "123456789012", *asked).code == 1
    found = without(minidock, DIGITS_FIRST, "run", "--rm", *asked)
    assert found.code == 0, str(found)
    assert found.stdout.startswith("172.")


def test_networks_that_are_apart_stay_apart(store: Store, minidock: Minidock, image: str) -> None:
    for name in ("one", "two"):
        minidock.ok("network", "create", name)
    minidock.ok("network", "create", "--internal", "closed")
    for name in ("one", "two", "closed"):
        run(minidock, f"in-{name}", "--network", name)
    run(minidock, "in-bridge")
    run(minidock, "in-both", "--network", "one", "--network", "two")
    addresses = {name: networks_of(minidock, f"in-{name}")[name]["IPAddress"]
                 for name in ("one", "two", "closed", "bridge")}  # fmt: skip
    asked = "".join(
        f"(ping -c 1 -W 1 {a} > /dev/null && echo {n}) & " for n, a in addresses.items()
    )
    for source in addresses:
        assert minidock.ok("exec", f"in-{source}", "sh", "-c", f"{asked} wait") == source
    assert reaches(minidock, "in-both", "in-one") and reaches(minidock, "in-both", "in-two")
    # A container that makes itself a route does not get out of an internal network either.
    closed = lookup.find(store, "in-closed").state["Pid"]
    gateway = addresses["closed"].rpartition(".")[0] + ".1"
    subprocess.run(
        [
            "nsenter",
            f"--net=/proc/{closed}/ns/net",
            "ip",
            "route",
            "add",
            "default",
            "via",
            gateway,
        ],
        check=True,
    )
    assert not reaches(minidock, "in-closed", addresses["one"])


def test_a_port_published_on_another_network_is_for_all_but_internal_networks(
    store: Store, minidock: Minidock, image: str
) -> None:
    """A datagram needs no answer: that answers are dropped would not keep it in."""
    minidock.ok("network", "create", "--internal", "closed")
    minidock.ok("network", "create", "open")
    minidock.ok("network", "create", "other")
    run(minidock, "in-other", "--network", "other", "-p", "5353:5353/udp")
    pids = {}
    for name in ("closed", "open"):
        run(minidock, f"in-{name}", "--network", name)
        pids[name] = lookup.find(store, f"in-{name}").state["Pid"]
    with NetworkNamespace(lookup.find(store, "in-other").state["Pid"]):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server:
        server.bind(("", 5353))
        server.settimeout(patience(5))
        for name in ("closed", "open"):
            gateway = networks_of(minidock, f"in-{name}")[name]["IPAddress"].rpartition(".")[0]
            with (
                NetworkNamespace(pids[name]),
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
            ):
                client.sendto(name.encode(), (f"{gateway}.1", 5353))
        assert server.recv(16) == b"open", "the first to arrive, though the other was sent first"


def test_isolated_ports_of_a_bridge_do_not_hear_each_other(
    store: Store, minidock: Minidock, image: str
) -> None:
    option = "com.docker.network.bridge.enable_icc=false"
    minidock.ok("network", "create", "--subnet", "10.231.9.0/24", "-o", option, "apart")
    run(minidock, "aa", "--network", "apart")
    run(minidock, "bb", "--network", "apart")
    assert not reaches(minidock, "aa", networks_of(minidock, "bb")["apart"]["IPAddress"])
    assert reaches(minidock, "aa", "10.231.9.1")


def test_many_at_once_have_addresses_and_names_of_their_own(
    store: Store, minidock: Minidock, image: str
) -> None:
    minidock.ok("network", "create", "one")
    names = [f"c{number}" for number in range(12)]
    flags = ("run", "-d", "--network", "one", "-p", "80", "--name")
    for first in range(0, len(names), 6):
        started = [minidock.start(*flags, name, image, "sleep", "600")
                   for name in names[first : first + 6]]  # fmt: skip
        for process in started:
            assert process.wait(patience(60)) == 0, process.communicate()
    addresses = {networks_of(minidock, name)["one"]["IPAddress"] for name in names}
    assert len(addresses) == len(names)
    asked = " && ".join(f"nslookup {name}" for name in names)
    told = minidock.ok("exec", "c0", "sh", "-c", asked)
    assert set(re.findall(r"Address: (\S+)", told)) == addresses
    minidock.ok("rm", "-f", *names)
    minidock.ok("network", "rm", "one")


def test_command_that_was_killed_as_it_made_a_network_is_cleared_up(
    store: Store, minidock: Minidock, image: str
) -> None:
    minidock.ok("network", "create", "half")
    with LockedNetworks(store) as files:
        half = {key: value for key, value in read_all(store)[0].items() if key != "Subnet"}
        assert half["Name"] == "half"
        files.save(half)
    assert minidock.ok("network", "ls", "-q", "-f", "name=half") == ""
    minidock.ok("network", "create", "half")
    minidock.ok("run", "--rm", "--network", "half", image, "true")
    minidock.ok("network", "rm", "half")
    assert [link for link in links_of(store) if f"{store.bridge}-" in link] == []


@pytest.mark.parametrize("actor", ["monitor", "task"])
def test_connecting_that_dies_at_any_act_leaves_nothing(
    store: Store, minidock: Minidock, image: str, actor: str
) -> None:
    """The monitor, and the container's end is noted; or its child, and the container lives on."""
    minidock.ok("network", "create", "one")
    minidock.ok("run", "--rm", image, "true")  # the default network is there from now on
    run(minidock, "web", "-p", "80")
    minidock.ok("network", "connect", "one", "web")
    lines = Path(store.network_journal("one")).read_text().splitlines()
    acts = [record["begin"] for record in map(json.loads, lines)
            if record["actor"] == actor and "begin" in record]  # fmt: skip
    assert len(acts) >= {"monitor": 4, "task": 10}[actor], "sockets; a veth, addresses, rules"
    minidock.ok("rm", "-f", "web")
    for act in acts[::2]:
        fault = {"MINIDOCK_FAULT": f"{actor}:{act}:begin"}
        minidock.ok("run", "-d", "--name", "web", "-p", "80", image, "sleep", "600", env=fault)
        refused = minidock("network", "connect", "one", "web")
        said, state = {"monitor": ("has just ended", "exited"),
                       "task": ("child of the container's monitor was killed", "running"),
                       }[actor]  # fmt: skip
        assert refused.code == 1 and said in refused.stderr, str(refused)
        assert minidock.ok("ps", "-a", "--format", "{{.State}}") == state
        if state == "running":
            minidock.ok("stop", "-t", "0", "web")
        assert stores.leftovers(store) == [] and [n for n in read_all(store) if n["Leases"]] == []
        minidock.ok("rm", "web")


def test_events_tell_of_networks(store: Store, minidock: Minidock, image: str) -> None:
    follow = ("events", "--since", "1h", "--until", "0s", "--filter", "type=network")
    minidock.ok("network", "create", "one")
    run(minidock, "web")
    minidock.ok("network", "connect", "one", "web")
    minidock.ok("network", "disconnect", "one", "web")
    minidock.ok("network", "rm", "one")
    told = minidock.ok(*follow, "--format", "{{.Action}} {{.Actor.Attributes.name}}").splitlines()
    assert told == ["create one", "connect bridge", "connect one", "disconnect one", "destroy one"]


def test_a_name_server_that_is_asked_often_fills_no_journal(
    store: Store, minidock: Minidock, image: str
) -> None:
    minidock.ok("network", "create", "one")
    run(minidock, "web", "--network", "one")
    journal = Path(lookup.find(store, "web").paths.journal)
    before = journal.stat().st_size
    asked = "for i in 1 2 3 4 5; do nslookup web; nslookup no.such.example; done; true"
    minidock.ok("exec", "web", "sh", "-c", asked)
    grown = journal.read_text()[before:]
    assert "timer" not in grown and grown.count("setns") < 10
