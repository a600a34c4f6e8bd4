"""What a command finds inside: the same under minidock-runtime and under runc, thing by thing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel.cgroup import is_v2
from minidock.paths import Store
from support import runtime
from support.runtime import Bundle, Runtime

pytestmark = pytest.mark.root

LOOK = """
cat /proc/self/status; echo ---
for fd in 0 1 2; do readlink /proc/1/fd/$fd | tr -d '[0-9]'; done; echo ---
umask; cat /proc/self/oom_score_adj; cat /proc/1/environ | tr '\\0' '\\n'; echo ---
cat /proc/self/limits; echo ---
cat /proc/self/mountinfo; echo ---
ls -l /dev | sed 's/ [A-Z][a-z][a-z] .* / /'; echo ---
cut -d' ' -f5,6 /proc/1/stat; cat /sys/class/net/lo/flags; hostname; pwd; echo ---
for path in %s; do
    head -c 1 $path >/dev/null 2>&1 && echo $path readable
    (: >>$path) 2>/dev/null && echo $path writable
done; echo ---
cat /proc/self/cgroup
"""


def _without(config: Any, kind: str) -> list[dict[str, str]]:
    """The namespaces but those of a kind; runc's own list has a cgroup namespace on cgroup v2."""
    return [each for each in config["linux"]["namespaces"] if each["type"] != kind]


CAPABILITIES = ["CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE", "CAP_KILL"]
CHANGES: dict[str, Callable[[Any], object]] = {
    "as runc spec has it": lambda c: None,
    "a user": lambda c: c["process"]["user"].update(uid=5, gid=6, additionalGids=[7, 8], umask=63),
    "capabilities": lambda c: c["process"].update(
        noNewPrivileges=False,
        capabilities=dict.fromkeys(
            ("bounding", "effective", "permitted", "inheritable", "ambient"), CAPABILITIES
        ),
    ),
    "a user with ambient capabilities": lambda c: c["process"].update(
        user={"uid": 5, "gid": 6},
        capabilities=dict.fromkeys(
            ("bounding", "effective", "permitted", "inheritable", "ambient"), CAPABILITIES
        ),
    ),
    "no capabilities": lambda c: c["process"].update(capabilities={}),
    "a writable root": lambda c: c["root"].update(readonly=False),
    "a cgroup namespace": lambda c: c["linux"].update(
        namespaces=[*_without(c, "cgroup"), {"type": "cgroup"}]
    ),
    "the host's network": lambda c: c["linux"].update(namespaces=_without(c, "network")),
    "a directory that the image lacks": lambda c: c["process"].update(cwd="/made/for/it"),
    "limits": lambda c: c["process"].update(
        oomScoreAdj=77, rlimits=[{"type": "RLIMIT_CORE", "soft": 5, "hard": 6}]
    ),
    "binds": lambda c: c["mounts"].extend(
        {"destination": f"/bound/{n}", "type": "bind", "source": "/etc", "options": options}
        for n, options in enumerate(
            (["bind"], ["rbind", "ro"], ["rbind", "nosuid", "nodev", "noexec", "rslave"])
        )
    ),
    "file systems in memory": lambda c: c["mounts"].extend(
        {"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": options}
        for options in ([], ["mode=700", "size=1m"], ["tmpcopyup", "nosuid"], ["tmpcopyup", "ro"])
    ),
    "an unfiltered view": lambda c: c["linux"].update(maskedPaths=[], readonlyPaths=[]),
    "a filter": lambda c: c["linux"].update(
        seccomp={
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
        }
    ),
    "a filter that is there early, and forbids to send": lambda c: (
        c["process"].update(noNewPrivileges=False),
        c["linux"].update(
            seccomp={
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["sendto", "sendmsg"], "action": "SCMP_ACT_ERRNO"}],
            }
        ),
    ),
    "a sysctl": lambda c: c["linux"].update(sysctl={"net.ipv4.ip_forward": "1"}),
    "other names": lambda c: c.update(hostname="one", domainname="two"),
    "a device": lambda c: c["linux"].update(
        devices=[
            {"path": "/dev/extra/fuse", "type": "c", "major": 10, "minor": 229, "uid": 3, "gid": 4}
        ]
    ),
}


