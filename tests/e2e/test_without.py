"""A container without one isolation: the probes report what leaks, and the kernel agrees.

The table of probes and omissions is tests/fixtures/without/matrix.json. What could change the host
if it went wrong runs in a mount and a UTS namespace that are thrown away.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from minidock.cli.verbs.plan import plan
from minidock.paths import Store
from minidock.teach.without.isolations import ISOLATIONS
from support.command import REPOSITORY, Minidock, command_line, environment
from support.machine import mounts
from support.patience import long, patience

pytestmark = pytest.mark.root

MATRIX: dict[str, list[str]] = json.loads(
    (REPOSITORY / "tests/fixtures/without/matrix.json").read_text()
)
APART = ["unshare", "--mount", "--uts", "--propagation", "private"]
KINDS = {"pid": "pid", "mount": "mnt", "net": "net", "uts": "uts", "ipc": "ipc", "cgroup": "cgroup"}
# What the container's own command finds, by other means than the probes.
LOOK = """
for kind in pid mnt net uts ipc cgroup; do echo $kind $(readlink /proc/self/ns/$kind); done
grep -E '^(Seccomp|CapPrm):' /proc/self/status
grep -c ' /proc/sys ' /proc/self/mountinfo
mknod /dev/nobody c 10 254; cat /dev/nobody 2>&1
"""


def _run_apart(store: Store, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command line in namespaces of its own: its host is thrown away with it."""
    return subprocess.run(
        [*APART, *command_line(), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(store.root),
        timeout=patience(60),
        check=False,
    )


def _findings(stderr: str) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    return {told["probe"]: told for told in lines if told.get("view") and "probe" in told}


def _words(isolations: str) -> list[str]:
    """The flags of a row."""
    return ["--without", isolations, "--yes-in-a-vm", "--explain=json"]


def test_each_omission_flips_its_own_probes_and_the_couplings_of_the_docs(
    store: Store, busybox_image: str
) -> None:
    def measured(isolations: str) -> set[str]:
        done = _run_apart(
            store, "run", "--rm", *_words(isolations), busybox_image, "sh", "-c", LOOK
        )
        assert done.returncode == 1, done.stderr  # of LOOK's last command
        found = _findings(done.stderr)
        assert len(found) == 20
        _check_from_inside(isolations.split(","), done.stdout.splitlines())
        return {name for name, told in found.items() if told["leaked"]}

    with ThreadPoolExecutor(2) as pool:
        table = dict(zip(MATRIX, pool.map(measured, MATRIX), strict=True))
    assert table == {isolations: set(probes) for isolations, probes in MATRIX.items()}


WITNESS = """
for kind in pid net ipc cgroup; do echo $kind $(readlink /proc/self/ns/$kind); done
grep -E '^(Seccomp|CapPrm):' /proc/self/status
for process in /proc/[0-9]*; do stat -L -c 'root %d:%i' $process/root 2>/dev/null; done | sort -u
mknod /dev/nobody c 10 254; cat /dev/nobody 2>&1
"""
PAIRS = [",".join(pair) for pair in combinations(ISOLATIONS, 2)]
CAP_SYS_ADMIN = 1 << 21


@pytest.mark.parametrize("isolations", long(["pid,capabilities", "net,devices"], PAIRS))
def test_what_is_said_to_stand_stands_for_another_witness_too(
    store: Store, busybox_image: str, isolations: str
) -> None:
    """Of each pair of omissions. The witness is a shell in the container."""
    words = ["--without", isolations, "--yes-in-a-vm"]
    done = _run_apart(store, "run", "--rm", *words, busybox_image, "sh", "-c", WITNESS)
    standing = done.stderr.partition("still isolated: ")[2].splitlines()[0].split(", ")
    said = done.stdout.splitlines()
    told = dict(line.replace(":\t", " ").split(" ", 1) for line in said if not line[:4] == "root")
    root = os.stat("/")
    stands = {kind: told[kind] != os.readlink(f"/proc/self/ns/{kind}")
              for kind in ("pid", "net", "ipc", "cgroup")}  # fmt: skip
    stands["mount"] = f"root {root.st_dev}:{root.st_ino}" not in said
    stands["seccomp"] = told["Seccomp"].strip() == "2"
    stands["capabilities"] = not int(told["CapPrm"], 16) & CAP_SYS_ADMIN
    stands["devices"] = "Operation not permitted" in said[-1]
    assert [isolation for isolation in standing if not stands.get(isolation, True)] == []
    assert {*isolations.split(",")} & {*standing} == set()
    if "mount" not in isolations:
        assert stands["mount"] == ("mount" in standing)


def _check_from_inside(isolations: list[str], lines: list[str]) -> None:
    """What the command saw agrees: that isolation is missing, and no other."""
    shared = {kind for kind in KINDS.values() if f"{kind} {_link(kind)}" in lines}
    # The UTS and mount namespaces of the command line's own world are not this process's.
    apart = {KINDS[isolation] for isolation in isolations if isolation in KINDS} - {"uts", "mnt"}
    assert shared == apart
    told = dict(line.split() for line in lines[6:8])
    assert (told["Seccomp:"] == "0") == ("seccomp" in isolations)
    assert (int(told["CapPrm:"], 16) >> 21 & 1) == ("capabilities" in isolations)  # CAP_SYS_ADMIN
    assert (lines[8] == "0") == ("masks" in isolations)
    assert ("Operation not permitted" not in lines[9]) == ("devices" in isolations)


def _link(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


def test_leaks_are_reported_before_the_command_and_the_host_keeps_its_name(
    store: Store, busybox_image: str
) -> None:
    name = os.uname().nodename
    script = f'"$@"; echo $?; hostname; test "$(hostname)" = {name} && echo kept'
    done = subprocess.run(
        [*APART, "sh", "-c", script, "sh", *command_line(),
         "run", "--rm", "--without", "pid,uts", "--without", "capabilities", busybox_image,
         "sh", "-c", "echo the command >&2; exit 3"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(store.root),
        timeout=patience(60), check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["3", name, "kept"]
    lines = done.stderr.splitlines()
    assert lines[0] == "minidock: warning: this container is made without pid, uts, capabilities"
    assert f"  without uts: hostname changed on the host: {name} was {name[:50]}-changed" in (
        done.stderr
    )
    count = len([entry for entry in os.listdir("/proc") if entry.isdigit()])
    seen = next(line for line in lines if "you can see" in line)
    assert abs(int(seen.split()[5]) - count) < 100 and "(1)" in seen, seen
    assert lines[-1] == "the command"


def test_a_user_without_power_gets_less_through_the_same_hole(
    store: Store, busybox_image: str
) -> None:
    flags = _words("pid,pivot_root,devices,masks")
    done = _run_apart(store, "run", "--rm", "-u", "1000", *flags, busybox_image, "true")
    found = _findings(done.stderr)
    leaked = {name for name, told in found.items() if told["leaked"]}
    assert leaked == {"see processes", "see masked paths"}
    assert found["signal processes"]["errno"] == "EPERM"
    told = _run_apart(
        store, "run", "--rm", "-u", "1000", "--yes-in-a-vm", "--without", "pivot_root",
        busybox_image, "true",
    )  # fmt: skip
    assert "  without pivot_root: nothing leaked; another isolation" in told.stderr


def test_mounts_of_a_container_without_a_namespace_are_the_host_s_and_go_with_it(
    store: Store, busybox_image: str, tmp_path: Path
) -> None:
    """Also after its monitor was killed, and with a directory of the host mounted in it."""
    (tmp_path / "kept").write_text("kept")
    flags = f"--without mount --yes-in-a-vm -v {tmp_path}:/volume"
    script = """
        set -e
        mount --make-rshared /  # as systemd makes a host's tree
        "$@" run -d --name box $FLAGS $IMAGE sleep 600 >&2
        echo mounts $(grep -c "$MINIDOCK_ROOT.*/merged/" /proc/self/mountinfo)
        grep -c "$MINIDOCK_ROOT.*/merged/volume " /proc/self/mountinfo
        "$@" exec box ls /volume
        "$@" export box | tar -t | grep -c ^proc/. || true
        monitor=$(ps -o ppid= -p $("$@" inspect -f '{{.State.Pid}}' box) | tr -d ' ')
        kill -9 $monitor
        while grep -qs '^State:.[^ZX]' /proc/$monitor/status; do sleep 0.05; done
        "$@" ps -aq >&2
        grep -c "$MINIDOCK_ROOT.*/merged" /proc/self/mountinfo || true
        "$@" rm -f box >&2
    """
    done = subprocess.run(
        [*APART, "sh", "-c", script, "sh", *command_line()],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env={**environment(store.root), "FLAGS": flags, "IMAGE": busybox_image},
        timeout=patience(60), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, volume, inside, exported, left = done.stdout.splitlines()
    assert int(first.split()[1]) > 10 and volume == "1"
    assert (inside, exported, left) == ("kept", "0", "0"), done.stderr
    assert (tmp_path / "kept").read_text() == "kept", "rm did not go through the mount"
    assert not [mount for mount in mounts() if store.root in mount]


def test_exec_enters_the_container_s_root_also_where_its_namespace_has_the_host_s(
    minidock: Minidock, busybox_image: str
) -> None:
    flags = ["--without", "pivot_root", "--yes-in-a-vm"]
    minidock.ok("run", "-d", "--name", "box", *flags, busybox_image, "sleep", "600")
    pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", "box")
    of_namespace = subprocess.check_output(
        ["nsenter", "-t", pid, "-m", "cat", "/proc/self/mountinfo"], text=True
    )
    assert len([line for line in of_namespace.splitlines() if line.split()[4] == "/"]) == 1
    assert f"{minidock.root}/containers/" in of_namespace, "its namespace begins at the host's root"
    host, inside = os.stat("/"), os.stat(f"/proc/{pid}/root")
    entered = minidock.ok("exec", "box", "stat", "-c", "%d %i", "/").split()
    assert [int(word) for word in entered] == [inside.st_dev, inside.st_ino]
    assert (inside.st_dev, inside.st_ino) != (host.st_dev, host.st_ino)
    minidock.ok("rm", "-f", "box")


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--without", "walls"], "unknown isolation"),
        (["--yes-in-a-vm"], "--without"),
        (["--without", "net", "--network", "none"], "--network none"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(
    minidock: Minidock, flags: list[str], word: str
) -> None:
    refused = minidock("run", *flags, "busybox", "true")
    assert refused.code == 125 and word in refused.stderr, str(refused)
    assert minidock.ok("ps", "-aq") == ""


def _planned(capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    words = ["run", "--json", "--network", "none", *flags, "busybox", "true"]
    assert plan.run("minidock plan", words) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [f"{each['op']} {each['args']}" for each in told]


def test_a_plan_shows_what_an_omission_leaves_undone(
    busybox_image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = _planned(capsys)
    left_out = {}
    for isolations in ("pid", "masks", "pivot_root", "mount", "seccomp"):
        planned = _planned(capsys, "--without", isolations)
        left_out[isolations] = {act.split()[0] for act in whole if act not in planned}
    way_in = {"mount.pivot_root", "mount.set_propagation", "mount.unmount", "mount.bind_to_itself"}
    assert left_out == {
        "pid": {"namespace.clone_process"},
        "masks": {"mount.bind_to_itself", "mount.set_mount_attributes", "mount.mask_path"},
        "pivot_root": way_in,
        "mount": way_in | {"namespace.clone_process"},
        "seccomp": {"seccomp.load"},
    }


def test_the_page_shows_what_is_printed(minidock: Minidock, busybox_image: str) -> None:
    """But for numbers, and for which processes there are."""
    page = (REPOSITORY / "docs/without.md").read_text()
    block = page.partition("```console\n")[2].partition("```")[0].splitlines()
    assert block[0] == "$ minidock run --rm --without pid busybox true"
    printed = minidock(*block[0].split()[2:]).stderr.splitlines()

    def shape(line: str) -> str:
        return re.sub(r"e\.g\. .*|\d+ process\w*|process \d+", "…", line)

    assert [shape(line) for line in printed] == [shape(line) for line in block[1:]]


def test_docker_s_own_flags_leave_out_just_as_much(minidock: Minidock, busybox_image: str) -> None:
    flags = ["--rm", "--network", "none", "--security-opt", "systempaths=unconfined"]
    rule = ["--device-cgroup-rule", "c 10:254 r"]
    look = "grep -c ' /proc/sys ' /proc/self/mountinfo; mknod /n c 10 254; cat /n"
    told = minidock("run", *flags, *rule, busybox_image, "sh", "-c", look)
    assert told.stdout == "0\n" and "not permitted" not in told.stderr, str(told)
    other = look.replace("10 254", "10 253")
    told = minidock("run", *flags, *rule, busybox_image, "sh", "-c", other)
    assert "not permitted" in told.stderr, str(told)
