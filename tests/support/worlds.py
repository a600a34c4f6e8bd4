"""Other machines, played on this one: what a command sees of the cgroup tree there.

Each world is a shell in namespaces of its own, in which `minidock` is the command line under test
on the test's store, and where no systemd is to be seen.
"""

from __future__ import annotations

import shlex
import subprocess

from minidock.kernel.cgroup import Cgroup
from support.command import Minidock, command_line, environment
from support.patience import patience

_NO_SYSTEMD = "[ ! -d /run/systemd ] || mount -t tmpfs none /run/systemd\n"


def in_container(
    minidock: Minidock, group: Cgroup, script: str, *, own_pids: bool = False
) -> list[str]:
    """Run a script where this cgroup is the root of the tree, as in a privileged container.

    own_pids: in a pid namespace of its own, too. Returns the lines of its stdout.
    """
    enter = "mount -t cgroup2 none /sys/fs/cgroup\n"
    return _run(
        minidock, group, enter + script, ["-m", "-C", *["-p", "-f", "--mount-proc"] * own_pids]
    )


def with_read_only_root(minidock: Minidock, group: Cgroup | None, script: str) -> list[str]:
    """Run a script in this cgroup, and where no other part of the tree can be written to."""
    enter = "mount --bind /sys/fs/cgroup /sys/fs/cgroup\n"
    for directory in group.directories() if group else []:
        enter += f"mount --bind {directory} {directory}\n"
    enter += "mount -o remount,bind,ro /sys/fs/cgroup\n"
    return _run(minidock, group, enter + script, ["-m"])


def _run(minidock: Minidock, group: Cgroup | None, script: str, namespaces: list[str]) -> list[str]:
    define = f'minidock() {{ {shlex.join(command_line())} "$@"; }}'
    line = f"set -e\n{define}\n{_NO_SYSTEMD}{script}"
    done = subprocess.run(
        ["unshare", *namespaces, "sh", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(minidock.root),
        timeout=patience(60),
        text=True,
        preexec_fn=group.join if group else None,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()
