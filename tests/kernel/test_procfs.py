"""What is written to /proc goes to the file that is meant, or nowhere.

Each case has a mount namespace of its own, in which something was mounted over a part of /proc.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.patience import patience

pytestmark = pytest.mark.root

SCORE, PORTS = "/proc/self/oom_score_adj", "/proc/sys/net/ipv4/ip_local_port_range"
# Mounts (in the process that writes), path, value -> what the error says; "" where it is written.
CASES: dict[str, tuple[str, str, str, str]] = {
    "nothing": ("", SCORE, "77", ""),
    "nothing over a sysctl": ("", PORTS, "40000\t50000", ""),
    "another file of its own": (
        "mount --bind /proc/$PID/comm /proc/$PID/oom_score_adj", SCORE, "77", "another file",
    ),
    "the same file of another process": (
        "mount --bind /proc/$PPID/oom_score_adj /proc/$PID/oom_score_adj", SCORE, "77",
        "another file",
    ),
    "a directory of another process": (
        "mount --bind /proc/$PPID /proc/$PID", SCORE, "77", "another file",
    ),
    "a setting over another one": (
        f"mount --bind /proc/sys/kernel/sched_autogroup_enabled {PORTS}",
        PORTS, "40000\t50000", "another file",
    ),
    "a part of settings": (
        "mount --bind /proc/sys/net/ipv6 /proc/sys/net/ipv4", "/proc/sys/net/ipv4/conf/lo/mtu",
        "1400", "another file",
    ),
    "a part of /proc over all of it": (
        "mount --bind /proc/$PID /proc", "/proc/oom_score_adj", "77", "another file",
    ),
    "another procfs's settings": (
        "unshare --pid --fork mount -t proc proc /mnt; "
        "mount --bind /mnt/sys /proc/sys", PORTS, "40000\t50000", "another file",
    ),
    "a tmpfs": ("mount -t tmpfs none /proc/$PID/attr", "/proc/self/attr/exec", "x", ""),
    "settings that were bound onto themselves": (
        "mount --bind /proc/sys /proc/sys; mount --bind /proc/sys/net /proc/sys/net", PORTS,
        "40000\t50000", "",
    ),
    "a setting that was bound onto itself": (
        f"mount --bind {PORTS} {PORTS}", PORTS, "40000\t50000", "",
    ),
}  # fmt: skip
WRITE = """
import os, subprocess, sys
script, path, value = sys.argv[1:]
subprocess.run(["sh", "-ec", script], check=True, env={**os.environ, "PID": str(os.getpid())})
from minidock.errors import MinidockError
from minidock.kernel import process, sysctl
try:
    if path.startswith("/proc/sys/"):
        sysctl.write(path.removeprefix("/proc/sys/"), value)
    else:
        process.write_proc(path, value)
    print(open(path).read().strip())
except MinidockError as error:
    print("refused:", error)
own = next(path for path in ("/proc/self/comm", "/proc/comm") if os.path.exists(path))
print(open(own).read().strip())
"""


@pytest.mark.parametrize("case", CASES)
def test_a_write_goes_to_the_file_that_its_path_says(case: str) -> None:
    script, path, value, refused = CASES[case]
    script = script.replace("$PPID", "1")
    done = subprocess.run(
        ["unshare", "--mount", "--net", sys.executable, "-c", WRITE, script, path, value],
        capture_output=True, text=True, check=False, timeout=patience(60),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, comm = done.stdout.splitlines()
    if case == "a tmpfs":
        assert said.startswith("refused: open") or "No such file" in said
    elif refused:
        assert said.startswith("refused: ") and refused in said
    else:
        assert said.split() == value.split()
    assert comm != value, "it was written to the process's name"