@pytest.fixture
def bundle(tmp_path: Path, busybox_tar: Path, require: Callable[[str], str]) -> Bundle:
    require("runc")
    return Bundle(tmp_path / "bundle", busybox_tar)


@pytest.fixture
def both(tmp_path: Path, bundle: Bundle, store: Store) -> Iterator[tuple[Runtime, Runtime]]:
    """runc, and ours."""
    runc = Runtime(["runc"], tmp_path / "runc", bundle)
    ours = Runtime(runtime.minidock_runtime(), tmp_path / "ours", bundle)
    yield runc, ours
    runc.clear("box")
    ours.clear("box")


@pytest.mark.parametrize("name", CHANGES)
def test_inside_it_looks_as_under_runc(both: tuple[Runtime, Runtime], name: str) -> None:
    seen = []
    for each in both:
        paths = each.bundle.config["linux"]
        script = LOOK % " ".join([*paths["maskedPaths"], *paths["readonlyPaths"]])
        each.bundle.write("sh", "-c", script, change=CHANGES[name])
        seen.append(_comparable(each.ok("run", "box", stdin=b"")))
    assert seen[1] == seen[0]


def _comparable(told: str) -> list[list[str]]:
    """The output, without what differs between any two containers."""
    sections = [section.strip().split("\n") for section in told.split("---\n")]
    status, files, surroundings, limits, mounts, devices, rest, protected, cgroup = sections
    keep = ("Umask", "Uid", "Gid", "Groups", "Sig", "Shd", "Cap", "NoNew", "Seccomp", "Threads")
    status = [line for line in status if line.startswith(keep) and not line.startswith("SigQ")]
    cgroup = [re.sub(r"minidock-test-\w+", "own", line) for line in cgroup]
    return [
        status, files, sorted(surroundings), limits, _mounts(mounts), devices, rest, protected,
        cgroup,
    ]  # fmt: skip


def _mounts(lines: list[str]) -> list[str]:
    """Mount point, options, and what is mounted; ids and devices are the kernel's affair."""
    found = []
    for line in lines:
        before, _, after = line.partition(" - ")
        _, _, _, root, point, options, *tags = before.split()
        if point == "/sys/fs/cgroup":
            options = options.replace("rw,", "ro,")  # runc forgets the tmpfs between the trees
        root = re.sub(r"minidock-test-\w+", "own", root)
        tags = [re.sub(r":\d+", "", tag) for tag in tags]
        found.append(" ".join([root, point, options, *tags, after]))
    return sorted(found)


# What only ours is asked


@pytest.fixture
def ours(both: tuple[Runtime, Runtime]) -> Runtime:
    return both[1]


def test_no_descriptor_of_the_caller_reaches_the_command(ours: Runtime) -> None:
    ours.bundle.write("sh", "-c", "ls /proc/1/fd; true")
    secret = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        assert ours.ok("run", "box", stdin=b"", close_fds=False).split() == ["0", "1", "2"]
    finally:
        os.close(secret)


