"""The journals against strace, both ways: no state-changing call lies outside a recorded operation,
and no act is told that did not make its call.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.paths import Store
from support import journal_trace
from support.command import Minidock
from support.patience import await_true, patience

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

MOUNT = {"mount"}
CAPABILITY = {"prctl"}
# op -> (calls of which it makes at least one, calls that it may make besides).
CALLS_OF: dict[str, tuple[set[str], set[str]]] = {
    "capability.keep_capabilities": (CAPABILITY, set()),
    "capability.set_ambient": (CAPABILITY, set()),
    "capability.set_bounding": (CAPABILITY, set()),
    "capability.set_capabilities": ({"capset"}, set()),
    "capability.set_no_new_privs": (CAPABILITY, set()),
    "cgroup.write_file": ({"write sys"}, set()),
    "device_cgroup.attach_program": ({"bpf"}, set()),
    "device_cgroup.load_program": ({"bpf"}, set()),
    "files.work_on_files": (set(), {"chown", "lchown", "fchown", "fchownat", "chmod", "fchmod",
                                    "fchmodat", "mknod", "mknodat", "fchdir", "chdir", "clone3"}),
    "iptables.restore": ({"spawn"}, set()),
    "iptables.save": ({"spawn"}, set()),
    "keyring.join_session_keyring": ({"keyctl"}, set()),
    "link.add_address": ({"netlink"}, set()),
    "link.add_bridge": ({"netlink"}, set()),
    "link.add_default_route": ({"netlink"}, set()),
    "link.add_veth": ({"netlink"}, set()),
    "link.delete": ({"netlink"}, set()),
    "link.set_alias": ({"netlink"}, set()),
    "link.set_hairpin": ({"netlink"}, set()),
    "link.set_isolated": ({"netlink"}, set()),
    "link.set_mtu": ({"netlink"}, set()),
    "link.set_up": ({"netlink"}, set()),
    "loop.mount_disk_file": (MOUNT, set()),
    "mount.bind_mount": (MOUNT, set()),
    "mount.bind_to_itself": (MOUNT, set()),
    "mount.clone_read_only": ({"move_mount"}, {"open_tree", "mount_setattr"}),
    "mount.mask_path": (MOUNT, set()),
    "mount.mount_filesystem": (MOUNT, set()),
    "mount.pivot_root": ({"pivot_root"}, set()),
    "mount.propagate_in_root": (MOUNT, set()),
    "mount.set_mount_attributes": ({"mount_setattr"}, set()),
    "mount.set_propagation": (MOUNT, set()),
    "mount.unmount": ({"umount2"}, set()),
    "namespace.clone_process": ({"clone3"}, set()),
    "namespace.set_domainname": ({"setdomainname"}, set()),
    "namespace.set_hostname": ({"sethostname"}, set()),
    "namespace.setns": ({"setns"}, set()),
    "namespace.unshare": ({"unshare"}, set()),
    "node.change_owner": ({"chown", "lchown", "fchown", "fchownat"}, set()),
    "node.make_device": ({"mknod", "mknodat"}, {"chmod", "fchmodat", "fchmod"}),
    "node.make_fifo": ({"mknod", "mknodat"}, set()),
    "overlay.mount_overlay": ({"move_mount", "mount"}, {"fsopen", "fsconfig", "fsmount"}),
    "overlay.open_overlay": ({"fsmount"}, {"fsopen", "fsconfig"}),
    "path.chroot": ({"chroot"}, {"chdir"}),
    "path.enter_directory": ({"chdir", "fchdir"}, set()),
    "path.set_umask": ({"umask"}, set()),
    "port.hold": ({"bind"}, set()),
    "port.listen_for_names": ({"bind"}, set()),
    "process.close_all_but": ({"close_range"}, set()),
    "process.close_on_exec": ({"close_range"}, set()),
    "process.give_stdio": (set(), {"fchown"}),
    "process.new_session": ({"setsid"}, set()),
    "process.reopen_null": ({"dup2", "dup3"}, set()),
    "process.send_signal": ({"pidfd_send_signal"}, set()),
    "process.set_groups": ({"setgroups"}, set()),
    "process.set_not_dumpable": ({"prctl"}, set()),
    "process.set_rlimit": ({"prlimit64", "setrlimit"}, set()),
    "process.set_user": ({"setresuid"}, {"setresgid"}),
    "process.spawn": ({"spawn"}, set()),
    "process.write_proc": ({"write proc"}, set()),
    "seccomp.load": ({"seccomp"}, {"prctl"}),
    "streams.take_streams": ({"dup2", "dup3"}, set()),
    "sysctl.write": ({"write proc"}, set()),
    "terminal.open_terminal": (set(), {"chown", "fchown", "chmod", "fchmod"}),
    "terminal.take_terminal": ({"dup2", "dup3"}, set()),
    "tmpcopyup.copy_up": (set(), {"chown", "fchown", "lchown", "fchownat", "chmod", "fchmod",
                                "fchmodat", "mknod", "mknodat"}),
}  # fmt: skip
# What lies in no act, and why: by the beginning of strace's line.
UNTOLD = (
    r'chdir\("/"\)',  # a monitor keeps nobody's disk busy
    r"close_range\(4, 4294967295, 0\)",  # it closes what its parent had, before it has a journal
    r"umask\(022\)",  # a command's own, for the store's files
    r"setsid\(\)|dup2\(",  # posix_spawn's own, in the child: part of a program's birth
    r"prctl\(PR_SET_PDEATHSIG|v?fork\(|clone\(child_stack=NULL",  # children that end with us
    # The sealed interpreter and the monitor's birth, whose records travel in its launch message.
    r"clone3\(\{flags=CLONE_VM\|CLONE_VFORK|open_tree\(.*OPEN_TREE_CLON|mount_setattr\(4</>, \"\", "
    r"AT_EMPTY_PATH|move_mount\(4</>, \"\", AT_FDCWD<",
    r'chmod\("[^"]*/(containers|minidock[^/]*)/[0-9a-f]{64}',  # a file of the store
    r"fchmod\(\d+<[^>]*/containers/[0-9a-f]{64}/disk>",  # that of --storage-opt size=
    r'f?ch(own|mod)\((\d+<|")[^">]*/staging/commit-',  # a layer of the store that is being made
    r"fch(own|mod)\(\d+<[^>]*/staging/build-[^>]*/upper>",  # the upperdir of a step to come
)  # fmt: skip


HEALTH = "{{.State.Health.Status}}"


@pytest.fixture
def tracer(require: Callable[[str], str]) -> str:
    return require("strace")


def compare(trace: journal_trace.Trace, *journals: Path) -> set[str]:
    """Hold a trace against the journals; returns the ops that made a call."""
    assert trace.acts
    for pid, text in trace.outside:
        known = any(re.match(pattern, text) for pattern in UNTOLD)
        assert known, f"process {pid} did this in no act: {text}"
    records = [json.loads(x) for j in journals for x in j.read_text().splitlines()]
    begun = {record["id"]: record for record in records if "begin" in record}
    ended = {record["id"]: record for record in records if "end" in record}
    made = set()
    for act in trace.acts.values():
        if act.cut and not act.calls:
            continue  # killed before its call; even its record may not have been sent
        assert act.id in begun, f"{act} was written, and is in no journal"
        op, end = begun[act.id]["op"], ended.get(act.id, {})
        least, besides = CALLS_OF.get(op, (set(), set()))
        strange = set(act.calls) - least - besides
        assert not strange, f"{op} called {strange}: {begun[act.id]}"
        if begun[act.id]["actor"] == "engine" and begun[act.id]["pid"] != act.pid:
            continue  # the monitor records what the command sent about its start
        idle = end.get("made") in ("absent", "there", "ended") or "errno" in end
        if least and not idle:
            assert least & set(act.calls), f"{op} is told, and called none of {least}: {act}"
            made.add(op)
    return made


def traced(tracer: str, output: Path, store: Store, *arguments: str) -> None:
    """Run a command under strace, until it and all that it has left running are over."""
    said = output.with_suffix(".said")
    with open(said, "wb") as file:
        run = journal_trace.start(
            tracer, output, store.root, *arguments,
            stdout=file, stderr=file, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert run.wait(patience(100)) == 0, said.read_text()


def journal_of(store: Store, name: str) -> Path:
    return Path(store.container(os.readlink(store.name(name))).journal)


RUNS: dict[str, list[str]] = {
    "network none": ["--network", "none"],
    "a port on the bridge": ["-p", "80"],
    "volumes, tmpfs, limits": [
        "--network", "none", "-v", "data:/data", "-v", "/tmp:/t:ro", "--tmpfs", "/x:size=1m",
        "--memory", "64m", "--ulimit", "nofile=100:200", "-u", "1000:7", "--group-add", "9",
        "--cap-add", "net_admin", "--security-opt", "no-new-privileges", "--read-only",
    ],
}  # fmt: skip


@pytest.mark.parametrize("flags", RUNS.values(), ids=RUNS)
def test_a_runs_journal_is_what_strace_saw(
    store: Store, minidock: Minidock, busybox_image: str, tracer: str, tmp_path: Path,
    flags: list[str],
) -> None:  # fmt: skip
    output = tmp_path / "run.strace"
    # strace ends when the monitor does: the command is short, and the container stays
    traced(tracer, output, store, "run", "-d", "--name", "box", *flags, busybox_image, "true")
    journal = journal_of(store, "box")
    made = compare(journal_trace.read(output), journal)
    assert {"mount.pivot_root", "namespace.clone_process", "capability.set_bounding",
            "seccomp.load", "process.set_groups", "path.set_umask", "streams.take_streams",
            "node.make_fifo", "node.make_device", "mount.unmount"} <= made  # fmt: skip
    lines = journal.read_text().splitlines()
    pivot = next(line for line in lines if "mount.pivot_root" in line)
    short = tmp_path / "short.jsonl"
    short.write_text("\n".join(line for line in lines if line != pivot) + "\n")
    with pytest.raises(AssertionError, match="is in no journal"):
        compare(journal_trace.read(output), short)
    silent = tmp_path / "silent.strace"
    silent.write_text(re.sub(r"^.*pivot_root\(.*\n", "", output.read_text(), flags=re.M))
    with pytest.raises(AssertionError, match="mount.pivot_root is told, and called none"):
        compare(journal_trace.read(silent), journal)
    untold, name = tmp_path / "untold.strace", json.loads(pivot)["id"]
    told = output.read_text().splitlines()
    untold.write_text("".join(f"{line}\n" for line in told if f'"{name}\\"' not in line))
    with pytest.raises(AssertionError, match=r"in no act: pivot_root"):
        compare(journal_trace.read(untold), journal)


def test_execs_probes_copies_and_networks_are_what_strace_saw(
    store: Store, minidock: Minidock, busybox_image: str, tracer: str, tmp_path: Path
) -> None:
    (tmp_path / "note").write_text("hello")
    run, copy, create = (tmp_path / f"{name}.strace" for name in ("run", "cp", "create"))
    traced(tracer, create, store, "network", "create", "lab")
    network = Path(store.network_journal("lab"))
    # One probe: once healthy, the next is due in an hour.
    checks = ("--health-cmd", "true", "--health-interval", "1h",
              "--health-start-period", "1h", "--health-start-interval", "500ms")  # fmt: skip
    strace = journal_trace.start(
        tracer, run, store.root, "run", "-d", "--name", "box", *checks, busybox_image,
        "sleep", "1000", stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + patience(60)
    while minidock("exec", "-u", "7:8", "box", "true").code:
        assert time.monotonic() < deadline
    paths = store.container(os.readlink(store.name("box")))
    traced(tracer, copy, store, "cp", f"{tmp_path}/note", "box:/note")
    minidock.ok("network", "connect", "lab", "box")
    await_true(lambda: minidock.ok("inspect", "-f", HEALTH, "box").strip() == "healthy", seconds=60)
    kept = [tmp_path / f"{n}.jsonl" for n in range(5)]
    every = (paths.journal, paths.exec_journal, paths.health_journal, paths.copy_journal, network)
    for path, other in zip(every, kept, strict=True):
        os.link(path, other)  # they go with the container; a second name stays
    minidock.ok("rm", "-f", "box")
    assert strace.wait(patience(60)) == 0
    made = compare(journal_trace.read(run, copy, create), *kept)
    assert {"namespace.setns", "namespace.unshare", "path.chroot", "link.add_bridge",
            "link.add_veth", "port.listen_for_names", "process.set_user"} <= made  # fmt: skip


def test_a_builds_journal_is_what_strace_saw(
    store: Store, minidock: Minidock, busybox_image: str, tracer: str, tmp_path: Path
) -> None:
    (tmp_path / "note").write_text("hello")
    lines = ("FROM busybox", "RUN echo hi > /x", "COPY --chown=7:8 note /note")
    (tmp_path / "Dockerfile").write_text("\n".join(lines) + "\n")
    output = tmp_path / "build.strace"
    traced(tracer, output, store, "build", "-q", "--network", "none", str(tmp_path))
    made = compare(journal_trace.read(output), Path(store.build_journal))
    assert {"overlay.open_overlay", "mount.pivot_root", "mount.unmount"} <= made


def test_two_lives_and_a_removal_are_what_strace_saw(
    store: Store, minidock: Minidock, busybox_image: str, tracer: str, tmp_path: Path
) -> None:
    run, remove = tmp_path / "run.strace", tmp_path / "rm.strace"
    flags = ("--restart", "on-failure:1", "--name", "box", "--network", "none")
    traced(tracer, run, store, "run", "-d", *flags, busybox_image, "false")
    kept = tmp_path / "kept.jsonl"
    os.link(journal_of(store, "box"), kept)
    traced(tracer, remove, store, "rm", "box")
    compare(journal_trace.read(run, remove), kept)
    lives = [line for line in kept.read_text().splitlines() if '"op":"mount.pivot_root"' in line]
    assert len(lives) == 2


COMMANDS = {
    "pause": ["cgroup.write_file"],
    "unpause": ["cgroup.write_file"],
    "update -m 96m --cpu-shares 512 --pids-limit 50": ["cgroup.write_file"],
    "rename": [],
    "network connect lab": ["link.add_veth", "namespace.setns"],
    "network disconnect lab": ["link.delete"],
    "commit": ["cgroup.write_file"],
    "kill -s USR1": ["process.send_signal"],
}  # fmt: skip


@pytest.mark.parametrize("end", ["stop -t 0", "kill", "rm -f"])
def test_commands_on_a_container_that_runs_are_what_strace_saw(
    store: Store, minidock: Minidock, busybox_image: str, tracer: str, tmp_path: Path, end: str
) -> None:
    minidock.ok("network", "create", "lab")
    network = Path(store.network_journal("lab"))
    run = tmp_path / "run.strace"
    strace = journal_trace.start(
        tracer, run, store.root, "run", "-d", "--name", "box", "-m", "64m", "-p", "80",
        busybox_image, "sleep", "1000", stdout=subprocess.DEVNULL,
    )  # fmt: skip
    await_true(lambda: minidock("exec", "box", "true").code == 0, seconds=60)
    paths = store.container(os.readlink(store.name("box")))
    traces = [run, _traced_on_a_terminal(tracer, tmp_path / "exec.strace", store)]
    kept = [tmp_path / f"{number}.jsonl" for number in range(3)]
    for path, other in zip((paths.journal, paths.exec_journal, network), kept, strict=True):
        os.link(path, other)
    ends = [end] if end.startswith("rm") else [end, "rm"]
    for number, words in enumerate([*COMMANDS, *ends]):
        traces.append(tmp_path / f"{number}.strace")
        last = {"rename": ["box"], "commit": ["made"]}.get(words, [])
        if words == "rename":
            traced(tracer, traces[-1], store, "rename", "box", "other")
            minidock.ok("rename", "other", "box")
        else:
            traced(tracer, traces[-1], store, *words.split(), "box", *last)
        compare(journal_trace.read(*traces), *kept)
        if ops := COMMANDS.get(words):
            by = run if words.startswith("network") else traces[-1]  # the monitor's work; its own
            assert set(ops) <= compare(journal_trace.read(by), *kept), words
    assert strace.wait(patience(60)) == 0
    compare(journal_trace.read(*traces), *kept)


def test_commands_on_a_container_that_has_ended_are_what_strace_saw(
    store: Store, minidock: Minidock, busybox_image: str, tracer: str, tmp_path: Path
) -> None:
    """Of one with a volume and a disk of its own, which are mounted for each of them."""
    volume = ("-o", "type=tmpfs", "-o", "device=tmpfs", "scratch")
    minidock.ok("volume", "create", *volume)
    run = tmp_path / "run.strace"
    flags = ("--network", "none", "-v", "scratch:/s", "--storage-opt", "size=20m")
    traced(tracer, run, store, "run", "-d", "--name", "box", *flags, busybox_image, "touch", "/x")
    paths = store.container(os.readlink(store.name("box")))
    kept = [tmp_path / "journal.jsonl", tmp_path / "cp.jsonl"]
    os.link(paths.journal, kept[0])
    traces = [run]
    for number, words in enumerate((
        ("cp", f"{tmp_path}/run.strace", "box:/s/y"), ("cp", "box:/x", f"{tmp_path}/x"),
        ("diff", "box"), ("export", "-o", f"{tmp_path}/box.tar", "box"), ("commit", "box", "made"),
        ("rename", "box", "box2"), ("rm", "box2"),
    )):  # fmt: skip
        traces.append(tmp_path / f"{number}.strace")
        traced(tracer, traces[-1], store, *words)
        if number == 0:
            os.link(paths.copy_journal, kept[1])
        compare(journal_trace.read(*traces), *kept)


def _traced_on_a_terminal(tracer: str, output: Path, store: Store) -> Path:
    """exec -it."""
    ours, theirs = pty.openpty()
    program = journal_trace.start(
        tracer, output, store.root, "exec", "-it", "box", "sh", "-c", "test -t 0 && exit 3",
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # EIO: nobody has the other end any more
        pass
    os.close(ours)
    assert program.wait(patience(60)) == 3, said
    return output
