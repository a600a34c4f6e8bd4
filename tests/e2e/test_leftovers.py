"""`system check`: what minidock left behind is what the kernel and the disk have too much of.

One of each kind is left by hand, or by a monitor that is killed; what is listed is compared with
/proc, ip, iptables-save and the cgroup trees, and after --repair with what was there before. Beside
it a container runs, of which nothing is ever listed, and which still answers afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support import machine, stores
from support.command import Minidock, environment
from support.leftover_scenes import beside_ours
from support.patience import patience

pytestmark = pytest.mark.root

Found = set[tuple[str, str]]


def _listed(minidock: Minidock, *flags: str) -> Found:
    """(kind, name) of each line; the exit code agrees."""
    answer = minidock("system", "check", *flags)
    lines = [x for x in answer.stdout.splitlines() if "   " in x]
    assert answer.code == (1 if lines and "--repair" not in flags else 0), str(answer)
    words = [line.removeprefix("removed ") for line in lines]
    return {(word[:10].strip(), word[10:].split("   ")[0]) for word in words}


@pytest.fixture
def web(minidock: Minidock, busybox_image: str) -> Iterator[str]:
    """A container that runs, with a published port; its port."""
    index = "mkdir /w; echo here > /w/index.html; httpd -f -h /w"
    minidock.ok("run", "-d", "--name", "web", "-p", "127.0.0.1::80", busybox_image, "sh", "-c",
                index)  # fmt: skip
    port = minidock.ok("port", "web", "80").rpartition(":")[2]
    yield port
    minidock.ok("rm", "-f", "web")


def _answers(port: str) -> bool:
    deadline = time.monotonic() + patience(5)
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=patience(5)) as answer:
                return bool(answer.read() == b"here\n")
        except OSError:
            time.sleep(0.05)
    return False


def _of(store: Store) -> machine.Snapshot:
    """What the machine has that bears the store's name, and what is in its directories."""
    marks = stores.marks(store)
    seen = machine.snapshot()
    kinds = ("mount", "link", "firewall rule", "cgroup", "process", "file")
    found = {kind: {x for x in seen[kind] if any(m in x for m in marks)} for kind in kinds}
    found["disk"] = {
        f"{folder}/{name}"
        for folder in (store.run, store.root, store.containers, store.names, store.volumes,
                       store.staging, store.networks)
        if os.path.isdir(folder)
        for name in os.listdir(folder)
        if not name.startswith(".")
    }  # fmt: skip
    found["disk"] -= {store.volumes, store.staging}
    return found


def test_what_a_killed_monitor_left_is_listed_as_the_kernel_has_it_and_goes(
    store: Store, minidock: Minidock, busybox_image: str, web: str
) -> None:
    assert _listed(minidock) == set()
    before = _of(store)
    flags = ("-d", "--name", "lost", "-p", "127.0.0.1::7", "--ipc", "shareable")
    lost = minidock.ok("run", *flags, busybox_image, "sleep", "600")
    state = json.loads(minidock.ok("inspect", "lost"))[0]
    pid, address = state["State"]["Pid"], state["NetworkSettings"]["IPAddress"]
    assert _listed(minidock) == set(), "it runs, and needs all of it"
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    left = _of(store)
    expected: Found = {("process", f"{pid} sleep"), ("address", f"{address} of network bridge")}
    expected |= {("mount", m.split()[0]) for m in left["mount"] - before["mount"]}
    expected |= {("link", x.partition(" ")[0]) for x in left["link"] - before["link"]}
    expected |= {
        ("rule", rule.partition(" ")[2].replace(" ", ": ", 1))
        for rule in left["firewall rule"] - before["firewall rule"]
    }
    expected |= {
        ("cgroup", _in_tree(store, path))
        for path in left["cgroup"] - before["cgroup"]
        if path.endswith(lost)
    }
    expected.add(("directory", f"{store.run}/{lost}"))
    assert {kind for kind, _ in expected} == {
        "process", "address", "mount", "link", "rule", "cgroup", "directory"
    }  # fmt: skip
    assert _listed(minidock) == expected == _listed(minidock), "only looked at, twice"
    assert _listed(minidock, "--repair") == expected
    assert _listed(minidock) == set()
    assert minidock.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "lost") == (
        "exited 137"
    )
    minidock.ok("rm", "lost")
    assert _of(store) == before
    assert _answers(web)