def test_preserved_descriptors_reach_the_command(both: tuple[Runtime, Runtime]) -> None:
    for each in both:
        each.bundle.write("sh", "-c", "cat <&4; ls /proc/1/fd; true")
        script = 'exec 3</dev/null 4<config.json; exec "$@"'
        line = ["sh", "-c", script, "sh", *each.line("run", "--preserve-fds", "2", "box")]
        done = subprocess.run(
            line, cwd=each.bundle.directory, env=runtime.environment(), capture_output=True,
            text=True, stdin=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        config, end, descriptors = done.stdout.rpartition("}")
        assert json.loads(config + end)["process"]["args"][0] == "sh"
        assert descriptors.split() == ["0", "1", "2", "3", "4"]


def test_sockets_of_systemd_reach_the_command(both: tuple[Runtime, Runtime]) -> None:
    for each in both:
        each.bundle.write("sh", "-c", "ls /proc/1/fd; echo $LISTEN_FDS $LISTEN_PID")
        script = 'exec 3</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
        done = subprocess.run(
            ["sh", "-c", script, "sh", *each.line("run", "box")],
            cwd=each.bundle.directory, env=runtime.environment(), capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        assert done.stdout.split() == ["0", "1", "2", "3", "1", "1"]


def test_the_session_keyring_is_the_containers_own_unless_asked(
    both: tuple[Runtime, Runtime],
) -> None:
    if not os.path.exists("/proc/keys"):
        pytest.skip("this kernel has no keys")
    for each in both:
        # Two names: the kernel removes a dead container's keyring some time later.
        for expected, flags in (("1\n", ()), ("0\n", ("--no-new-keyring",))):
            name = f"box-{uuid.uuid4().hex}"
            show = f"grep -c {name} /proc/keys; true"
            each.bundle.write("sh", "-c", show, change=lambda c: c["linux"].update(maskedPaths=[]))
            assert each.ok("run", *flags, name, stdin=b"") == expected


def test_a_container_without_cgroup_namespace_sees_its_own_cgroup_only(ours: Runtime) -> None:
    if is_v2():
        pytest.skip("this kernel has cgroup v2, of which only a namespace shows a part")
    ours.bundle.write("sh", "-c", "cat /proc/self/cgroup; ls /sys/fs/cgroup/pids")
    told = ours.ok("run", "box", stdin=b"")
    assert "minidock-test" in told
    assert "cgroup.procs" in told or "pids.max" in told
    assert "minidock-test" not in told.rpartition(":/")[2].partition("\n")[2]


def test_a_tmpfs_takes_over_what_it_covers(both: tuple[Runtime, Runtime]) -> None:
    covered = both[0].bundle.directory / "rootfs/covered"
    (covered / "sub").mkdir(parents=True)
    (covered / "sub/file").write_text("content")
    (covered / "link").symlink_to("/nonexistent")
    os.chown(covered / "sub/file", 3, 4)
    (covered / "sub/file").chmod(0o4644)
    os.utime(covered / "sub/file", (1, 1))
    covered.chmod(0o711)
    mount = {"destination": "/covered", "type": "tmpfs", "options": ["tmpcopyup"]}
    look = "ls -lanR --full-time /covered | grep -v ' [.][.]$'; cat /covered/sub/file"
    told = []
    for each in both:
        each.bundle.write("sh", "-c", look, change=lambda c: c["mounts"].append(mount))
        told.append(each.ok("run", "box", stdin=b""))
    assert "-rwSr--r--    1 3        4                7 1970-01-01" in told[1]
    assert told[1].endswith("content")
    told = [re.sub(r"\d{4}-\S+ \S+", "", each) for each in told]  # runc takes no times along
    assert told[1] == told[0]


def test_mounts_of_the_host_survive_a_container_that_shares_with_it(ours: Runtime) -> None:
    """In a world of its own, where / is shared as systemd has it."""

    def share(config: dict[str, Any]) -> None:
        config["linux"]["rootfsPropagation"] = "rshared"

    ours.ok("list")  # seals the interpreter out here
    ours.bundle.write("true", change=share)
    ours.ok("run", "box")
    mark = ours.root.parent / "mark"
    mark.mkdir()
    script = (
        f'mount -t tmpfs mark {mark} && mount --make-rshared / && "$@" && '
        f"grep -q ' {mark} ' /proc/self/mountinfo && ! grep bundle/rootfs /proc/self/mountinfo >&2"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *ours.line("run", "box")],
        cwd=ours.bundle.directory, env=runtime.environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
