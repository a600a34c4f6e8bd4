"""lab quiz: each answer is what the kernel says, and nothing is left however the quiz ends.

What the quiz says is held against /proc, the store's directories, ip, ss and iptables, looked at by
this test for itself while the quiz waits for the next guess.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pexpect
import pytest

from minidock.paths import Store
from minidock.teach.lab.quiz.quiz import POOL, draw
from support import machine
from support.command import Minidock, command_line, environment
from support.patience import patience
from support.stores import leftovers

pytestmark = pytest.mark.root

MONITOR = "the container's monitor"
UPPER, LAYER = "its own upper directory", "a layer of the image"
TMPFS, VOLUME = "memory: a tmpfs", "the volume's directory"
BOUND = "a file of the host, mounted over it"


class Box:
    """The quiz's container, as the kernel and the disk show it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.id = next(n for n in os.listdir(store.containers) if len(n) == 64)
        self.paths = store.container(self.id)
        self.volume = next(Path(store.volumes).glob("quiz-*/_data"))

    def pids(self) -> list[int]:
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if self.id in (directory / "cgroup").read_text():
                    found.append(int(directory.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    @property
    def pid(self) -> int:
        """The host's number of its PID 1: a list of /proc is no picture of one moment."""
        deadline = time.monotonic() + patience(5)
        while True:
            for pid in self.pids():
                with suppress(FileNotFoundError, ProcessLookupError):
                    if self.status(pid, "NSpid").split()[1:] == ["1"]:
                        return pid
            assert time.monotonic() < deadline, f"{self.id}: no PID 1 among {self.pids()}"

    def status(self, pid: int, field: str) -> str:
        return next(
            line.partition(":")[2].strip()
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith(f"{field}:")
        )

    @property
    def parent(self) -> int:
        return int(self.status(self.pid, "PPid"))

    def ns(self, kind: str, pid: int | str = 0) -> int:
        return int(os.readlink(f"/proc/{pid or self.pid}/ns/{kind}").strip(f"{kind}:[]"))

    def mounts(self) -> dict[str, str]:
        """Mount points, and the types of what is mounted there."""
        lines = Path(f"/proc/{self.pid}/mounts").read_text().splitlines()
        return {line.split()[1]: line.split()[2] for line in lines}

    def enter(self, *words: str) -> str:
        return sh(f"nsenter -t {self.pid}", *words)

    @property
    def port(self) -> int:
        found = re.search(rf"--dport (\d+) .*{self.id[:12]}.*DNAT", sh("iptables -t nat -S"))
        assert found
        return int(found[1])

    @property
    def address(self) -> str:
        return str(json.loads(self.enter("-n ip -j -4 addr show eth0"))[0]["addr_info"][0]["local"])

    @property
    def bridge_address(self) -> str:
        shown = json.loads(sh(f"ip -j -4 addr show {self.store.bridge}"))
        return str(shown[0]["addr_info"][0]["local"])


def sh(*words: str) -> str:
    command = " ".join(words)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def _upper(box: Box, path: str) -> os.stat_result:
    return os.lstat(f"{box.paths.upper}/{path}")


def _in_upper(box: Box, path: str) -> str:
    return UPPER if os.path.exists(f"{box.paths.upper}/{path}") else LAYER


def _is_whiteout(box: Box) -> bool:
    found = _upper(box, "bin/vi")
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _veth(box: Box) -> str:
    index = json.loads(box.enter("-n ip -j link show eth0"))[0]["link_index"]
    return next(x["ifname"] for x in json.loads(sh("ip -j link")) if x["ifindex"] == index)


def _memory(box: Box) -> str:
    for where in machine.cgroups():
        for name in ("memory.limit_in_bytes", "memory.max"):
            found = Path(where, name)
            if where.endswith(f"/{box.id}") and found.exists():
                return found.read_text().strip()
    raise AssertionError("no memory limit")


def _same_as_the_volume(box: Box) -> bool:
    return os.path.samefile(f"/proc/{box.pid}/root/data/note", box.volume / "note")


def _monitor(box: Box) -> bool:
    return b"minidock.engine.monitor.main" in Path(f"/proc/{box.parent}/cmdline").read_bytes()


def _children_of_1(box: Box) -> list[tuple[str, str]]:
    """The command lines of PID 1's children, and the letter of their state."""
    found = []
    for p in box.pids():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if box.status(p, "PPid") == str(box.pid):
                words = Path(f"/proc/{p}/cmdline").read_text().replace("\0", " ")
                found.append((words, box.status(p, "State")[0]))
    return found


def _pid_of_second(box: Box) -> str:
    """The host's pid of the other container's PID 1, by its command and by its namespace."""
    own = box.ns("net")
    for line in sh("pgrep -x sleep").splitlines():
        try:
            inside = box.status(int(line), "NSpid").split()[1:]
            parent = box.status(int(line), "PPid")
            ours = box.store.root.encode() in Path(f"/proc/{parent}/environ").read_bytes()
            if inside == ["1"] and box.ns("net", line) != own and ours:
                return line
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended meanwhile
    raise AssertionError("the other container does not run")


def _sender(box: Box) -> str:
    connection = subprocess.Popen(
        ["sh", "-c", f"exec busybox nc 127.0.0.1 {box.port}"], stdin=subprocess.PIPE
    )
    deadline = time.monotonic() + patience(10)
    while not (seen := box.enter("-n ss -tnH state established sport = :80")):
        assert time.monotonic() < deadline
    connection.kill()
    connection.wait()
    return seen.split()[3].rpartition(":")[0].strip("[]").removeprefix("::ffff:")


def _kept(box: Box) -> bool:
    return (box.volume / "second").exists() and len(os.listdir(box.store.containers)) <= 2


# question -> what a student who knows all of it guesses
GUESSES: dict[str, Callable[[Box], str]] = {
    "pid-1": lambda box: "httpd",
    "pid-on-the-host": lambda box: str(box.pid),
    "parent": lambda box: MONITOR,
    "parent-inside": lambda box: "0",
    "orphan": lambda box: "PID 1 of the container",
    "zombie": lambda box: "it stays, as a zombie",
    "kill-1": lambda box: "nothing",
    "outside-the-cgroup": lambda box: MONITOR,
    "namespace-of-the-host": lambda box: "user",
    "inode-of-the-network": lambda box: str(box.ns("net")),
    "namespace-of-exec": lambda box: "that of PID 1 of the container",
    "host-name": lambda box: box.id[:12],
    "capabilities": lambda box: "14",
    "root-is": lambda box: "0",
    "filter-of-calls": lambda box: "2: a filter",
    "mount-inside": lambda box: "it is refused",
    "change-of-name": lambda box: "it is refused",
    "memory-limit": _memory,
    "cgroup-inside": lambda box: "/",
    "untouched-file": lambda box: LAYER,
    "copy-up": lambda box: UPPER,
    "change-of-mode": lambda box: "all of the file",
    "whiteout": lambda box: "a character device 0/0",
    "own-file-removed": lambda box: "nothing",
    "directory-anew": lambda box: "an attribute of var/spool",
    "hidden-by-a-mount": lambda box: TMPFS,
    "in-the-volume": lambda box: VOLUME,
    "root-file-system": lambda box: box.mounts()["/"],
    "hosts-file": lambda box: BOUND,
    "mounts-on-the-host": lambda box: "its root only",
    "gateway": lambda box: box.bridge_address,
    "veth": _veth,
    "rule-of-the-port": lambda box: f"{box.address}:80",
    "chain-of-a-local-packet": lambda box: "OUTPUT",
    "sender": _sender,
    "holder-of-the-port": lambda box: MONITOR,
    "published-port-inside": lambda box: "connection refused",
    "pid-after-restart": lambda box: "its pid inside",
    "gone-after-restart": lambda box: "/home/note, in a tmpfs",
    "left-after-rm": lambda box: "what it wrote to /data, the named volume",
}

# and what of it the kernel shows, once the quiz has revealed it
SHOWN: dict[str, Callable[[Box], bool]] = {
    "pid-1": lambda box: (
        os.readlink(f"/proc/{box.pid}/exe").startswith("/bin/")
        and Path(f"/proc/{box.pid}/cmdline").read_bytes().startswith(b"httpd\0")
    ),
    "parent": _monitor,
    "parent-inside": lambda box: "PPid:\t0" in box.enter("-p -m cat /proc/1/status"),
    "orphan": lambda box: ("sleep 4711 ", "S") in _children_of_1(box),
    "zombie": lambda box: "Z" in sh("ps -eo ppid=,stat= | grep", _pid_of_second(box)),
    "kill-1": lambda box: box.status(box.pid, "State")[0] == "S",
    "outside-the-cgroup": lambda box: box.parent not in box.pids() and len(box.pids()) > 1,
    "namespace-of-the-host": lambda box: (
        [kind for kind in ("mnt", "net", "user", "uts") if box.ns(kind) == box.ns(kind, "self")]
        == ["user"]
    ),
    "host-name": lambda box: box.enter("-u hostname") == box.id[:12],
    "capabilities": lambda box: bin(int(box.status(box.pid, "CapEff"), 16)).count("1") == 14,
    "root-is": lambda box: set(box.status(box.pid, "Uid").split()) == {"0"},
    "filter-of-calls": lambda box: box.status(box.pid, "Seccomp") == "2",
    "mount-inside": lambda box: "/tmp" not in box.mounts(),
    "change-of-name": lambda box: box.enter("-u hostname") == box.id[:12],
    "memory-limit": lambda box: _memory(box) == str(32 << 20),
    "cgroup-inside": lambda box: (
        box.id in Path(f"/proc/{box.pid}/cgroup").read_text()
        and box.ns("cgroup") != box.ns("cgroup", "self")
    ),
    "untouched-file": lambda box: _in_upper(box, "etc/passwd") == LAYER,
    "copy-up": lambda box: _in_upper(box, "etc/group") == UPPER,
    "change-of-mode": lambda box: (
        stat.S_IMODE(_upper(box, "etc/nsswitch.conf").st_mode) == 0o600
        and _upper(box, "etc/nsswitch.conf").st_blocks > 0
    ),
    "whiteout": _is_whiteout,
    "own-file-removed": lambda box: os.listdir(f"{box.paths.upper}/tmp") == [],
    "directory-anew": lambda box: (
        os.getxattr(f"{box.paths.upper}/var/spool", "trusted.overlay.opaque") == b"y"
    ),
    "hidden-by-a-mount": lambda box: (
        box.mounts()["/home"] == "tmpfs" and os.path.exists(f"/proc/{box.pid}/root/home/note")
    ),
    "in-the-volume": _same_as_the_volume,
    "root-file-system": lambda box: box.mounts()["/"] == "overlay",
    "hosts-file": lambda box: os.path.samefile(f"/proc/{box.pid}/root/etc/hosts", box.paths.hosts),
    "mounts-on-the-host": lambda box: (
        sh(f"awk '{{ print $2 }}' /proc/self/mounts | grep ^{box.paths.merged}") == box.paths.merged
    ),
    "gateway": lambda box: f"default via {box.bridge_address} " in box.enter("-n ip route") + " ",
    "rule-of-the-port": lambda box: (
        f"--to-destination {box.address}:80" in sh("iptables -t nat -S")
    ),
    "holder-of-the-port": lambda box: (
        {f"{box.parent}"} == set(re.findall(r"pid=(\d+)", sh(f"ss -ltnpH 'sport = :{box.port}'")))
    ),
    "published-port-inside": lambda box: box.enter(f"-n ss -ltnH 'sport = :{box.port}'") == "",
    "gone-after-restart": lambda box: (
        [os.path.exists(f"/proc/{box.pid}/root/{name}/note") for name in ("root", "home", "data")]
        == [True, False, True]
    ),
    "left-after-rm": _kept,
}


class Sitting:
    """A quiz that is run, a guess at a time."""

    def __init__(self, minidock: Minidock, *arguments: str) -> None:
        self.process = minidock.start("lab", "quiz", *arguments)

    def read(self) -> str:
        """What it says until it waits for a guess, or ends."""
        assert self.process.stdout is not None
        text = b""
        while not text.endswith(b"\n> ") and (byte := self.process.stdout.read(1)):
            text += byte
        return text.decode()

    def guess(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()


@pytest.fixture
def counted(minidock: Minidock) -> Iterator[Callable[[int], list[int]]]:
    """Rules that count the packets to a port, before anything has changed where they go."""
    ports: list[int] = []

    def count(port: int) -> list[int]:
        if port not in ports:
            ports.append(port)
            for chain in ("OUTPUT", "PREROUTING"):
                sh(f"iptables -w -t mangle -A {chain} -p tcp --dport {port}")
        return [
            int(sh(f"iptables -w -t mangle -nvxL {chain} | grep dpt:{port}").split()[0])
            for chain in ("OUTPUT", "PREROUTING")
        ]

    yield count
    for port in ports:
        for chain in ("OUTPUT", "PREROUTING"):
            sh(f"iptables -w -t mangle -D {chain} -p tcp --dport {port}")


def test_every_answer_is_what_the_kernel_says(
    minidock: Minidock, store: Store, busybox_image: str, counted: Callable[[int], list[int]]
) -> None:
    assert set(GUESSES) == set(POOL) and len(POOL) >= 20
    # Behind the last answer the container goes, and nothing of it could be looked at.
    seed = next(n for n in range(100) if draw(n, len(POOL))[-1].key not in SHOWN)
    sitting = Sitting(minidock, "--seed", str(seed), "--count", str(len(POOL)))
    text = sitting.read()
    box = Box(store)
    sent = counted(box.port)
    for number in range(1, len(POOL) + 1):
        found = re.search(rf"^{number}/{len(POOL)}  (\S+)$", text, re.MULTILINE)
        assert found, text
        key = found[1]
        sitting.guess(GUESSES[key](box))
        text = sitting.read()
        assert re.search(r"^      right: ", text, re.MULTILINE), f"{key}: {text}"
        assert "see for yourself: " in text
        assert key not in SHOWN or SHOWN[key](box), key
        if key == "chain-of-a-local-packet":
            assert counted(box.port)[0] > sent[0] and counted(box.port)[1] == 0
    assert text.endswith(f"{len(POOL)} of {len(POOL)} right\n")
    assert sitting.process.wait(patience(20)) == 0
    _nothing_is_left(minidock, store)


def _nothing_is_left(minidock: Minidock, store: Store) -> None:
    deadline = time.monotonic() + patience(20)
    while left := (leftovers(store) or os.listdir(store.containers) or os.listdir(store.volumes)):
        if left in ([".lock"], []):
            break
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert minidock.ok("ps", "-aq") == "" and minidock.ok("volume", "ls", "-q") == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_of_a_quiz_that_is_ended(
    minidock: Minidock, store: Store, busybox_image: str, number: signal.Signals
) -> None:
    sitting = Sitting(minidock, "--seed", "1")
    sitting.read()
    assert minidock.ok("ps", "-q") != ""
    sitting.process.send_signal(number)
    code = sitting.process.wait(patience(20))
    assert code == {signal.SIGINT: 130, signal.SIGKILL: -9}.get(number, 128 + number)
    assert sitting.process.stderr is not None and sitting.process.stderr.read() == b""
    _nothing_is_left(minidock, store)


def test_guesses_come_line_by_line(minidock: Minidock, busybox_image: str) -> None:
    answered = minidock.ok("lab", "quiz", "--seed", "5", "--count", "3", stdin="a\n\nnonsense\n")
    again = minidock.ok("lab", "quiz", "--seed", "5", "--count", "3", stdin="a\n\nnonsense\n")
    keys = re.findall(r"^\d/3  (\S+)$", answered, re.MULTILINE)
    assert keys == re.findall(r"^\d/3  (\S+)$", again, re.MULTILINE) and len(keys) == 3
    assert re.search(r"^[01] of 3 right$", answered, re.MULTILINE)
    for words in ("q\n", ""):
        ended = minidock.ok("lab", "quiz", stdin=words)
        assert ended.endswith("ended before question 1 was answered\n0 of 0 right")


def test_without_its_image_it_says_where_to_get_one(minidock: Minidock, store: Store) -> None:
    refused = minidock("lab", "quiz", stdin="")
    assert (refused.code, refused.stdout) == (1, "")
    assert "No such image: busybox" in refused.stderr
    assert "minidock image make busybox" in refused.stderr
    assert not os.path.exists(store.containers) or os.listdir(store.containers) == []
    for count in ("0", "-3", "1000"):
        assert "the maximum is " in minidock("lab", "quiz", f"--count={count}", stdin="").stderr


def test_on_a_terminal_a_slip_is_asked_again(minidock: Minidock, busybox_image: str) -> None:
    command, *arguments = [*command_line(), "lab", "quiz", "--seed", "12", "--count", "2"]
    terminal = pexpect.spawn(
        command,
        arguments,
        env={**environment(minidock.root), "NO_COLOR": "1"},
        encoding="utf-8",
        timeout=patience(20),
    )
    for line, said in (("zz", "one of the letters"), ("", r"  no: "), ("a", "of 2 right")):
        terminal.expect(r"\n> ")
        terminal.sendline(line)
        terminal.expect(said)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert minidock.ok("ps", "-aq") == ""
