"""What `minidock doctor` predicts of the machine that this is, held against what then happens.

Each prediction ("can") is True, False, or None where the doctor cannot know. The tests do the thing
itself and compare; and they spoil a machine in one way after the other, to see both fail together.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.lookup import find
from minidock.engine.doctor.host import NEEDED
from minidock.engine.doctor.machine import Machine
from minidock.kernel import cgroup, link
from minidock.kernel.capability import DOCKER_DEFAULT, NAMES, available, names_of
from minidock.kernel.netlink import Netlink
from minidock.paths import Store
from support import machine
from support.command import Minidock, command_line, environment
from support.nobody import as_nobody
from support.patience import patience, steps

pytestmark = pytest.mark.root

V2 = cgroup.is_v2()
MIB = 1 << 20


@pytest.fixture(scope="module")
def can() -> dict[str, bool | None]:
    """The predictions, for a store beside those of the tests."""
    with tempfile.TemporaryDirectory(dir=os.environ["MINIDOCK_TEST_SESSION"]) as root:
        return dict(_report(Minidock(root))["can"])


def _report(minidock: Minidock) -> dict[str, Any]:
    answer = minidock("doctor", "--json")
    report: dict[str, Any] = json.loads(answer.stdout)
    assert answer.code == (0 if report["works"] else 1), str(answer)
    return report


def _agree(predicted: bool | None, happened: bool, what: str) -> None:
    assert predicted in (happened, None), f"{what}: predicted {predicted}, happened: {happened}"


# --- this machine, as it is ----------------------------------------------------------------------


def test_a_run_works_where_it_is_said_to(
    minidock: Minidock, busybox_image: str, can: dict[str, bool | None]
) -> None:
    alone = minidock("run", "--rm", "--network", "none", busybox_image, "true")
    _agree(can["run"], alone.code == 0, str(alone))
    bridged = minidock("run", "--rm", busybox_image, "true")
    _agree(can["network"], bridged.code == 0, str(bridged))
    assert can["run"] is not None and can["network"] is not None, "root finds these out"


# Limit -> flags, file inside the container (v1, v2), and what it then says (v1, v2).
LIMITS: dict[str, tuple[list[str], str, str, str, str]] = {
    "memory": (
        ["-m", "64m"], "memory/memory.limit_in_bytes", "memory.max", f"{64 * MIB}", f"{64 * MIB}",
    ),
    "swap": (
        ["-m", "64m", "--memory-swap", "128m"], "memory/memory.memsw.limit_in_bytes",
        "memory.swap.max", f"{128 * MIB}", f"{64 * MIB}",
    ),
    "cpu": (["--cpus", "0.5"], "cpu/cpu.cfs_quota_us", "cpu.max", "50000", "50000 100000"),
    "cpu shares": (["--cpu-shares", "512"], "cpu/cpu.shares", "cpu.weight", "512", "20"),
    "cpuset": (["--cpuset-cpus", "0"], "cpuset/cpuset.cpus", "cpuset.cpus", "0", "0"),
    "pids": (["--pids-limit", "50"], "pids/pids.max", "pids.max", "50", "50"),
}  # fmt: skip


def test_each_limit_holds_or_not_as_it_is_said(
    minidock: Minidock, busybox_image: str, can: dict[str, bool | None]
) -> None:
    assert set(LIMITS) <= set(can), "of each limit something is said"
    working = [name for name in LIMITS if can[name]]
    for together in (working, *([name] for name in LIMITS if not can[name])):
        flags = [word for name in together for word in LIMITS[name][0]]
        files = [LIMITS[name][2 if V2 else 1] for name in together]
        look = "; ".join(f"cat /sys/fs/cgroup/{file} || echo none" for file in files)
        line = ("run", "--rm", "--network", "none", *flags, busybox_image, "sh", "-c", look)
        answer = minidock(*line)
        seen = answer.stdout.splitlines()
        wanted = [LIMITS[name][4 if V2 else 3] for name in together]
        for name in together:
            _agree(can[name], answer.code == 0 and seen == wanted, f"{name}: {answer}")


def _a_disk() -> Path:
    for disk in sorted(Path("/sys/block").iterdir()):
        if not disk.name.startswith(("loop", "ram", "zram")):
            return disk
    pytest.skip("this kernel sees no disk")


def _write(directory: str, files: tuple[str, ...], value: str) -> bool:
    """Whether the kernel accepts a value in the first of these files that exists."""
    for file in files:
        if os.path.exists(f"{directory}/{file}"):
            try:
                Path(f"{directory}/{file}").write_text(value)
            except OSError:
                return False
            return True
    return False


def test_disks_can_be_slowed_and_weighted_as_it_is_said(
    minidock: Minidock, busybox_image: str, store: Store, can: dict[str, bool | None]
) -> None:
    minidock.ok("run", "-d", "--name", "box", "--network", "none", busybox_image, "sleep", "600")
    group = cgroup_of(store, find(store, "box").id)
    directory = group.paths()["" if V2 else "blkio"]
    number = (_a_disk() / "dev").read_text().strip()
    rate = f"{number} rbps=1073741824" if V2 else f"{number} 1073741824"
    _agree(can["io"], _write(directory, ("io.max", "blkio.throttle.read_bps_device"), rate), "io")
    weights = tuple(f"{kind}.weight" for kind in ("io", "io.bfq", "blkio", "blkio.bfq"))
    _agree(can["io weight"], _write(directory, weights, "100"), "io weight")
    minidock.ok("rm", "-f", "box")


def test_devices_are_guarded_and_containers_freeze_as_it_is_said(
    minidock: Minidock, busybox_image: str, can: dict[str, bool | None]
) -> None:
    major, minor = (_a_disk() / "dev").read_text().strip().split(":")
    steal = f"mknod /disk b {major} {minor} && dd if=/disk of=/dev/null bs=512 count=1"
    line = ("run", "--rm", "--network", "none", busybox_image, "sh", "-c", steal)
    _agree(can["devices"], "Operation not permitted" in minidock(*line).stderr, "devices")
    minidock.ok("run", "-d", "--name", "box", "--network", "none", busybox_image, "sleep", "600")
    _agree(can["pause"], minidock("pause", "box").code == 0, "pause")
    minidock.ok("rm", "-f", "box")


def test_user_namespaces_are_as_it_is_said(can: dict[str, bool | None]) -> None:
    def works(*command: str) -> bool:
        return (
            subprocess.run(
                command, capture_output=True, check=False, timeout=patience(60)
            ).returncode
            == 0
        )

    _agree(can["userns"], works("unshare", "--user", "true"), "user namespaces of root")
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    rights = ("unshare", "--user", "--map-root-user", "--mount", "true")
    _agree(can["unprivileged userns"], works(*nobody, *rights), "user namespaces of users")


@pytest.fixture
def neighbour() -> Iterator[str]:
    """A machine beside this one, that answers on port 8000: its address."""
    link, net = f"mdn{os.getpid() % 100000}", f"10.79.{os.getpid() % 250}"
    serve = (
        "import http.server as h, sys; print('up', flush=True); sys.stdin.readline();"
        "h.HTTPServer(('', 8000), h.SimpleHTTPRequestHandler).serve_forever()"
    )
    pipe = subprocess.PIPE
    server = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", serve],
        stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, cwd="/sys/kernel",
    )  # fmt: skip
    assert server.stdin is not None and server.stdout is not None
    server.stdout.readline()
    inside = f"nsenter --net=/proc/{server.pid}/ns/net "
    try:
        for command in (
            f"ip link add {link} type veth peer name eth0 netns {server.pid}",
            f"ip address add {net}.1/24 dev {link}",
            f"ip link set {link} up",
            inside + f"ip address add {net}.2/24 dev eth0",
            inside + "ip link set eth0 up",
        ):
            subprocess.run(command.split(), check=True, timeout=patience(60))
        server.stdin.write(b"go\n")
        server.stdin.flush()
        yield f"{net}.2"
    finally:
        server.kill()
        server.wait()
        server.stdin.close()
        server.stdout.close()
        subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)


def test_a_bridged_container_gets_out_and_is_reached_as_it_is_said(
    minidock: Minidock, busybox_image: str, can: dict[str, bool | None], neighbour: str
) -> None:
    fetch = (
        f"for i in 1 2 3 4 5; do wget -q -T 5 -O - http://{neighbour}:8000/ && exit; sleep 1; done"
    )
    out = minidock("run", "--rm", busybox_image, "sh", "-c", fetch)
    _agree(can["out"], "mm" in out.stdout, f"out: {out}")
    with socket.socket() as taken:  # a port that is free
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    serve = ("sh", "-c", "while :; do echo answer | nc -l -p 80; done")
    minidock("run", "-d", "--name", "web", "-p", f"{port}:80", busybox_image, *serve)
    _agree(can["publish"], _answers("127.0.0.1", port), "publish")
    minidock("rm", "-f", "web")


def _answers(address: str, port: int) -> bool:
    deadline = time.monotonic() + patience(5)
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, port), timeout=5) as connection:
                if b"answer" in connection.recv(100):
                    return True
        except OSError:
            time.sleep(0.1)  # nobody listens inside yet
    return False


def _handed_down() -> str:
    """The controllers that the root of the v2 tree hands down."""
    control = Path("/sys/fs/cgroup/cgroup.subtree_control")
    return control.read_text() if control.exists() else ""


@pytest.mark.alone
def test_the_doctor_leaves_nothing(minidock: Minidock, store: Store) -> None:
    before = machine.settings(), _handed_down()
    _report(minidock)
    assert not [path for path in machine.cgroups() if "minidock-doctor" in path]
    assert not [point for point in machine.mounts() if "minidock-doctor" in point]
    assert not [link for link in machine.links() if link.startswith("mdtry")]
    assert not os.listdir(store.root)
    assert (machine.settings(), _handed_down()) == before


def test_a_device_that_goes_meanwhile_is_no_matter(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container has ended between the look at the addresses and the look at the devices."""
    with Netlink() as host:
        seen = link.list_addresses(host)
    monkeypatch.setattr(link, "list_addresses", lambda _: [*seen, (1 << 30, "192.0.2.1", 24)])
    told = Machine(store).tell("addresses")
    assert "lo 127.0.0.1/8" in told and not [text for text in told if "192.0.2.1/" in text]


