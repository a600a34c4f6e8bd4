"""`plan run`: what it says is the journal of the run that follows; and it does nothing."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minidock.cli.verbs.plan import plan
from minidock.kernel import cgroup
from minidock.paths import Store
from minidock.teach.plan.plan import ID
from support.command import Minidock, command_line, environment
from support.nobody import USER, as_nobody

pytestmark = pytest.mark.root

# So that no run beside this one takes the subnet that was planned; 10.213 has dockerd's.
SUBNET = f"10.214.{os.getpid() % 250}.0/24"

DESCRIPTORS = {
    "control",
    "streams",
    "kept",
    "fd",
    "cgroup_fd",
    "fifo",
    "master",
    "program_fd",
    "channel",
    "run_child",
}

RUNS = {
    "plain": ["busybox", "true"],
    "limits and ports": [
        "-m", "64m", "--pids-limit", "50", "--cpus", "0.5", "--cpu-shares", "512",
        "-p", "127.0.0.1:0:80", "-p", "0:53/udp", "busybox", "httpd", "-f",
    ],
    "mounts": [
        "-v", "data:/data", "-v", "/tmp:/t:ro", "--tmpfs", "/tmp", "--tmpfs", "/x:size=1m,ro",
        "--shm-size", "1m", "--ipc", "shareable", "-w", "/new/place", "busybox", "true",
    ],
    "another user": [
        "-u", "1000:1000", "--group-add", "7", "--cap-drop", "all", "--cap-add", "chown",
        "--security-opt", "no-new-privileges", "--read-only", "--ulimit", "nofile=100:200",
        "--hostname", "box", "--domainname", "net", "busybox", "sleep", "1",
    ],
    "a terminal, its own disk, part of a volume": [
        "-t", "--storage-opt", "size=8m", "--mount",
        "type=volume,source=data,target=/part,volume-subpath=sub", "busybox", "sh",
    ],
    "privileged": ["--privileged", "busybox", "true"],
    "the host's": ["--network", "host", "--pid", "host", "--uts", "host", "busybox", "true"],
    "no network": ["--network", "none", "--cgroupns", "host", "busybox", "true"],
    "a network of its own": ["--network", "lab", "-p", "0:80", "busybox", "true"],
    "another's namespaces": [
        "--network", "container:first", "--pid", "container:first", "busybox", "true",
    ],
    "unconfined": ["--security-opt", "seccomp=unconfined", "-m", "32m", "busybox", "true"],
}  # fmt: skip


def _journal(store: Store, minidock: Minidock, flags: list[str]) -> list[dict[str, Any]]:
    """The begin records of a run, up to its command."""
    container = minidock.ok("run", "-d", *flags)
    text = Path(store.container(container).journal).read_text()
    minidock.ok("rm", "-f", container)
    return _begun(container, text)


def _begun(container: str, text: str) -> list[dict[str, Any]]:
    records = _records(container, text)
    last = next(n for n, record in enumerate(records) if record["op"] == "process.execute")
    return [_comparable(record) for record in records[: last + 1]]


def _records(container: str, text: str) -> list[dict[str, Any]]:
    text = text.replace(container, ID).replace(container[:12], ID[:12])
    text = text.replace(f"veth{container[:11]}", f"veth{ID[:11]}")
    return [record for record in map(json.loads, text.splitlines()) if "begin" in record]


def _planned(capsys: pytest.CaptureFixture[str], flags: list[str]) -> list[dict[str, Any]]:
    """In this process, to spare each plan a Python of its own."""
    assert plan.run("minidock plan", ["run", "--json", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [_comparable(json.loads(line)) for line in lines]


def _comparable(record: dict[str, Any]) -> dict[str, Any]:
    """Without what differs between two runs too: pids, descriptors, ports of the kernel's choice"""
    arguments = {name: _neutral(name, value) for name, value in record["args"].items()}
    if str(arguments.get("path")).endswith("/init/cgroup.procs"):
        arguments["value"] = "$main_process"  # of systemd's unit, or a process found there
    return {key: record[key] for key in ("actor", "begin", "op", "phase")} | {"args": arguments}