def _seed(store: Store) -> Found:
    """Create one leftover of each kind; returns what `system check` must list."""
    gone, staged = "f" * 64, f"{store.staging}/load-1-1"
    left: Found = set()
    for path in (f"{store.run}/{gone}", f"{store.containers}/{gone}", staged):
        os.makedirs(f"{path}/inner")
        left.add(("directory", path))
    os.makedirs(f"{store.volumes}/half/_data")
    left.add(("directory", f"{store.volumes}/half"))
    subprocess.run(["mount", "-t", "tmpfs", "left", f"{staged}/inner"], check=True)
    left.add(("mount", f"{staged}/inner"))
    for path, text in ((f"{store.networks}/bridge.json.new", "{"),
                       (f"{store.root}/images.json.4194305.new", "{")):  # fmt: skip
        Path(path).write_text(text)
        left.add(("file", path))
    os.symlink(gone, f"{store.names}/nobody")
    left.add(("file", f"{store.names}/nobody"))
    cable, other = f"veth{store.bridge[-8:]}fff", f"{store.bridge[:10]}-x"
    for words in (
        ["add", cable, "type", "veth", "peer", "name", "md-peer"],
        ["set", cable, "master", store.bridge],
        ["add", other, "type", "bridge"],
        ["set", other, "alias", f"minidock {store.root}"],
    ):
        subprocess.run(["ip", "link", *words], check=True)
    left |= {("link", cable), ("link", other)}
    chain = f"MINIDOCK-{store.bridge}"
    port, to = "-p tcp -m tcp --dport 7", "-j DNAT --to-destination 192.0.2.9:7"
    rule = f"{port} -m comment --comment {gone[:12]} {to}"
    for words in (f"-t nat -A {chain} {rule}", f"-N MINIDOCK-{other}",
                  f"-I FORWARD -j MINIDOCK-{other}"):  # fmt: skip
        subprocess.run(["iptables", "-w", *words.split()], check=True)
    left |= {("rule", f"nat: -A {chain} {rule}"), ("rule", f"MINIDOCK-{other}")}
    return left | _seed_process(store, gone) | _seed_monitor() | _seed_files(store, gone)


def _seed_files(store: Store, gone: str) -> Found:
    """What no document names, and what a writer or a container left that was killed."""
    left: Found = {("layer", store.layer("e" * 64)), ("file", store.blob("d" * 64))}
    os.makedirs(f"{store.layer('e' * 64)}/diff")
    step = f"{store.build_steps}/{'c' * 64}.4194305.new"
    user = f"{store.run}/volumes/gone/{gone}"
    for path, text in ((store.blob("d" * 64), "{}"), (step, "{"), (user, "")):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_text(text)
    return left | {("file", step), ("file", user)}


def _seed_monitor() -> Found:
    """A monitor that waits for its command's word, which will not come: the command has gone, and
    a program that it had started still holds the connection."""
    spawn = """
import os, subprocess
from minidock.engine.lifecycle.start import spawn_monitor
from minidock.paths import Store
socket, _ = spawn_monitor(Store())
devnull = subprocess.DEVNULL
subprocess.Popen(["sleep", "60"], pass_fds=[socket.fileno()], stdout=devnull, stderr=devnull,
                 env={})
print(open("/proc/thread-self/children").read().split()[0], flush=True)
"""
    pid = subprocess.check_output([sys.executable, "-c", spawn], text=True, env=environment())
    return {("process", f"{pid.strip()} monitor")}


def _seed_process(store: Store, gone: str) -> Found:
    """A cgroup in which a process lives, that no container has."""
    trees = [c for c in machine.cgroups() if c.endswith(f"/{store.cgroup_parent}")]
    parent = next((tree for tree in trees if tree.startswith("/sys/fs/cgroup/pids/")), trees[0])
    os.mkdir(f"{parent}/{gone}")
    shell = "sleep 600 >/dev/null 2>&1 & echo $!"
    pid = subprocess.check_output(["sh", "-c", shell], text=True, start_new_session=True).strip()
    Path(f"{parent}/{gone}/cgroup.procs").write_text(pid)
    path = _in_tree(store, f"{parent}/{gone}")
    return {("process", f"{pid} sleep"), ("cgroup", path)}


