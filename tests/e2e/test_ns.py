"""ns: the table and its numbers are those of lsns(8), and what is said to be hidden is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from minidock.engine.container import lookup
from minidock.paths import Store
from support.command import Minidock
from support.lsns import namespaces, namespaces_of
from support.patience import patience

pytestmark = pytest.mark.root

KINDS = ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"]


class Boxes:
    """web has namespaces of its own; peer has web's network and IPC, the host's PIDs and name."""

    def __init__(self, minidock: Minidock, image: str) -> None:
        self.minidock = minidock
        minidock.ok("run", "-d", "--name", "web", "--ipc", "shareable", image, "sleep", "600")
        shared = ("--network", "container:web", "--ipc", "container:web", "--pid", "host")
        minidock.ok("run", "-d", "--name", "peer", *shared, "--uts", "host", image, "sleep", "600")
        self.pid = {
            name: int(minidock.ok("inspect", "-f", "{{.State.Pid}}", name))
            for name in ("web", "peer")
        }

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = json.loads(self.minidock.ok("ns", "--json", *arguments))
        return told

    def inside(self, command: str) -> str:
        return self.minidock.ok("exec", "web", "sh", "-c", command)


@pytest.fixture
def boxes(minidock: Minidock, busybox_image: str) -> Iterator[Boxes]:
    yield Boxes(minidock, busybox_image)


def lsns(pid: int | str) -> dict[str, dict[str, Any]]:
    """What lsns says of a process's namespaces, by type. pid: or "self"."""
    if pid != "self":
        return namespaces_of(int(pid))
    own = {os.stat(f"/proc/self/ns/{kind}").st_ino for kind in KINDS}
    return {each["type"]: each for each in namespaces() if each["ns"] in own}


def sh(command: str) -> str:
    return subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=True
    ).stdout.strip()  # fmt: skip


def test_table_and_namespaces_are_those_of_lsns(boxes: Boxes) -> None:
    host, web, peer = boxes.json()
    assert [row["name"] for row in (host, web, peer)] == ["host", "web", "peer"]
    for row, pid in ((host, "self"), (web, boxes.pid["web"]), (peer, boxes.pid["peer"])):
        told = {kind: space["ns"] for kind, space in row["namespaces"].items()}
        assert told == {kind: each["ns"] for kind, each in lsns(pid).items()}
    shared = {kind: space["shared_with"] for kind, space in peer["namespaces"].items()}
    assert shared == {
        "mnt": [], "pid": ["host"], "net": ["web"], "ipc": ["web"], "uts": ["host"], "cgroup": [],
        "user": ["host", "web"], "time": ["host", "web"],
    }  # fmt: skip
    _page_of_the_table(boxes, web)
    for name in ("web", "peer"):
        of_kernel = lsns(boxes.pid[name])
        for each in boxes.json(name):
            own = {key: of_kernel[each["type"]][key] for key in ("ns", "nprocs", "pid")}
            if "host" not in each["shared_with"]:  # the host's processes come and go
                assert {key: each[key] for key in own} == own
            assert each["ns"] == own["ns"]
            assert sh(each["command"])
            assert each["hides"].startswith("nothing: ") == ("host" in each["shared_with"])
    _namespaces_of_web(boxes)


def _page_of_the_table(boxes: Boxes, web: dict[str, Any]) -> None:
    heading, first, second, third = boxes.minidock.ok("ns").splitlines()
    assert heading.split() == KINDS
    assert first.split()[0] == "host" and len(set(first.split())) == 9
    assert second.split()[1] == str(web["namespaces"]["mnt"]["ns"])
    assert third.split()[2:6] == ["host", "=web", "=web", "host"]
    assert "hides nothing: it is the host's." in boxes.minidock.ok("ns", "peer")