def _neutral(name: str, value: Any) -> Any:
    if name in DESCRIPTORS:
        return value and "…"
    if name == "pid" or (name == "host_port" and (value == "$port" or value > 32767)):
        return f"${name}"
    if isinstance(value, str):
        value = re.sub(r"/proc/(\d+|\$pid)/ns/", "/proc/PID/ns/", value)
        value = re.sub(r"-I FORWARD \d+", "-I FORWARD N", value)  # behind those of other stores
        value = re.sub(r"veth([0-9a-f]{11}|\$random)", "VETH", value)
        value = re.sub(r"--dport (\d{5}|\$port)", "--dport PORT", value)
        value = re.sub(r"127.0.0.11:(\d+|\$\w+_port)", "127.0.0.11:PORT", value)
        value = re.sub(r"/proc/self/fd/(\d+|\$subpath)", "/proc/self/fd/N", value)
    return value


def test_plan_is_the_journal_of_the_run(
    store: Store,
    minidock: Minidock,
    busybox_image: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIDOCK_SUBNET", SUBNET)
    minidock.ok("network", "create", "lab")
    minidock.ok("run", "--rm", "--network", "none", "-v", "data:/d", "busybox", "mkdir", "/d/sub")
    for name, flags in RUNS.items():
        if name == "another's namespaces":
            minidock.ok("run", "-d", "--name", "first", "busybox", "sleep", "100")
        planned = _planned(capsys, flags)
        done = _journal(store, minidock, flags)
        for place, (ours, theirs) in enumerate(zip(planned, done, strict=False)):
            assert ours == theirs, f"{name}: act {place}"
        assert len(planned) == len(done), name


@pytest.mark.skipif(cgroup.is_v2(), reason="cgroup v2 has no cgroup.clone_children")
def test_cpusets_that_the_kernel_clones_are_planned_as_they_will_be(
    store: Store, minidock: Minidock, busybox_image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = Path("/sys/fs/cgroup/cpuset", f"minidock-test-clone-{os.getpid()}")
    parent.mkdir()
    try:
        for file in ("cpuset.cpus", "cpuset.mems"):
            (parent / file).write_text((parent.parent / file).read_text())
        (parent / "cgroup.clone_children").write_text("1")
        flags = ["--network", "none", "--cgroup-parent", f"/{parent.name}", busybox_image, "true"]
        planned = _planned(capsys, flags)
        assert planned == _journal(store, minidock, flags)
        paths = [record["args"].get("path", "") for record in planned]
        assert not [path for path in paths if path.startswith(f"{parent}/") and "cpuset." in path]
    finally:
        for tree in Path("/sys/fs/cgroup").glob(f"*/{parent.name}"):
            tree.rmdir()


TAKEN = {  # "tcp" or "udp", and the address at which another program has the port
    "every address": ("tcp", "0.0.0.0", ["-p", "PORT:80"]),
    "IPv6 that is IPv4 too": ("tcp", "::", ["-p", "127.0.0.1:PORT:80"]),
    "one address": ("udp", "127.0.0.1", ["-p", "PORT:53/udp"]),
    "a range": ("tcp", "127.0.0.1", ["-p", "127.0.0.1:PORT-PORT:80"]),
}
FAILING = {
    "twice": ["-p", "127.0.0.1:9:80", "-p", "9:81", "busybox", "true"],
    "another machine's address": ["-p", "192.0.2.7:80:80", "busybox", "true"],
    "a tmpfs's number": ["--tmpfs", "/x:size=1m,nr_inodes=few", "busybox", "true"],
    "a tmpfs's word": ["--tmpfs", "/x:bogus", "busybox", "true"],
    "no command": ["busybox", "nope"],
    "no file": ["busybox", "/nope"],
    "a directory": ["busybox", "/etc"],
    "no program": ["busybox", "/etc/passwd"],
    "no relative file": ["-w", "/etc", "busybox", "./nope"],
    "covered": ["--tmpfs", "/bin", "busybox", "true"],
    "not in a bind": ["-v", "/usr/share:/bin", "busybox", "true"],
}


def _fails_as_planned(
    store: Store, minidock: Minidock, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    code = plan.run("minidock plan", ["run", "--json", *flags])
    *planned, ends = map(json.loads, capsys.readouterr().out.splitlines())
    done = minidock("run", "-d", "--name", "fails", *flags)
    container = minidock.ok("ps", "-aq", "--no-trunc")
    records = _records(container, Path(store.container(container).journal).read_text())
    minidock.ok("rm", "fails")
    assert (code, ends["exit_code"]) == (done.code, done.code)
    assert done.stderr.startswith(f"minidock: {ends['ends']}\n"), done.stderr
    assert ends["hint"] in done.stderr
    for ours, theirs in zip(planned, records[: len(planned)], strict=True):
        assert _comparable(ours) == _comparable(theirs)


@pytest.mark.parametrize("name", FAILING)
def test_what_a_run_fails_at_is_foreseen_in_its_words(
    store: Store,
    minidock: Minidock,
    busybox_image: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv("MINIDOCK_SUBNET", SUBNET)
    _fails_as_planned(store, minidock, capsys, FAILING[name])


@pytest.mark.parametrize("name", TAKEN)
def test_a_port_that_another_program_has_is_foreseen(
    store: Store,
    minidock: Minidock,
    busybox_image: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv("MINIDOCK_SUBNET", SUBNET)
    protocol, address, flags = TAKEN[name]
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as other:
        other.bind((address, 0))
        if protocol == "tcp":
            other.listen()
        port = str(other.getsockname()[1])
        asked = [word.replace("PORT", port) for word in flags]
        _fails_as_planned(store, minidock, capsys, [*asked, "busybox", "true"])


def test_of_a_range_the_first_free_port_is_planned(
    busybox_image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        if port == 65535:
            pytest.skip("this kernel gave the last port")
        flags = ["--network", "bridge", "-p", f"127.0.0.1:{port}-{port + 1}:80", "busybox", "true"]
        planned = [r["args"] for r in _planned(capsys, flags) if r["op"] == "port.hold"]
    assert len(planned) == 2


def test_without_root_the_bridge_that_is_there_is_planned_with(
    store: Store, minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("run", "--rm", "busybox", "true")
    shown = subprocess.check_output(["ip", "-j", "-4", "addr", "show", store.bridge], text=True)
    own = json.loads(shown)[0]["addr_info"][0]
    done = subprocess.run(
        as_nobody(*command_line(), "plan", "run", "--json", "busybox", "true"),
        capture_output=True, text=True, env=environment(store.root), check=True,
    )  # fmt: skip
    acts = [json.loads(line) for line in done.stdout.splitlines()]
    made = {act.get("op") for act in acts}
    assert "link.add_bridge" not in made and "link.add_veth" in made
    route = next(act for act in acts if act.get("op") == "link.add_default_route")
    assert route["args"]["gateway"] == own["local"]
    address = next(act["args"] for act in acts if act.get("op") == "link.add_address")
    network = ipaddress.ip_interface(f"{own['local']}/{own['prefixlen']}").network
    assert ipaddress.ip_address(address["address"]) in network
    assert address["prefix"] == own["prefixlen"]


# A machine that does not forward yet, and (on a hybrid one) whose cgroup tree is v2's.
OTHER_MACHINE = """
mount --make-rprivate /
[ ! -d /sys/fs/cgroup/unified ] || mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup
ip link set lo up
echo 0 > /proc/sys/net/ipv4/ip_forward
minidock plan run --json -p 8090:80 busybox true
id=$(minidock run -d -p 8090:80 busybox true)
echo "$id"
cat "$MINIDOCK_ROOT/containers/$id/journal.jsonl"
minidock rm -f "$id" >/dev/null
minidock system down
"""


def test_plan_is_the_journal_on_another_machine_too(
    store: Store, minidock: Minidock, busybox_image: str
) -> None:
    define = f'minidock() {{ {shlex.join(command_line())} "$@"; }}'
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-ec", define + OTHER_MACHINE],
        env=environment(store.root), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before, container, after = re.split(r"^([0-9a-f]{64})\n", done.stdout, flags=re.M)
    planned = [_comparable(json.loads(line)) for line in before.splitlines()]
    assert any(r["args"].get("name") == "net/ipv4/ip_forward" for r in planned)
    assert planned == _begun(container, after)


# It does nothing ---------------------------------------------------------------------------------

# Calls that look, or that concern this very process and end with it.
LOOKING = set(
    """access faccessat faccessat2 stat lstat fstat newfstatat statx statfs fstatfs readlink
    readlinkat open openat openat2 close read pread64 readv lseek getdents64 getcwd getxattr
    lgetxattr fgetxattr ioctl fcntl dup dup2 dup3 pipe pipe2 poll ppoll select pselect6
    epoll_create1 mmap munmap mprotect mremap madvise brk arch_prctl set_tid_address
    set_robust_list rseq futex prlimit64 getrlimit getrandom uname sysinfo sched_getaffinity
    gettid getpid getppid getuid geteuid getgid getegid getresuid getresgid getpgrp
    clock_gettime clock_nanosleep nanosleep rt_sigaction rt_sigprocmask rt_sigreturn
    sigaltstack wait4 waitid exit exit_group restart_syscall memfd_create recvfrom recvmsg
    getsockname getsockopt setsockopt capget umask pidfd_open""".split()
)
ALLOWED = (
    re.compile(r'execve\("[^"]*(python[\d.]*|iptables(-nft|-legacy)?-save|xtables-\w+-multi)", '),
    re.compile(r"(clone3?|vfork)\(.*CLONE_VFORK|v?fork\("),  # for iptables-save
    re.compile(r"clone\(child_stack=NULL, flags=CLONE_CHILD_CLEARTID\|CLONE_CHILD_SETTID\|SIGCHLD"),
    re.compile(r"write\(\d+<(pipe:|socket:|/memfd:|/dev/null|/dev/pts)"),
    re.compile(r"socket\(AF_NETLINK, "),
    re.compile(r"bind\(\d+<[^>]*>, \{sa_family=AF_NETLINK"),
    re.compile(r"send(to|msg)\(.*nlmsg_type=(\w+<<8\|)?(\w*GET\w*|SOCK_DIAG\w*|0x1[246ae]\b)"),
    re.compile(r"fsopen\(\"tmpfs\"|fsconfig\(.*FSCONFIG_SET_(STRING|FLAG)"),  # no CMD_CREATE
    re.compile(r"prctl\((PR_CAPBSET_READ|PR_GET_\w+|PR_SET_VMA|PR_SET_PDEATHSIG)"),
    re.compile(r"socket\(AF_INET, SOCK_RAW, IPPROTO_RAW\)"),  # iptables-legacy-save reads by it
)
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")


def _changing(trace: list[str]) -> list[str]:
    """The calls of a trace that could have changed anything but the program's own output."""
    found = []
    for line in trace:
        call = re.sub(r"^\d+ +", "", line)
        if call.startswith(("<...", "+++", "---")):
            continue
        name = call.partition("(")[0]
        opens = name in ("open", "openat", "openat2")
        if opens and WRITING.search(call) and '"/dev/null"' not in call and " = -1 " not in call:
            found.append(call)
        elif name not in LOOKING and not any(allowed.match(call) for allowed in ALLOWED):
            found.append(call)
    return found


@pytest.mark.parametrize("user", [0, USER], ids=["root", "nobody"])
def test_plan_changes_nothing(
    store: Store,
    minidock: Minidock,
    busybox_image: str,
    require: Callable[[str], str],
    tmp_path: Path,
    user: int,
) -> None:
    words = ["plan", "run", "-p", "0:80", "-p", "65000-65009:9", "-v", "data:/data", "-m", "64m",
             "--tmpfs", "/x:size=1m", "busybox", "true"]  # fmt: skip
    minidock.ok(*words)  # Python may write what it compiled; not when it is watched
    strace = [require("strace"), "-f", "-y", "-qq", "-s", "200"]
    command = [*command_line(), *words]
    watched = as_nobody(*command) if user else command
    tmp_path.chmod(0o777)
    before = sorted(os.walk(store.root))
    done = subprocess.run(
        [*strace, "-o", tmp_path / "trace", *watched],
        capture_output=True, text=True, env=environment(store.root), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mount.pivot_root" in done.stdout
    assert ("assumed: " in done.stdout) == bool(user)
    lines = (tmp_path / "trace").read_text().splitlines()
    python = [n for n, line in enumerate(lines) if f'execve("{command_line()[0]}"' in line]
    assert _changing(lines[python[0] :]) == []
    assert sorted(os.walk(store.root)) == before
    assert not Path(store.run).exists()


def test_the_watch_sees_a_change(
    store: Store,
    minidock: Minidock,
    busybox_image: str,
    require: Callable[[str], str],
    tmp_path: Path,
) -> None:
    strace = [require("strace"), "-f", "-y", "-qq", "-s", "200", "-o", str(tmp_path / "trace")]
    command = [*strace, *command_line(), "run", "--network", "none", "busybox", "true"]
    subprocess.run(command, env=environment(store.root), check=True, stdin=subprocess.DEVNULL)
    trace = (tmp_path / "trace").read_text().splitlines()
    names = {call.partition("(")[0] for call in _changing(trace)}
    assert {"mount", "pivot_root", "mkdir", "rename", "setns", "symlink", "openat"} <= names