def _in_tree(store: Store, directory: str) -> str:
    """A cgroup's path below the root of its tree: v2 has one tree, v1 many, and ours on top."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return directory.removeprefix("/sys/fs/cgroup")
    return directory[directory.index(f"/{store.cgroup_parent}/") :]


def test_one_leftover_of_each_kind_is_listed_and_removed_and_nothing_else(
    store: Store, minidock: Minidock, web: str
) -> None:
    minidock.ok("volume", "create", "whole")
    os.makedirs(store.build_steps)
    somebodys = f"MINIDOCK-{store.bridge} -s 192.0.2.7/32 -j DROP"
    subprocess.run(["iptables", "-w", "-A", *somebodys.split()], check=True)
    before = _of(store)
    left = _seed(store)
    assert _of(store) != before
    assert _listed(minidock) == left
    assert minidock("system", "check", "--quiet").stdout == ""
    assert _listed(minidock, "--repair") == left
    assert _of(store) == before
    subprocess.run(["iptables", "-w", "-D", *somebodys.split()], check=True)  # it was left alone
    assert _listed(minidock) == set()
    assert "no leftovers" in minidock.ok("system", "check", "--repair")
    assert _answers(web)
    assert minidock.ok("volume", "ls", "-q") == "whole"


def test_the_rules_of_a_bridge_that_was_deleted_go_and_come_again_with_it(
    store: Store, minidock: Minidock, busybox_image: str
) -> None:
    assert _listed(minidock) == set(), "a store in which nothing has run"
    minidock.ok("run", "--rm", busybox_image, "true")
    kept = minidock.ok("system", "check", "--all").partition("kept for the next")[2]
    for name in (store.sealed, store.bridge, f"MINIDOCK-{store.bridge}", store.cgroup_parent):
        assert name in kept
    subprocess.run(["ip", "link", "delete", store.bridge], check=True)
    assert _listed(minidock) == {("rule", f"MINIDOCK-{store.bridge}")}
    _listed(minidock, "--repair")
    assert not [rule for rule in machine.firewall_rules() if store.bridge in rule]
    minidock.ok("run", "--rm", busybox_image, "true")
    assert _listed(minidock) == set()
    minidock.ok("system", "down")
    assert "kept for the next container" in minidock.ok("system", "check", "--all")
    assert not [rule for rule in machine.firewall_rules() if store.bridge in rule]


def test_what_cannot_be_removed_is_named_and_the_exit_code_says_so(
    store: Store, minidock: Minidock
) -> None:
    minidock.ok("volume", "create", "whole")
    stuck = Path(store.volumes, "half")
    (stuck / "_data").mkdir(parents=True)
    subprocess.run(["chattr", "+i", stuck / "_data"], check=True)
    try:
        answer = minidock("system", "check", "--repair")
        assert answer.code == 1 and str(stuck) in answer.stderr, str(answer)
        assert "Operation not permitted" in answer.stderr
    finally:
        subprocess.run(["chattr", "-i", stuck / "_data"], check=True)
    assert _listed(minidock, "--repair") == {("directory", str(stuck))}


@pytest.mark.parametrize("kind", ["container", "volume"])
def test_a_removal_that_the_kernel_forbids_says_what_to_do(
    store: Store, minidock: Minidock, busybox_image: str, kind: str
) -> None:
    box = minidock.ok("run", "-d", "-v", "kept:/k", busybox_image, "mkdir", "-p", "/a/b", "/k/b")
    minidock.ok("wait", box)
    words, where = ("rm", "-f", box), store.container(box).upper
    if kind == "volume":
        minidock.ok(*words)
        words, where = ("volume", "rm", "kept"), store.volume("kept")
    subprocess.run(["chattr", "+i", next(Path(where).rglob("b"))], check=True)
    answer = minidock(*words)
    left = answer.stderr.partition("minidock: ")[2].partition(" cannot be removed: b: Op")[0]
    assert os.path.isdir(left), str(answer)
    subprocess.run(["chattr", "-i", next(Path(left).rglob("b"))], check=True)
    assert answer.code == 1 and answer.stdout == "", str(answer)
    assert re.findall("`(.*?)`", answer.stderr) == [
        f"lsattr -aR {left}", "chattr -i FILE", "minidock system check --repair"
    ]  # fmt: skip
    minidock.ok("system", "check", "--repair")
    assert not os.path.exists(left) and minidock.ok("system", "check") == "no leftovers"


def test_what_somebody_has_put_beside_ours_stays_whatever_command_runs(
    store: Store, minidock: Minidock, busybox_image: str
) -> None:
    """Also in an interrupted store: the next holder of its lock repairs it."""
    minidock.ok("volume", "create", "kept")
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "600")
    theirs = beside_ours(store)
    Path(store.lock).write_bytes(b"!")
    for words in (("ps", "-a"), ("run", "--rm", busybox_image, "true"), ("tag", "busybox", "two"),
                  ("builder", "prune", "-af"), ("system", "check", "--repair"), ("rm", "-f", "box"),
                  ("rmi", "busybox", "two"), ("image", "prune", "-af"), ("network", "prune", "-f"),
                  ("system", "check"), ("system", "down")):  # fmt: skip
        answer = minidock(*words)
        assert (answer.code, answer.stderr) == (0, ""), str(answer)
        gone = [str(path) for path in theirs if not path.exists()]
        assert gone == [], f"taken by {words}"
    assert {path.read_text() for path in theirs if path.is_file()} == {"leave this", "{"}
    assert all((path / "README").is_file() for path in theirs if path.is_dir())


def test_what_a_lab_leaves_without_its_note_goes_once_no_container_has_it(
    store: Store, minidock: Minidock, busybox_image: str
) -> None:
    disk = f"{store.lab}/disk"
    os.makedirs(f"{store.lab}/image/shop")
    os.mkdir(disk)
    subprocess.run(["mount", "-t", "tmpfs", "lab", disk], check=True)
    Path(store.lab, "fault.json").write_text("{")
    minidock.ok("run", "-d", "--name", "worker", "-v", f"{disk}:/disk", busybox_image, "sleep", "9")
    minidock.ok("system", "check", "--repair")
    assert not os.path.exists(f"{store.lab}/fault.json") and _listed(minidock) == set()
    assert os.path.ismount(disk), "worker has it"
    minidock.ok("rm", "-f", "worker")
    left = {("mount", disk), ("directory", disk), ("directory", f"{store.lab}/image")}
    assert _listed(minidock) == left
    assert _listed(minidock, "--repair") == left
    assert not [mount for mount in machine.mounts() if store.lab in mount]
    assert not os.path.exists(store.lab)
    assert _listed(minidock) == set()


def test_containers_on_their_way_in_and_out_are_never_listed(
    minidock: Minidock, busybox_image: str
) -> None:
    ended: list[int] = []

    def come_and_go() -> None:
        for _ in range(5):
            ended.append(minidock("run", "--rm", "-p", "80", busybox_image, "true").code)

    traffic = threading.Thread(target=come_and_go)
    traffic.start()
    looks = 0
    while traffic.is_alive():
        assert _listed(minidock) == set()
        looks += 1
    traffic.join()
    assert ended == [0] * 5 and looks >= 3


def _held(store: Store, box: str) -> dict[str, list[str]]:
    """All that the machine has of the store and of a script, and the store's own files."""
    marks = {*stores.marks(store), box}
    found = {
        "mounts": Path("/proc/self/mountinfo").read_text().splitlines(),
        "cgroups": [
            f"{c}: {Path(c, 'cgroup.procs').read_text().split()}"
            for c in sorted(machine.cgroups())
            if f"/{store.cgroup_parent}/" in f"{c}/" and os.path.exists(f"{c}/cgroup.procs")
        ],
        "rules": sorted(machine.firewall_rules()),
        "links": sorted(machine.links()),
        "run": _files(store.run),
        "store": [f for f in _files(store.root) if not f.startswith(f"{store.root}/staging")],
    }
    return {
        kind: [
            line
            for line in lines
            if ".jsonl" not in line and "log.json" not in line  # they grow
            if any(mark in line for mark in marks)
        ]
        for kind, lines in found.items()
    }


