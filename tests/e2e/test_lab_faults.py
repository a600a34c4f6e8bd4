"""lab fault: each fault is in the kernel, breaks what it says, and only its own repair helps.

One set-up serves all faults, on a machine of its own (support/lab.py). What the set-up does not do
is found out by its promises; whether the fault is there, the kernel and its tools are asked.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from minidock.errors import Conflict
from minidock.paths import Store
from minidock.teach.lab.fault.fault import Fault, choose
from minidock.teach.lab.fault.promises import broken
from minidock.teach.lab.fault.session import FAULTS, begin, current
from minidock.teach.lab.fault.shop import Shop
from support import machine, stores
from support.command import SOURCE, Minidock
from support.lab import machine_of_its_own, sh
from support.patience import patience, steps

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("faults")]

ANSWER_SECONDS = 0.4
NAT = "iptables -t nat -S"
CLIENT, WEB, WORKER = (f"nsenter -t ${x}_PID" for x in ("CLIENT", "WEB", "WORKER"))
MOUNTS = "cat /proc/$WORKER_PID/mountinfo"
# fault -> what asks the kernel, and what it says where the fault is, and nowhere else
EVIDENCE = {
    "forwarding-off": ("cat /proc/sys/net/ipv4/ip_forward", "^0"),
    "forward-drop": (
        "iptables -S FORWARD",
        r"\A-P FORWARD DROP\n(?!(.*\n)*-A FORWARD -j MINIDOCK-)",
    ),
    "stray-drop": ("iptables -S FORWARD", "-j DROP$"),
    "wrong-port-translated": (NAT, r"dport 8081 .*:8080$"),
    "wrong-address-translated": (NAT, r"dport 8081 .*\.255\.254:80$"),
    "no-masquerade": (f"{NAT} $CHAIN-OUT", r"\A(?!(.*\n)*.*! -o \S+ -j MASQUERADE)"),
    "no-loopback-masquerade": (f"{NAT} $CHAIN-OUT", r"\A(?!(.*\n)*.*-s 127.0.0.0/8)"),
    "loopback-not-routed": ("cat /proc/sys/net/ipv4/conf/$BRIDGE/route_localnet", "^0"),
    "no-hairpin": ("ip -d link show $WEB_CABLE", "hairpin off"),
    "bridge-down": ("ip link show $BRIDGE", "state DOWN"),
    "cable-unplugged": ("ip link show $WEB_CABLE", r"\A(?!.*master)"),
    "thin-cable": ("ip link show $WEB_CABLE", "mtu 600"),
    "black-hole": ("ip route", "blackhole"),
    "wrong-default-route": (f"{CLIENT} -n ip route", r"default via \S+\.255\.254"),
    "interface-down": (f"{CLIENT} -n ip link show eth0", "state DOWN"),
    "address-taken": (f"{CLIENT} -n ip address show lo", r"inet 172\.|inet 192\.168\.|inet 10\."),
    "wrong-neighbour": (f"{CLIENT} -n ip neighbour", "02:00:00:00:00:99 PERMANENT"),
    "loopback-down": (f"{WEB} -n ip link show lo", "state DOWN"),
    "resolver-of-the-host": (f"{CLIENT} -m cat /etc/resolv.conf", r"nameserver 127\.0\.0\.53"),
    "old-hosts-entry": (f"{CLIENT} -m cat /etc/hosts", "255.254 lab-web"),
    "listens-to-itself": (f"{WEB} -n ss -ltn", r"127\.0\.0\.1:80 "),
    "wrong-port-published": (NAT, r"dport 8081 .*:8080$"),
    "wrong-network": (f"{WEB} -n ip -o address; ip -o address show $BRIDGE",
                      r"\A(?!(?s:.*) (\d+\.\d+)\.0\.\d+/16 (?s:.*) \1\.0\.1/16)"),
    "layers-in-wrong-order": (f"{WEB} -m cat /srv/index.html", "winter"),
    "hidden-by-a-whiteout": ("ls -l $WEB_HOME/upper/srv", r"c\S+ .* 0, +0 .*prices"),
    "work-of-stone": ("grep ' / / ' /proc/$CLIENT_PID/mountinfo", r"overlay \S+ ro,"),
    "full-layer": ("df $WORKER_HOME/space", "100%|9[6-9]%"),
    "no-such-interpreter": ("cat /proc/$WORKER_PID/comm", r"\A(?!docker-init)"),
    "not-executable": ("cat /proc/$WORKER_PID/comm", r"\A(?!docker-init)"),
    "volume-covered": (MOUNTS, r" /orders .* - tmpfs"),
    "volume-of-root": ("stat -c %u $ORDERS", "^0"),
    "volume-read-only": (MOUNTS, r" /orders ro"),
    "another-volume": (MOUNTS, r"/lab-order/_data /orders "),
    "shared-propagation": (MOUNTS, r" /disk \S+ shared:"),
    "no-proc": (MOUNTS, r"\A(?!(.*\n)*\S+ \S+ \S+ \S+ /proc )"),
    "mask-gone": (MOUNTS, r"\A(?!(.*\n)*\S+ \S+ \S+ \S+ /proc/keys )"),
    "null-is-a-file": (f"{WORKER} -m stat -c %F /dev/null", "^regular"),
    "stopped-server": ("grep State /proc/$WEB_PID/status", "T "),
    "frozen-cgroup": ("cat $WEB_FREEZER", "^(1|FROZEN)"),
    "nobody-reaps": ("cat /proc/$WORKER_PID/comm", r"\A(?!docker-init)"),
    "too-little-memory": ("cat $WORKER_MEMORY", "^8388608"),
    "too-few-processes": ("cat $WORKER_PIDS", "^4"),
    "hardly-any-processor": ("cat $WORKER_CPU", "^3000"),
    "limit-not-in-force": (
        "cat $WORKER_MEMORY $(dirname $WORKER_MEMORY)/cgroup.procs 2>/dev/null | wc -l",
        "^[01]$",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(_busybox_store: Path) -> Iterator[Shop]:
    """The set-up, on a machine of its own."""
    root = tempfile.mkdtemp(prefix="s", dir=os.environ["MINIDOCK_TEST_SESSION"])
    subprocess.run(["cp", "-a", f"{_busybox_store}/.", root], check=True)
    with pytest.MonkeyPatch.context() as patch, machine_of_its_own():
        patch.setenv("MINIDOCK_ROOT", root)
        patch.setenv("PYTHONPATH", str(SOURCE))
        made = Shop(Store(root))
        made.make()
        made.keep()
        yield made
        not_kept = _not_kept(made)
        made.end()
        assert not_kept == {}
        stores.wipe(Store(root))


@pytest.fixture
def whole(shop: Shop, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """The set-up; made anew after a test that did not repair it."""
    failed = request.session.testsfailed
    yield shop
    if request.session.testsfailed > failed:
        shop.end()
        shop.make()
        shop.keep()


def _not_kept(shop: Shop, names: Iterable[str] | None = None) -> dict[str, str]:
    """What is still not kept after some time."""
    seen = broken(shop, names, seconds=ANSWER_SECONDS)
    deadline = time.monotonic() + patience(5)
    while seen and time.monotonic() < deadline:
        seen = broken(shop, seen, seconds=ANSWER_SECONDS)
    return seen


def _shows(shop: Shop, fault: Fault) -> bool:
    command, pattern = EVIDENCE[fault.name]
    return bool(re.search(pattern, shop.ended(command).stdout, re.M))


def _unlike(fault: Fault) -> Fault:
    """A fault of another part: the next one whose repair is no new container."""
    place = FAULTS.index(fault)
    following = [*FAULTS[place + 1 :], *FAULTS[:place]]
    return next(f for f in following if f.part != fault.part and "minidock r" not in f.fix)


@pytest.mark.parametrize("fault", steps(FAULTS, "faults"), ids=lambda fault: fault.name)
def test_a_fault_breaks_what_it_says_and_only_its_own_repair_helps(
    whole: Shop, fault: Fault
) -> None:
    assert not _shows(whole, fault)
    whole.sh(fault.inject)
    whole.ended(_unlike(fault).fix)  # which may find nothing to repair
    assert _shows(whole, fault)
    seen = broken(whole, seconds=ANSWER_SECONDS)
    doubtful = {*seen} - {*fault.breaks, *fault.also}  # a machine that stood still for a moment?
    assert {*seen} - doubtful >= {*fault.breaks}, seen
    if doubtful:
        assert not broken(whole, doubtful)
    whole.sh(fault.fix)
    assert not _shows(whole, fault)
    assert _not_kept(whole, fault.breaks) == {}  # the rest of them, the next test asks for


# --- a whole session -----------------------------------------------------------------------------


@pytest.fixture
def here(shop: Shop, _busybox_store: Path) -> Iterator[Store]:
    """Another store on the same machine, whose ports are free: the other set-up is away."""
    shop.end()
    root = tempfile.mkdtemp(prefix="s", dir=os.environ["MINIDOCK_TEST_SESSION"])
    subprocess.run(["cp", "-a", f"{_busybox_store}/.", root], check=True)
    yield Store(root)
    stores.wipe(Store(root))
    shop.make()
    shop.keep()


def _things(store: Store) -> list[str]:
    """All that there is in the kernel and the store, but for what a store keeps."""
    asked = ("iptables-save | grep '^[-:]' | sed 's/ .[0-9].*//'", "ip -o -br link", "ip route",
             "cat /proc/sys/net/ipv4/ip_forward")  # fmt: skip
    found = [line for command in asked for line in sh(command).splitlines()]
    found += [line for line in machine.mounts() if line.startswith(store.root)]
    found += [line for line in machine.cgroups() if store.cgroup_parent in line]
    found += [line for line in machine.processes() if store.root in line]
    for directory in (store.containers, store.names, store.volumes, store.networks, store.layers):
        found += [f"{directory}/{name}" for name in os.listdir(directory) if name[0] != "."]
    found += [Path(store.images).read_text(), str(os.path.exists(store.lab))]
    return sorted(found)


def _seed_of(name: str) -> str:
    return next(str(n) for n in range(len(FAULTS)) if choose(FAULTS, str(n)).name == name)


@pytest.mark.parametrize("name", ["stray-drop", "black-hole", "work-of-stone", "frozen-cgroup"])
def test_after_its_end_nothing_is_left_though_it_was_not_repaired(here: Store, name: str) -> None:
    Minidock(here.root).ok("run", "--rm", "busybox", "true")
    Minidock(here.root).ok("system", "down")
    before = _things(here)
    session, seen = begin(here, _seed_of(name), is_allowed=lambda: False)
    assert len(seen) >= len(session.fault.breaks)
    with pytest.raises(Conflict):
        begin(here, "1", is_allowed=lambda: True)
    current(here).end()
    Minidock(here.root).ok("system", "down")
    assert _things(here) == before