# --- machines that are spoilt --------------------------------------------------------------------


def _spoilt(minidock: Minidock, script: str, image: str, *flags: str) -> tuple[Any, str]:
    """The doctor's report, and what `run` says, on a machine that a shell script has spoilt.

    The script runs in a mount namespace of its own, and goes on as "$@".
    """
    tool = " ".join(shlex.quote(word) for word in command_line())
    run = shlex.join(["run", "--rm", *flags, image, "true"])
    both = (
        f"{tool} doctor --json; echo; echo =====; {tool} {run} 2>&1; echo ===== $?; "
        "umount -l /run/minidock-*/sealed/bin/python3 2>/dev/null"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f"{script}", "sh", "sh", "-c", both],
        env=environment(minidock.root), capture_output=True, text=True, check=False,
        timeout=patience(120),
    )  # fmt: skip
    assert done.stdout.count("=====") == 2, done.stdout + done.stderr
    report, said, code = done.stdout.split("=====")
    assert report.strip(), f"the doctor said nothing but: {done.stderr}"
    return json.loads(report), f"exit code {code.strip()}: {said.strip()}"


SPOILS: dict[str, tuple[str, str, str]] = {
    "a store on an overlay": (
        """mount -t overlay -o "lowerdir=$MINIDOCK_ROOT,upperdir=$BESIDE/up,workdir=$BESIDE/work" \\
           overlay "$MINIDOCK_ROOT" """,
        "Store", "overlay",
    ),
    "cgroups that are read-only": (
        """for at in $(awk '$3 ~ /^cgroup/ {print $2}' /proc/mounts); do
           mount -o remount,bind,ro $at; done""",
        "Cgroups", "creation",
    ),
    "a bridge that is somebody else's": ("export MINIDOCK_BRIDGE=lo", "Network", "bridge"),
    "a subnet that is taken": ("export MINIDOCK_SUBNET=127.0.0.0/8", "Network", "subnet"),
    "an invalid subnet": ("export MINIDOCK_SUBNET=10.0.0.1/8", "Network", "subnet"),
    "no iptables": (
        """for tool in /usr/sbin/iptables /usr/sbin/iptables-save; do
           mount --bind /dev/null $(readlink -f $tool); done""",
        "Network", "iptables",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILS)
def test_what_spoils_a_run_is_found(name: str, minidock: Minidock, busybox_image: str) -> None:
    script, topic, check = SPOILS[name]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as beside:
        for directory in ("up", "work"):
            os.mkdir(f"{beside}/{directory}")
        script = f'BESIDE={beside}\n{script}\nexec "$@"'
        report, ran = _spoilt(minidock, script, busybox_image)
    problems = [f for f in report["findings"] if f["verdict"] == "problem"]
    assert [(f["topic"], f["check"]) for f in problems] == [(topic, check)], problems
    assert problems[0]["fix"] and report["works"] is False
    assert not ran.startswith("exit code 0:"), ran
    assert "  hint: " in ran, ran
    assert name != "a store on an overlay" or "`minidock doctor`" in ran, ran


# A /dev of the test's own, in which nodes can be taken away; then it is put into its place.
DEV = """D=$AT/dev; mkdir $D; mount -t tmpfs none $D; for f in /dev/*; do
         if [ -L $f ] || [ ! -d $f ]; then cp -a $f $D
         else mkdir $D/${f##*/}; mount --rbind $f $D/${f##*/}; fi; done"""
PUT = "mount --rbind $D /dev"

# What is wrong -> how a machine gets so, topic and check of the finding, the network of `run`.
# Each happens in a mount namespace of the test, and leaves with it.
REPAIRABLE: dict[str, tuple[str, str, str, str]] = {
    "a store that is read-only": (
        'mount --bind "$MINIDOCK_ROOT" "$MINIDOCK_ROOT"; mount -o remount,bind,ro "$MINIDOCK_ROOT"',
        "Store", "writable", "none",
    ),
    "a disk for the store that is read-only": (
        """mount -t tmpfs none /mnt; cp -a "$MINIDOCK_ROOT/." /mnt; mount -o remount,ro /mnt
           mount --bind /mnt "$MINIDOCK_ROOT" """,
        "Store", "writable", "none",
    ),
    "/run that is read-only": (
        "mount -t tmpfs none /run; mount -o remount,ro /run", "Store", "writable", "none",
    ),
    "/run that has no room": (
        """mount -t tmpfs -o size=64k none /run
           dd if=/dev/zero of=/run/full bs=4k count=16 2>/dev/null""",
        "Store", "writable", "none",
    ),
    "/run that has no inodes": (
        "mount -t tmpfs -o nr_inodes=2 none /run; touch /run/last", "Store", "writable", "none",
    ),
    "/proc that is read-only": (
        "mount -t proc proc /proc; mount -o remount,bind,ro /proc",
        "Network", "forwarding", "bridge",
    ),
    "/proc/sys that is read-only": (
        "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys",
        "Network", "forwarding", "bridge",
    ),
    "few open files": ("ulimit -Sn 13", "Machine", "open files", "none"),
    "no /dev/null": (f"{DEV}; rm $D/null; {PUT}", "Machine", "devices", "bridge"),
    "a file in the place of /dev/null": (
        f"{DEV}; rm $D/null; echo text >$D/null; {PUT}", "Machine", "devices", "none",
    ),
    "a file mounted over /dev/null": (
        "echo text >$AT/file; mount --bind $AT/file /dev/null", "Machine", "devices", "none",
    ),
    "a directory in the place of /dev/null": (
        f"{DEV}; rm $D/null; mkdir $D/null; {PUT}", "Machine", "devices", "none",
    ),
    "a pipe in the place of /dev/null": (
        f"{DEV}; rm $D/null; mkfifo $D/null; {PUT}", "Machine", "devices", "none",
    ),
    "/dev/null that is /dev/zero": (
        f"{DEV}; rm $D/null; mknod -m 666 $D/null c 1 5; {PUT}", "Machine", "devices", "none",
    ),
    "/dev in which no device opens": (
        f"{DEV}; {PUT}; mount -o remount,nodev /dev", "Machine", "devices", "none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REPAIRABLE)
def test_the_fix_that_is_printed_repairs_the_machine(
    name: str, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    script, topic, check, network = REPAIRABLE[name]
    before, after = _repaired(minidock, script, check, tmp_path, busybox_image, network)
    problems = [f for f in before.report["findings"] if f["verdict"] == "problem"]
    assert [(f["topic"], f["check"]) for f in problems] == [(topic, check)], problems
    assert before.code != 0 and "  hint: `minidock doctor`" in before.said, before
    left = [f for f in after.report["findings"] if f["verdict"] == "problem"]
    assert (left, after.code) == ([], 0), (problems[0]["fix"], after)


# Node of /dev -> what is done to it; `run` works all the same.
LESSER_NODES = {
    "zero": "rm $D/zero",
    "random": "rm $D/random; ln -s zero $D/random",
    "urandom": "rm $D/urandom; echo 4 >$D/urandom",
    "tty": "rm $D/tty",
    "full": "chmod 600 $D/full",
    "null": "chmod 600 $D/null",
}


@pytest.mark.parametrize("node", LESSER_NODES)
def test_other_nodes_of_dev_are_named_and_repaired(
    node: str, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    script = f"{DEV}; {LESSER_NODES[node]}; {PUT}"
    before, after = _repaired(minidock, script, "devices", tmp_path, busybox_image, "none")
    assert (before.code, after.code) == (0, 0), (before, after)
    (found,) = [f for f in before.report["findings"] if f["check"] == "devices"]
    assert found["verdict"] == "warning" and f"/dev/{node} " in found["seen"]
    assert "ok" == {f["check"]: f["verdict"] for f in after.report["findings"]}["devices"]


def test_a_run_without_dev_null_leaves_no_container(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    script = f'{DEV}; rm $D/null; {PUT}; exec "$@"'
    words = [*command_line(), "run", "--rm", "--network", "none", busybox_image, "true"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, "sh", *words],
        env={**environment(minidock.root), "AT": str(tmp_path)}, capture_output=True, text=True,
        timeout=patience(60), check=False,
    )  # fmt: skip
    assert done.returncode == 125, done
    assert done.stderr.startswith("minidock: open(2) /dev/null: No such file or directory\n")
    assert minidock.ok("ps", "-aq") == ""


def test_a_store_in_a_ramfs_works_and_directories_are_replaced_after_the_fix(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    script = """mount -t tmpfs none /mnt; cp -a "$MINIDOCK_ROOT/." /mnt
                mount -t ramfs none "$MINIDOCK_ROOT"; cp -a /mnt/. "$MINIDOCK_ROOT"; umount /mnt"""
    replace = "echo runs; rm -r /home && mkdir /home && echo replaced"
    command = ("sh", "-c", replace)
    image = busybox_image
    before, after = _repaired(minidock, script, "overlay", tmp_path, image, "none", *command)
    verdicts = {f["check"]: f["verdict"] for f in before.report["findings"]}
    assert (verdicts["overlay"], verdicts["space"]) == ("warning", "ok")
    assert before.report["can"]["run"] is True and before.said.startswith("runs\n"), before
    assert before.code != 0, "overlayfs has begun to replace directories without attributes"
    assert (after.code, after.said) == (0, "runs\nreplaced\n"), after
    assert "ok" == {f["check"]: f["verdict"] for f in after.report["findings"]}["overlay"]


# A program that prints the fix of a check, out of a report in a file.
PICK = (
    "import json, sys; print(*[f['fix'] for f in json.load(open(sys.argv[1]))['findings'] "
    "if f['check'] == sys.argv[2] and f['fix']])"
)


@dataclass(frozen=True)
class Look:
    """The doctor's report, and how `run` ended."""

    report: dict[str, Any]
    code: int
    said: str


def _repaired(
    minidock: Minidock, script: str, check: str, at: Path, image: str, network: str, *command: str
) -> tuple[Look, Look]:
    """Of a machine that a shell script has spoilt; and after the finding's fix ran as printed."""
    tool = shlex.join(command_line())
    run = shlex.join(["run", "--rm", "--network", network, image, *(command or ["true"])])
    look = f'{tool} doctor --json >"$AT/$1.json"; {tool} {run} >"$AT/$1.out" 2>&1; '
    both = (
        f"look() {{ {look} echo $? >$AT/$1.code; }}\n{script}\nlook before\n"
        f'fix=$({sys.executable} -c {shlex.quote(PICK)} "$AT/before.json" {shlex.quote(check)})\n'
        'eval "$fix"\n'
        "look after; umount -l /run/minidock-*/sealed/bin/python3 2>/dev/null || true"
    )
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", both],
        env={**environment(minidock.root), "AT": str(at)}, capture_output=True, text=True,
        timeout=patience(120), check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stderr

    def seen(name: str) -> Look:
        report = json.loads((at / f"{name}.json").read_text())
        code = int((at / f"{name}.code").read_text())
        return Look(report, code, (at / f"{name}.out").read_text())

    return seen("before"), seen("after")


# --- firewalls ------------------------------------------------------------------------------------

# A base chain, as nft takes it -> the finding's check, and what is cut off before it.
FIREWALLS: dict[str, tuple[str, str]] = {
    "inet forward policy drop": ("FORWARD", "out"),
    "ip forward policy drop": ("FORWARD", "outside"),
    "inet forward policy accept reject": ("FORWARD", "out"),
    "inet input policy drop": ("INPUT", "loopback"),
    "inet forward policy accept ct state invalid drop": ("", ""),
    "inet input policy drop ct state established,related accept": ("", ""),
    "inet output policy drop": ("OUTPUT", "loopback"),
    "ip output policy accept reject": ("OUTPUT", "loopback"),
    "inet output policy accept ip6 daddr ::1 drop": ("", ""),
    "inet prerouting policy drop": ("prerouting", "out"),
    "ip prerouting:-150 policy drop": ("prerouting", "outside"),
    "ip prerouting:-300 policy accept iifname $BR drop": ("prerouting", "out"),
    "inet prerouting policy accept meta nfproto ipv6 drop": ("", ""),
    "ip postrouting policy drop": ("postrouting", "out"),
    "inet postrouting:-150 policy accept oifname $BR drop": ("postrouting", "loopback"),
    "ip postrouting policy accept ip saddr 192.0.2.7 drop": ("", ""),
    "netdev ingress@$BR policy drop": ("device chains", "out"),
    "inet ingress@$BR policy accept meta nfproto ipv4 drop": ("device chains", "loopback"),
    "netdev ingress@$BR policy accept ip saddr 192.0.2.7 drop": ("", ""),
    "bridge prerouting policy drop": ("bridge chains", "out"),
    "bridge forward policy drop": ("bridge chains", "neighbour"),
    "bridge input policy drop": ("bridge chains", "out"),
    "bridge output policy drop": ("bridge chains", "out"),
    "bridge postrouting policy drop": ("bridge chains", "out"),
    "bridge input policy accept ether type vlan drop": ("", ""),
    "legacy INPUT -P INPUT DROP": ("INPUT", "loopback"),
    "legacy OUTPUT -P OUTPUT DROP": ("OUTPUT", "loopback"),
    "legacy INPUT -A INPUT -m conntrack --ctstate ESTABLISHED -j REJECT": ("INPUT", "loopback"),
}

# A network namespace with a neighbour ($FAR) behind eth0; /run, and with it what is noted there,
# ends with the mount namespace. `ways` prints those that packets get through.
WORLD = r"""
mount -t tmpfs none /run; ip link set lo up
unshare --net sleep 600 & FAR=$!
while [ "$(readlink /proc/$FAR/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
far() { nsenter --net=/proc/$FAR/ns/net "$@"; }
ip link add up0 type veth peer name eth0 netns $FAR
ip address add 10.79.3.1/24 dev up0; ip link set up0 up
far ip address add 10.79.3.2/24 dev eth0; far ip link set eth0 up
nsenter --net=/proc/$FAR/ns/net $PYTHON -c 'import socket as s
server = s.create_server(("", 8000))
while 1: server.accept()[0].send(b"answer")' & SERVER=$!
call='import socket as s, sys
for _ in range(int(sys.argv[3])):
    try:
        with s.create_connection((sys.argv[1], int(sys.argv[2])), 1) as c: sys.exit(not c.recv(9))
    except OSError: pass
sys.exit(1)'
box() { $MINIDOCK run --rm $IMAGE sh -c "for i in \$(seq $2); do nc -w 1 $1 </dev/null |
        grep -q answer && exit; sleep 0.1; done; exit 1"; }
ways() {
    box '10.79.3.2 8000' $1 && echo out
    box "$WEB 80" $1 && echo neighbour
    $PYTHON -c "$call" 127.0.0.1 8081 $1 && echo loopback
    far $PYTHON -c "$call" 10.79.3.1 8081 $1 && echo outside
}
$MINIDOCK run -d --name web -p 8081:80 $IMAGE sh -c 'while :; do echo answer | nc -l -p 80; done' \
    >/dev/null
WEB=$($MINIDOCK inspect -f '{{.NetworkSettings.IPAddress}}' web)
BR=$($MINIDOCK network inspect -f '{{index .Options "com.docker.network.bridge.name"}}' bridge)
eval "$RULES"
$MINIDOCK doctor --json >$AT/before.json; ways 2 >$AT/before.ways
fix=$($PYTHON -c "$PICK" $AT/before.json "$CHECK"); eval "$fix"
$MINIDOCK doctor --json >$AT/after.json; ways 20 >$AT/after.ways
$MINIDOCK rm -f web >/dev/null; kill $FAR $SERVER
umount -l /run/minidock-*/sealed/bin/python3
"""


@pytest.mark.parametrize("chain", FIREWALLS)
def test_a_firewall_of_nftables_is_opened_by_the_fix(
    chain: str,
    minidock: Minidock,
    busybox_image: str,
    tmp_path: Path,
    require: Callable[[str], str],
) -> None:
    require("nft")
    check, closed = FIREWALLS[chain]
    family, hook, _, policy, *rule = chain.split()
    hook, _, device = hook.partition("@")
    hook, _, priority = hook.partition(":")
    hook += f" device {device}" if device else ""
    base = f"type filter hook {hook} priority {priority or 0}; policy {policy}; {' '.join(rule)}"
    rules = f"nft -f - <<END\ntable {family} mine {{\nchain its {{\n{base}\n}}\n}}\nEND"
    if family == "legacy":
        require("iptables-legacy")
        rules = f"iptables-legacy {chain.split(' ', 2)[2]}"
    done = subprocess.run(
        ["unshare", "--mount", "--net", "bash", "-c", WORLD],
        env={
            **environment(minidock.root), "AT": str(tmp_path), "PYTHON": sys.executable,
            "MINIDOCK": shlex.join(command_line()), "IMAGE": busybox_image, "PICK": PICK,
            "CHECK": check, "RULES": rules,
        },
        capture_output=True, text=True, timeout=patience(120), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, ways = [], []
    for when in ("before", "after"):
        report = json.loads((tmp_path / f"{when}.json").read_text())
        ill = [f for f in report["findings"] if f["topic"] == "Network" and f["fix"]]
        also = ("ports", "iptables") if family == "legacy" else ("ports",)
        found.append([f["check"] for f in ill if f["check"] not in also])
        ways.append(set((tmp_path / f"{when}.ways").read_text().split()))
    assert found == [[check] if check else [], []], (found, done.stderr)
    assert ways[1] == {"out", "neighbour", "loopback", "outside"}, (ways, done.stderr)
    assert closed not in ways[0], "packets got through: the warning is untrue"


def _with_capabilities(kept: list[str]) -> str:
    dropped = [name.lower() for name in NAMES if name not in kept]
    return f'exec capsh --drop={",".join(dropped)} --shell=/bin/sh -- -c \'exec "$@"\' sh "$@"'


def test_needed_capabilities_are_enough(
    minidock: Minidock, busybox_image: str, require: Callable[[str], str]
) -> None:
    require("capsh")
    report, ran = _spoilt(minidock, _with_capabilities([*NEEDED]), busybox_image)
    assert report["works"] is True and report["can"]["run"] is True
    assert ran.startswith("exit code 0:"), ran


@pytest.mark.parametrize("sealed", (False, True))
def test_an_unprivileged_container_hears_of_the_first_call_that_is_refused(
    sealed: bool, minidock: Minidock, busybox_image: str, require: Callable[[str], str]
) -> None:
    """And of nothing that undoing then cannot do. sealed: a run before it had all rights."""
    require("capsh")
    if sealed:
        minidock.ok("run", "--rm", "--network", "none", busybox_image, "true")
    script = _with_capabilities(list(DOCKER_DEFAULT))
    report, ran = _spoilt(minidock, script, busybox_image, "--network", "none")
    assert report["works"] is False
    first = "fsopen(2) overlay" if sealed else "open_tree(2)"
    assert f"minidock: {first}" in ran and "(EPERM)" in ran, ran
    assert "`minidock doctor`" in ran and "umount2" not in ran, ran


def test_the_securebit_that_takes_capabilities_away_is_found(
    minidock: Minidock, busybox_image: str
) -> None:
    """Its process has all of them, and a container's has none; with the fix it has its fourteen."""

    def effective(*before: str) -> list[str]:
        look = ("grep", "CapEff", "/proc/self/status")
        line = ("run", "--rm", "--network", "none", busybox_image, *look)
        told = subprocess.run(
            [*bits, *before, *command_line(), *line], env=environment(minidock.root),
            capture_output=True, text=True, check=True, timeout=patience(60),
        ).stdout  # fmt: skip
        return names_of(int(told.split()[1], 16))

    every = ",".join(f"+{name[4:].lower()}" for name in available())
    bits = ["setpriv", "--securebits", "+noroot", "--inh-caps", every, "--ambient-caps", every]
    report = subprocess.run(
        [*bits, *command_line(), "doctor", "--json"], env=environment(minidock.root),
        capture_output=True, text=True, check=False, timeout=patience(60),
    ).stdout  # fmt: skip
    (found,) = [f for f in json.loads(report)["findings"] if f["check"] == "privileges"]
    assert found["verdict"] == "warning" and "noroot" in found["seen"], found
    assert effective() == []
    fix = found["fix"].split()
    assert set(effective(*fix[: fix.index("minidock")])) == {*DOCKER_DEFAULT}


@pytest.mark.parametrize("missing", steps(NEEDED, "capabilities"))
def test_each_needed_capability_is_missed(
    missing: str, minidock: Minidock, busybox_image: str, require: Callable[[str], str]
) -> None:
    """The doctor's part, which looks at a mask, is tests/unit's."""
    require("capsh")
    script = _with_capabilities([name for name in NAMES if name != missing])
    run = [*command_line(), "run", "--rm", "--network", "none", busybox_image, "true"]
    done = subprocess.run(
        ["sh", "-c", script, "sh", *run],
        env=environment(minidock.root), capture_output=True, timeout=patience(120), check=False,
    )  # fmt: skip
    assert done.returncode == 125, done


def test_without_root_it_says_what_it_could_not_find_out(store: Store) -> None:
    done = subprocess.run(
        as_nobody(*command_line(), "doctor", "--json"),
        capture_output=True, text=True, check=False, timeout=patience(60),
        env=environment(store.root),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    verdicts = {f["check"]: f["verdict"] for f in report["findings"]}
    assert verdicts["privileges"] == "problem"
    assert {"namespaces", "seccomp", "overlay", "creation"} <= {
        check for check, verdict in verdicts.items() if verdict == "unknown"
    }