def _files(top: str) -> list[str]:
    listed = []
    for folder, _, names in os.walk(top):
        if "/merged" not in folder:
            stats = [(n, os.lstat(f"{folder}/{n}")) for n in names]
            listed += [f"{folder}/{n} {s.st_ino} {s.st_size} {s.st_mtime_ns}" for n, s in stats]
    return sorted(listed)


def test_repair_changes_nothing_of_what_runs(
    store: Store, minidock: Minidock, web: str, tmp_path: Path
) -> None:
    """Running, stopped and paused containers, mounted volumes, a script and a build at work, and an
    administrator's rule in our chain: all of it is after the repair what it was before."""
    minidock.ok("network", "create", "net")
    minidock.ok("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "scratch")
    minidock.ok("run", "-d", "--name", "one", "--network", "net", "-p", "127.0.0.1::80",
                "-v", "scratch:/s", "busybox", "sh", "-c", "echo x >/s/x; sleep 900")  # fmt: skip
    minidock.ok("run", "-d", "--name", "two", "-v", "kept:/k", "--ipc", "shareable",
                "--restart", "always", "busybox", "sleep", "900")  # fmt: skip
    minidock.ok("run", "--name", "end", "-v", "kept:/k", "busybox", "true")
    minidock.ok("pause", "two")
    chain = ("-t", "nat", f"MINIDOCK-{store.bridge}")
    theirs = ("-p", "tcp", "--dport", "7", "-j", "DNAT", "--to-destination", "192.0.2.9:7")
    subprocess.run(["iptables", "-w", *chain[:2], "-A", chain[2], *theirs], check=True)
    box = tmp_path / "box.sh"
    box.write_text(minidock.ok("script", "run", "-p", "127.0.0.1:8197:80", "busybox", "sh", "-c",
                               "echo up; exec sleep 900"))  # fmt: skip
    script = subprocess.Popen(["sh", box], stdout=subprocess.PIPE, start_new_session=True,
                              env={**os.environ, "BOX": f"{tmp_path}/box"})  # fmt: skip
    build = minidock.start("build", "-q", "-")
    try:
        assert script.stdout is not None and script.stdout.readline() == b"up\n"
        assert build.stdin is not None
        build.stdin.write(b"FROM busybox\nRUN echo one > /one\nRUN sleep 900\n")
        build.stdin.close()
        deadline = time.monotonic() + patience(30)
        while "sleep 900" not in minidock.ok(
            "ps", "--no-trunc", "--format", "{{.Command}}"
        ).replace("sleep 900", "", 2):
            assert time.monotonic() < deadline, "the build's step does not begin"
            time.sleep(0.1)
        before = _held(store, f"{tmp_path}/box")
        left = _seed_files(store, "f" * 64) | {("directory", f"{store.volumes}/half")}
        os.makedirs(f"{store.volumes}/half/_data")
        # A build may stand on a layer that nothing names, so none is taken while one is at work.
        orphans = {("layer", store.layer("e" * 64)), ("file", store.blob("d" * 64))}
        assert _listed(minidock, "--repair") == left - orphans
        shutil.rmtree(store.layer("e" * 64))
        os.unlink(store.blob("d" * 64))
        assert _held(store, f"{tmp_path}/box") == before
        assert script.poll() is None and build.poll() is None
        assert minidock.ok("exec", "one", "cat", "/s/x") == "x"
        assert _answers(web)
    finally:
        for process in (script, build):
            os.killpg(process.pid, signal.SIGTERM) if process is script else process.terminate()
            process.wait(patience(30))
        subprocess.run(["iptables", "-w", *chain[:2], "-D", chain[2], *theirs], check=False)
        minidock("rm", "-f", "one", "two", "end")
        minidock("volume", "rm", "scratch", "kept")


def test_a_script_of_another_store_does_not_keep_a_damaged_network(
    minidock: Minidock, store: Store, tmp_path: Path
) -> None:
    minidock.ok("network", "create", "net")
    assert os.stat(store.root).st_mode & 0o777 == 0o710, "the store's first command is this one"
    with subprocess.Popen(["sleep", "600"]) as program:
        fields = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()
        record = Path(f"/run/minidock-script-{hashlib.sha256(store.root.encode()).hexdigest()}")
        try:
            for owner, code in ((store.root, 1), (tmp_path, 0)):
                Path(store.networks, "net.json").write_text("{")
                record.write_text(f"{program.pid} {fields[19]}\n{tmp_path}/box\n{owner}\n")
                answer = minidock("system", "check", "--repair")
                assert answer.code == code, str(answer)
                assert ("not moved" in answer.stderr) == bool(code), str(answer)
        finally:
            record.unlink(missing_ok=True)
            program.kill()