def _namespaces_of_web(boxes: Boxes) -> None:
    """What is seen inside, asked inside."""
    namespaces = {each["type"]: each for each in boxes.json("web")}
    assert namespaces["mnt"]["inside"] == int(boxes.inside("wc -l < /proc/self/mountinfo"))
    assert namespaces["pid"]["inside"] == {str(boxes.pid["web"]): 1}
    assert boxes.inside("ls -d /proc/[0-9]* | sort | head -n 1") == "/proc/1"
    assert str(boxes.pid["web"]) in sh(namespaces["pid"]["command"]).split()
    assert sorted(namespaces["net"]["inside"]) == boxes.inside("ls /sys/class/net").split()
    uts = namespaces["uts"]
    assert uts["inside"] == boxes.inside("hostname") == sh(uts["command"])
    assert uts["outside"] == sh("hostname")
    assert namespaces["cgroup"]["inside"] == ["/"]
    assert set(namespaces["cgroup"]["outside"]) == {
        line.split(":", 2)[2] for line in sh(f"cat /proc/{boxes.pid['web']}/cgroup").splitlines()
    }
    assert namespaces["ipc"]["inside"] == 0
    made = sh(f"nsenter -t {boxes.pid['web']} -i ipcmk -Q").rpartition(" ")[2]
    assert {each["type"]: each for each in boxes.json("web")}["ipc"]["inside"] == 1
    assert made in sh(namespaces["ipc"]["command"])


def test_its_first_process_has_the_number_that_the_kernel_gives_it(
    minidock: Minidock, busybox_image: str
) -> None:
    """Number 1 where the PID namespace is its own; another in one that it shares."""
    minidock.ok("run", "-d", "--name", "own", busybox_image, "sleep", "600")
    for name, mode in (("guest", "container:own"), ("open", "host")):
        minidock.ok("run", "-d", "--name", name, "--pid", mode, busybox_image, "sleep", "600")
    for name in ("own", "guest", "open"):
        pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", name)
        *_, inside = sh(f"grep NSpid: /proc/{pid}/status").split()
        heading = minidock.ok("ns", name).splitlines()[0]
        init = next(p for p in json.loads(minidock.ok("where", "--json", name))["parts"]
                    if p["name"] == "init")  # fmt: skip
        assert re.findall(r"\d+", heading.removeprefix(name)) == {
            "own": ["1", pid], "guest": [pid, inside], "open": [pid],
        }[name]  # fmt: skip
        told = re.findall(r"\d+", init["what"])
        assert told == ([pid] if name == "open" else [pid, inside])


def test_namespaces_made_inside_are_shown_with_their_owners(
    minidock: Minidock, busybox_image: str
) -> None:
    """As lsns has them: several at once, one in another, and beside the host's processes."""
    deeper = "unshare -Urpf sh -c 'unshare -m sleep 601; :' & unshare -n sleep 602 & exec sleep 600"
    minidock.ok("run", "-d", "--privileged", "--name", "web", busybox_image, "sh", "-c",
                f"unshare -Urpfn sleep 603 & {deeper}")  # fmt: skip
    minidock.ok("run", "-d", "--privileged", "--pid", "host", "--network", "host", "--name", "open",
                busybox_image, "sh", "-c", "unshare -Uri sleep 604; :")  # fmt: skip
    for name, sleepers in (("web", ("601", "602", "603")), ("open", ("604",))):
        pids = _sleeping(sleepers)
        first = int(minidock.ok("inspect", "-f", "{{.State.Pid}}", name))
        own = {each["ns"] for each in namespaces_of(first).values()}
        columns = ("-o", "NS,TYPE,NPROCS,PID,PNS,ONS")
        made = {
            each["ns"]: each for pid in pids for each in namespaces(*columns, "-p", str(pid))
            if each["ns"] not in own
        }  # fmt: skip
        assert made
        told = json.loads(minidock.ok("ns", "--json", name))
        nested = {each["ns"]: each for each in told if each["nested"]}
        assert not {each["ns"] for each in told if not each["nested"]} - own
        assert nested.keys() == made.keys()
        for inode, fact in made.items():
            said = {key: nested[inode][key] for key in fact}
            assert said == {**fact, "pns": fact["pns"] if fact["type"] in ("pid", "user") else 0}
            assert nested[inode]["owner_uid"] == 0
            assert str(inode) in sh(nested[inode]["command"])
        rows = [row for row in json.loads(minidock.ok("ns", "--json")) if row["within"] == name]
        shown = {space["ns"] for row in rows for space in row["namespaces"].values()}
        assert shown >= made.keys()
        text = minidock.ok("ns", name)
        assert text.count("made inside") == len(made)
        assert f"\n{name}:{rows[0]['pid']} " in minidock.ok("ns")


