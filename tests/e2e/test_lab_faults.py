"""lab fault: each fault is in the kernel, breaks what it says, and only its own repair helps.

One set-up serves all faults, on a machine of its own (support/lab.py). What the set-up does not do
is found out by its promises; whether the fault is there, the kernel and its tools are asked.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from minidock.cli.commands import COMMANDS
from minidock.engine.container.lookup import list_containers
from minidock.errors import Conflict, UsageError
from minidock.paths import Store
from minidock.teach.lab.fault.fault import Fault, choose
from minidock.teach.lab.fault.promises import PROMISES, find_broken
from minidock.teach.lab.fault.session import FAULTS, NoFault, Session, begin, current
from minidock.teach.lab.fault.shop import Shop
from support import machine, stores
from support.command import SOURCE, Minidock, environment
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
        r"\A-P FORWARD DROP\n(?!(.*\n)*-A FORWARD -j MINIDOCK-\S+(?<!-USER)$)",
    ),
    "stray-drop": ("iptables -S FORWARD", "-j DROP$"),
    "wrong-port-translated": (NAT, r"dport 8081 .*:8080$"),
    "wrong-address-translated": (NAT, r"dport 8081 .*\.255\.254:80$"),
    "no-masquerade": (f"{NAT} $CHAIN-OUT", r"\A(?!(.*\n)*.*! -o \S+ -j MASQUERADE)"),
    "no-loopback-masquerade": (f"{NAT} $CHAIN-OUT", r"\A(?!(.*\n)*.*-s 127.0.0.0/8)"),
    "loopback-not-routed": ("cat /proc/sys/net/ipv4/conf/$BRIDGE/route_localnet", "^0"),
    "no-hairpin-masquerade": (f"{NAT} $CHAIN-OUT", r"\A(?!(.*\n)*.*--ctstate DNAT)"),
    "bridge-down": ("ip link show $BRIDGE", "state DOWN"),
    "veth-detached": ("ip link show $WEB_VETH", r"\A(?!.*master)"),
    "small-mtu": ("ip link show $WEB_VETH", "mtu 600"),
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
        "ls $WORKER_MEMORY 2>/dev/null | wc -l; wc -l < $(dirname $WORKER_MEMORY)/cgroup.procs",
        r"\A(0|1\n0$)",  # in cgroup v2 there is no such file, in v1 there are no processes in it
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
        made.save_names()
        yield made
        not_kept = _not_kept(made) if made.containers() else {}
        made.end()
        assert not_kept == {}
        stores.wipe(Store(root))


@pytest.fixture
def whole(shop: Shop, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """The set-up; recreated after a test that did not repair it."""
    failed = request.session.testsfailed
    if not shop.containers():
        shop.make()
        shop.save_names()
    yield shop
    if request.session.testsfailed > failed:
        shop.end()
        shop.make()
        shop.save_names()


def _not_kept(shop: Shop, names: Iterable[str] | None = None) -> dict[str, str]:
    """What is still not kept after some time."""
    seen = find_broken(shop, names, seconds=ANSWER_SECONDS)
    deadline = time.monotonic() + patience(5)
    while seen and time.monotonic() < deadline:
        seen = find_broken(shop, seen, seconds=ANSWER_SECONDS)
    return seen


def _shows(shop: Shop, fault: Fault) -> bool:
    command, pattern = EVIDENCE[fault.name]
    return bool(re.search(pattern, shop.run_script(command).stdout, re.M))


def _comes_to_show(shop: Shop, fault: Fault, *, so: bool) -> bool:
    """Whether the kernel says so before long: a signal takes its time, as an end does."""
    deadline = time.monotonic() + patience(2)
    while (shown := _shows(shop, fault)) != so and time.monotonic() < deadline:
        time.sleep(0.02)
    return shown == so


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
    whole.run_script(_unlike(fault).fix)  # which may find nothing to repair
    assert _comes_to_show(whole, fault, so=True)
    seen = find_broken(whole, seconds=ANSWER_SECONDS)
    doubtful = {*seen} - {*fault.breaks, *fault.also}  # a machine that stood still for a moment?
    assert {*seen} - doubtful >= {*fault.breaks}, seen
    if doubtful:
        assert not find_broken(whole, doubtful)
    whole.sh(fault.fix)
    assert _comes_to_show(whole, fault, so=False)
    assert _not_kept(whole, fault.breaks) == {}  # the rest of them, the next test asks for


# --- a whole session, when the set-up of the tests above is away ---------------------------------


@pytest.fixture(scope="module")
def here(shop: Shop, _busybox_store: Path) -> Iterator[Store]:
    """Another store on the same machine, whose default network was used once."""
    shop.end()
    root = tempfile.mkdtemp(prefix="s", dir=os.environ["MINIDOCK_TEST_SESSION"])
    subprocess.run(["cp", "-a", f"{_busybox_store}/.", root], check=True)
    Minidock(root).ok("run", "--rm", "busybox", "true")
    Minidock(root).ok("system", "down")
    yield Store(root)
    stores.wipe(Store(root))


@pytest.fixture
def nothing_left(here: Store) -> Iterator[None]:
    """Afterwards there is what there was before."""
    before = _things(here)
    yield
    Minidock(here.root).ok("system", "down")
    deadline = time.monotonic() + patience(5)
    while (now := _things(here)) != before and time.monotonic() < deadline:
        time.sleep(0.02)  # a monitor that has taken all away has still to end
    assert now == before


def _things(store: Store) -> list[str]:
    """All objects in the kernel and the store, except those that a store keeps."""
    asked = ("iptables-save | grep '^[-:]' | sed 's/ .[0-9].*//'", "ip -o -br link", "ip route",
             "cat /proc/sys/net/ipv4/ip_forward")  # fmt: skip
    found = [line for command in asked for line in sh(command).splitlines()]
    found += [line for line in machine.mounts() if line.startswith(store.root)]
    found += [line for line in machine.cgroups() if store.cgroup_parent in line]
    found += [line for line in machine.processes() if store.root in line]
    for name in ("containers", "names", "volumes", "networks", "layers", "blobs/sha256", "staging"):
        directory = f"{store.root}/{name}"
        if os.path.isdir(directory):
            found += [f"{directory}/{entry}" for entry in os.listdir(directory) if entry[0] != "."]
    found += [Path(store.images).read_text(), str(os.path.exists(store.lab))]
    return sorted(found)


def _seed_of(name: str) -> str:
    return next(str(n) for n in range(len(FAULTS)) if choose(FAULTS, str(n)).name == name)


def test_a_fault_from_its_symptom_to_its_end(
    here: Store, nothing_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    minidock = Minidock(here.root)
    seed = _seed_of("stray-drop")
    told = minidock.ok("lab", "fault", seed)
    assert "another machine (lab-bank) gets a page" in told
    assert "DROP" not in told and "stray" not in told
    assert minidock("lab", "fault", seed).code == 1
    assert minidock.ok("lab", "fault", "--hint") == "minidock packet --from outside 8081"
    assert minidock("packet", "--from", "outside", "8081").code == 1
    still = minidock("lab", "check", "--json")
    assert still.code == 1
    assert {*json.loads(still.stdout)["broken"]} == {"other-host", "itself"}
    rule = sh("iptables -S FORWARD | grep '^-A.*DROP$'").split(maxsplit=1)[1]
    sh(f"iptables -D {rule}")
    repaired = minidock.ok("lab", "check")
    assert "a rule before all others" in repaired
    assert minidock("lab", "fault", "--end").code == 1


def test_at_the_end_of_one_that_was_not_repaired_nothing_is_left(
    here: Store, nothing_left: None
) -> None:
    session, _ = begin(here, _seed_of("black-hole"), is_allowed=lambda: False)
    for name in ("stray-drop", "work-of-stone", "frozen-cgroup"):  # more than one session has
        session.shop.sh(next(fault.inject for fault in FAULTS if fault.name == name))
    Session(here, {**session.note, "seed": _seed_of("stray-drop")}).undo()
    current(here).end()


def test_what_others_have_called_so_is_left_alone(here: Store, nothing_left: None) -> None:
    Minidock(here.root).ok("volume", "create", "lab-orders")
    with pytest.raises(Conflict, match="volume lab-orders"):
        begin(here, "1", is_allowed=lambda: True)
    Minidock(here.root).ok("volume", "rm", "lab-orders")


def test_one_that_was_killed_while_it_was_made_can_be_ended(
    here: Store, nothing_left: None
) -> None:
    making = Minidock(here.root).start("lab", "fault", "1", "--yes-in-a-vm")
    deadline = time.monotonic() + patience(30)
    while len(list_containers(here)) < 2:
        assert time.monotonic() < deadline and making.poll() is None
        time.sleep(0.02)
    making.kill()
    making.communicate()
    Minidock(here.root).ok("lab", "fault", "--end")


def test_the_end_of_one_that_was_ended_already_leaves_the_next_one_alone(
    here: Store, nothing_left: None
) -> None:
    first, _ = begin(here, _seed_of("black-hole"), is_allowed=lambda: False)
    also_first = current(here)
    first.end()
    second, _ = begin(here, _seed_of("black-hole"), is_allowed=lambda: False)
    there = {name: each.id for name, each in second.shop.containers().items()}
    with pytest.raises(Conflict, match="another one has been made"):
        also_first.end()
    with pytest.raises(Conflict, match="another one has been made"):
        also_first.hint()
    assert {name: each.id for name, each in second.shop.containers().items()} == there
    assert current(here).note == second.note and len(there) == 4
    second.end()
    with pytest.raises(NoFault):
        second.end()


def test_the_end_takes_nothing_of_others_out_of_the_directory(
    here: Store, nothing_left: None
) -> None:
    session, _ = begin(here, _seed_of("black-hole"), is_allowed=lambda: False)
    theirs = Path(here.lab, "notes")
    theirs.mkdir()
    (theirs / "mine").write_text("keep this")
    unfinished = Path(f"{here.lab_note}.{os.getpid()}.new")  # of who writes a note just now
    unfinished.write_text("{}")
    session.end()
    assert sorted(os.listdir(here.lab)) == sorted([theirs.name, unfinished.name])
    assert (theirs / "mine").read_text() == "keep this"
    shutil.rmtree(theirs)
    unfinished.unlink()
    os.rmdir(here.lab)


@pytest.mark.parametrize(
    "uses",
    ["--network lab-shop busybox", "-v lab-orders:/x busybox", "-v DISK:/x busybox", "lab-shop"],
)
def test_the_end_takes_nothing_that_another_container_uses(
    here: Store, nothing_left: None, uses: str
) -> None:
    minidock = Minidock(here.root)
    session, _ = begin(here, _seed_of("black-hole"), is_allowed=lambda: False)
    words = uses.replace("DISK", session.shop.disk).split()
    minidock.ok("run", "-d", "--name", "mine", *words, "sleep", "1000")
    before = {each.id for each in list_containers(here) if each.running}
    answer = minidock("lab", "fault", "--end")
    assert answer.code == 1 and "container mine uses" in answer.stderr, str(answer)
    assert {each.id for each in list_containers(here) if each.running} == before
    assert os.path.ismount(session.shop.disk) and current(here).note == session.note
    minidock.ok("rm", "-f", "mine")
    minidock.ok("lab", "fault", "--end")


def test_the_end_leaves_an_image_that_was_made_of_the_shops(
    here: Store, nothing_left: None
) -> None:
    session, _ = begin(here, _seed_of("black-hole"), is_allowed=lambda: False)
    minidock = Minidock(here.root)
    minidock.ok("commit", "lab-web", "mine:of-the-shop")
    session.end()
    assert "of-the-shop" in minidock.ok("images")
    minidock.ok("rmi", "mine:of-the-shop")


def test_its_end_waits_until_it_is_made(here: Store, nothing_left: None) -> None:
    minidock = Minidock(here.root)
    making = minidock.start("lab", "fault", "1", "--yes-in-a-vm")
    deadline = time.monotonic() + patience(30)
    while len(list_containers(here)) < 2:
        assert time.monotonic() < deadline and making.poll() is None
        time.sleep(0.02)
    assert minidock("lab", "fault", "2").code == 1  # at once
    minidock.ok("lab", "fault", "--end")
    _, said = making.communicate()
    assert making.returncode == 0, said


def test_its_end_waits_for_a_script_whose_caller_was_killed(here: Store) -> None:
    program = (
        "from minidock.paths import Store\n"
        "from minidock.teach.lab.fault.shop import Shop\n"
        f"Shop(Store({here.root!r})).sh('touch $PLACE/begun; sleep 1; touch $PLACE/ended')"
    )
    env = {**environment(here.root), "PLACE": here.root}
    killed = subprocess.Popen([sys.executable, "-c", program], env=env)
    deadline = time.monotonic() + patience(10)
    while not Path(here.root, "begun").exists():
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert not Path(here.root, "ended").exists()
    Shop(here).end()
    assert Path(here.root, "ended").exists()


def test_a_fault_that_others_feel_is_for_a_machine_that_may_break(
    here: Store, nothing_left: None
) -> None:
    for fault in FAULTS:
        if fault.shared:
            with pytest.raises(UsageError, match="touches more than its set-up"):
                begin(here, _seed_of(fault.name), is_allowed=lambda: False)
    assert [fault.name for fault in FAULTS if fault.shared] == [
        "forwarding-off", "forward-drop", "limit-not-in-force"
    ]  # fmt: skip


def test_the_same_seed_has_the_same_fault_in_every_process() -> None:
    program = (
        "from minidock.teach.lab.fault.session import FAULTS, choose\n"
        "print(*(choose(FAULTS, seed).name for seed in [*map(str, range(99)), 'alice', 'боб']))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in "12"
    ]
    assert told[0] == told[1]
    assert {*told[0][: len(FAULTS)]} == {fault.name for fault in FAULTS}  # numbers leave none out
    assert choose(FAULTS, "11").breaks == ("here",)  # docs/faults.md shows it


def test_every_fault_has_evidence_promises_and_something_to_look_at() -> None:
    promises = {promise.name for promise in PROMISES}
    assert {fault.name for fault in FAULTS} == {*EVIDENCE}
    for fault in FAULTS:
        assert fault.breaks and {*fault.breaks, *fault.also} <= promises
        views = [words for words in map(str.split, fault.look) if words[0] == "minidock"]
        assert views and {words[1] for words in views} <= {*COMMANDS}
    broken_by_one = {name for fault in FAULTS for name in fault.breaks}
    assert broken_by_one == promises  # each promise is broken by some fault, and so can be