def _sleeping(seconds: tuple[str, ...]) -> list[int]:
    """The processes that sleep so long, once all of them do."""
    deadline = time.monotonic() + patience(10)
    while True:
        found = [sh(f"pgrep -f '^sleep {each}$' || :") for each in seconds]
        if all(found):
            return [int(pid) for pids in found for pid in pids.split()]
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_who_does_not_run_has_no_namespaces(minidock: Minidock, busybox_image: str) -> None:
    minidock.ok("create", "--name", "still", busybox_image)
    result = minidock("ns", "still")
    assert (result.code, result.stdout) == (1, "")
    assert "container still does not run: it has no namespaces" in result.stderr
    assert [row["name"] for row in json.loads(minidock.ok("ns", "--json"))] == ["host"]
    assert minidock("ns", "nobody").code == 1


def test_who_is_between_two_runs_has_a_monitor_and_no_namespaces(
    minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("run", "-d", "--name", "again", "--restart", "always", busybox_image, "false")
    deadline = time.monotonic() + patience(10)
    while "is restarting" not in (refused := minidock("ns", "again")).stderr:
        assert time.monotonic() < deadline, refused
    assert refused.code == 1
    while True:  # until it is looked at in a pause
        parts = json.loads(minidock.ok("where", "--json", "again"))["parts"]
        if kernel := [p for p in parts if p["section"].startswith("In the kernel")]:
            if [part["name"] for part in kernel] == ["monitor"]:
                break
        assert time.monotonic() < deadline, kernel
    assert "waits to start it again" in kernel[0]["what"]
    assert minidock.root in sh(f"tr '\\0' '\\n' < /proc/{kernel[0]['place']}/environ")


def test_who_has_ended_is_looked_at_when_its_monitor_has_said_so(
    store: Store, minidock: Minidock, busybox_image: str
) -> None:
    """Between the end of a process and its record there is a moment, here of a second or more."""
    minidock.ok("run", "-d", "--name", "short", busybox_image, "sleep", "1000")
    container = lookup.find(store, "short")
    later = threading.Timer(1.5, os.kill, (container.monitor_pid, signal.SIGCONT))
    os.kill(container.monitor_pid, signal.SIGSTOP)
    later.start()
    os.kill(int(container.state["Pid"]), signal.SIGKILL)
    assert "container short does not run" in minidock("ns", "short").stderr
    assert "a mount at /proc, not in a layer: a file system of type proc" in minidock.ok(
        "where", "short:/proc/self"
    )
    assert "It does not run" in minidock.ok("where", "short")
    later.join()


def _of(pid: int) -> dict[str, int]:
    return {kind: os.stat(f"/proc/{pid}/ns/{kind}").st_ino for kind in KINDS}


def _in_cgroup_of(pid: int) -> list[int]:
    """The processes in a process's cgroup, by /proc."""
    own = sh(f"cat /proc/{pid}/cgroup")
    entries = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [each for each in entries if sh(f"cat /proc/{each}/cgroup 2>/dev/null || :") == own]


POWER = ["--privileged"]
WITHOUT = ["--yes-in-a-vm", "--without", "capabilities,seccomp,masks"]
SHARED = {
    "web": [*POWER, "--ipc", "shareable"],
    "peer": [*POWER, "--net", "container:web", "--ipc", "container:web", "--pid", "container:web"],
    "third": [*POWER, "--network", "container:peer", "--pid", "container:peer", "--uts", "host"],
    "bare": [*WITHOUT, "--without", "net,pid,mount,uts,ipc,cgroup"],
    "half": [*WITHOUT, "--without", "pid,cgroup", "--ipc", "container:web"],
}
INSIDE = {
    "web": "unshare -n sleep 611 & unshare -Urmpf sh -c 'unshare -ni sleep 612; :' &",
    "peer": "unshare -i sleep 613 & unshare -mu sh -c 'unshare -n sleep 614; :' &",
    "third": "unshare -pf --mount-proc sh -c 'unshare -pf sleep 615; :' &",
    "bare": "unshare -n sh -c 'unshare -u sleep 616; :' &",
    "half": "unshare -Urn sleep 617 &",
}


def test_shared_namespaces_those_made_in_them_and_those_left_out_are_as_proc_has_them(
    minidock: Minidock, busybox_image: str
) -> None:
    first: dict[str, int] = {}
    for name, flags in SHARED.items():
        command = f"{INSIDE[name]} exec sleep 600"
        minidock.ok("run", "-d", "--name", name, *flags, busybox_image, "sh", "-c", command)
        first[name] = int(minidock.ok("inspect", "-f", "{{.State.Pid}}", name))
    _sleeping(tuple(str(number) for number in range(611, 618)))
    rows = json.loads(minidock.ok("ns", "--json"))
    own = {"host": _of(os.getpid()), **{name: _of(pid) for name, pid in first.items()}}
    by_name = {row["name"]: row for row in rows if not row["within"]}
    assert by_name.keys() == own.keys()
    for name, row in by_name.items():
        assert {kind: each["ns"] for kind, each in row["namespaces"].items()} == own[name]
        for kind, each in row["namespaces"].items():
            same = {other for other in own if other != name and own[other][kind] == own[name][kind]}
            told = {other for other in each["shared_with"] if ":" not in other}
            assert told == same, f"{name} {kind}"
    containers_own = {(kind, ns) for spaces in own.values() for kind, ns in spaces.items()}
    every = {each["ns"]: each for each in namespaces("-o", "NS,TYPE,NPROCS,PID,PNS,ONS")}
    for name, pid in first.items():
        inside = {item for each in _in_cgroup_of(pid) for item in _of(each).items()}
        told = json.loads(minidock.ok("ns", "--json", name))
        made = {(each["type"], each["ns"]) for each in told if each["nested"]}
        assert made == inside - containers_own, name
        for each in told:
            fact = every[each["ns"]]
            assert (each["pid"], each["nprocs"]) == (fact["pid"], fact["nprocs"]) or (
                each["ns"] in own["host"].values()
            ), f"{name}: {each} {fact}"
            if each["nested"]:
                assert each["ons"] == fact["ons"], f"{name}: {each} {fact}"
                assert each["pns"] == (fact["pns"] if each["type"] in ("pid", "user") else 0)
        rows_of = [row for row in rows if row["within"] == name]
        shown = {(kind, x["ns"]) for row in rows_of for kind, x in row["namespaces"].items()}
        assert made <= shown
        assert minidock("ns", name).code == 0


def test_a_namespace_of_two_containers_is_not_said_to_be_made_in_one_of_them(
    minidock: Minidock, busybox_image: str
) -> None:
    """Which of them made it, the kernel does not say."""
    run = ("run", "-d", "--privileged", "--pid", "host")
    minidock.ok(*run, "--name", "web", busybox_image, "sh", "-c",
                "unshare -n sleep 621 & exec sleep 600")  # fmt: skip
    (made,) = _sleeping(("621",))
    join = f"nsenter -t {made} -n unshare -i sleep 622 & nsenter -t {made} -n sleep 623 &"
    minidock.ok(*run, "--name", "guest", busybox_image, "sh", "-c", f"{join} exec sleep 600")
    (own, other) = _sleeping(("622", "623"))
    assert {_of(each)["net"] for each in (own, other)} == {_of(made)["net"]}
    nested = {
        name: {each["type"]: each for each in json.loads(minidock.ok("ns", "--json", name))
               if each["nested"]}
        for name in ("web", "guest")
    }  # fmt: skip
    assert nested["web"].keys() == {"net"} and nested["guest"].keys() == {"net", "ipc"}
    assert nested["web"]["net"]["ns"] == nested["guest"]["net"]["ns"] == _of(made)["net"]
    assert nested["web"]["net"]["shared_with"] == ["guest"]
    assert nested["guest"]["net"]["shared_with"] == ["web"]
    assert nested["guest"]["ipc"]["shared_with"] == []
    assert "made inside or in guest, 3 processes" in minidock.ok("ns", "web")
    text = minidock.ok("ns", "guest")
    assert "made inside or in web, 3 processes" in text and "made inside, 1 process" in text
