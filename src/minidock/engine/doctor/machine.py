"""The doctor's interface to a machine: five methods, which a recorded machine can implement too.

    read(path)         a file of /proc, /sys or /etc
    names(path)        the entries of a directory
    run(program, …)    the output of a read-only program (iptables -V)
    try_out(probe)     the result of a real attempt: see probes.py
    tell(fact)         other facts: user, Python, addresses, routes, free space, daemons

This module contains no judgement; the other modules of this package judge, and access the machine
only through it. Tests replay files in tests/fixtures/doctor, which `Recording` wrote on real
machines.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from minidock.engine.doctor.child_probe import nearest
from minidock.errors import errno_name
from minidock.numerals import is_decimal
from minidock.paths import Store

_PATIENCE_SECONDS = 10
# As in /proc/PID/comm, truncated to 15 characters.
_WATCHED = {
    "buildkitd", "conmon", "containerd", "crio", "dockerd", "firewalld", "k3s-server", "kubelet",
    "libvirtd", "podman", "virtnetworkd",
}  # fmt: skip
# Device nodes that every Linux machine has (null(4), full(4), random(4), tty(4)).
DEVICES = {
    "null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0",
}  # fmt: skip
_PLACES = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Answer:
    """The result of a program. text: its stdout, followed by its stderr."""

    code: int
    text: str


class Machine:
    """This machine, now.

    store: its path, bridge and subnet are examined.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._answers: dict[tuple[str, ...], Answer | None] = {}
        self._tried: dict[str, dict[str, str]] = {}

    def read(self, path: str) -> str | None:
        """Read a file, without surrounding blanks; None if it is missing or not readable."""
        try:
            with open(path, "rb", buffering=0) as file:
                return file.read().decode(errors="replace").strip()
        except OSError:
            return None

    def names(self, path: str) -> list[str] | None:
        """List a directory, sorted; None if it does not exist."""
        try:
            return sorted(os.listdir(path))
        except OSError:
            return None

    def run(self, program: str, *arguments: str) -> Answer | None:
        """Run a program; None if it is not installed, or does not end in time."""
        command = (program, *arguments)
        if command not in self._answers:
            self._answers[command] = self._run(*command)
        return self._answers[command]

    def _run(self, program: str, *arguments: str) -> Answer | None:
        path = shutil.which(program, path=_PLACES)
        if path is None:
            return None
        try:
            done = subprocess.run(
                [path, *arguments],
                input=b"",  # a pipe: /dev/null may be missing
                capture_output=True,
                env={"PATH": _PLACES, "LC_ALL": "C"},
                timeout=_PATIENCE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return Answer(done.returncode, (done.stdout + done.stderr).decode(errors="replace").strip())

    def try_out(self, probe: str) -> dict[str, str]:
        """Try something that `run` does; returns each part -> "", or why it does not work here.

        Empty if it could not be tried: only root can.
        """
        if probe not in self._tried:
            from minidock.engine.doctor.probes import try_out  # imports the same modules as `run`

            self._tried[probe] = try_out(probe, self.store)
        return self._tried[probe]

    def tell(self, fact: str) -> list[str]:
        """Return a fact that no single file contains, as words; see _FACTS below."""
        return _FACTS[fact](self.store)


def _addresses(_: Store) -> list[str]:
    """List every IPv4 address as "eth0 192.0.2.2/24"."""
    from minidock.kernel.interfaces import interfaces

    every = [(each["name"], address) for each in interfaces() for address in each["addresses"]]
    return [f"{name} {address}" for name, address in every if ":" not in address]


def _routes(_: Store) -> list[str]:
    """List the destinations of all routes without default routes, as "10.8.0.0/24"."""
    from minidock.kernel import link
    from minidock.kernel.netlink import Netlink

    with Netlink() as host:
        return sorted({f"{address}/{prefix}" for address, prefix in link.list_routes(host)})


def _securebits(_: Store) -> list[str]:
    """Return the securebits that are set."""
    from minidock.kernel import securebits

    return securebits.own()


def _space(store: Store) -> list[str]:
    """Return free bytes, total bytes, free inodes, total inodes of the store's file system."""
    found = os.statvfs(nearest(store.root))
    sizes = (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
    return [str(number) for number in (*sizes, found.f_favail, found.f_files)]


def _devices(_: Store) -> list[str]:
    """Describe each required device node of /dev: "null c 1:3 666", or "null" if missing.

    c: its type as in ls(1). After the mode follows why it cannot be opened, if so.
    """
    found = []
    for name in DEVICES:
        try:
            status = os.stat(f"/dev/{name}")
        except OSError:
            found.append(name)
            continue
        device = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        mode = f"{stat.S_IMODE(status.st_mode):o}"
        words = [name, stat.filemode(status.st_mode)[0], device, mode]
        if words[1:3] == ["c", DEVICES[name]] and name != "tty":  # tty needs a terminal
            try:
                os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                words.append(errno_name(error.errno or 0))
        found.append(" ".join(words))
    return found


def _daemons(_: Store) -> list[str]:
    """List running programs that deal with containers or firewalls."""
    running = set()
    for entry in os.listdir("/proc"):
        if is_decimal(entry):
            try:
                with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as file:
                    running.add(file.read().strip())
            except OSError:
                continue  # it has ended
    return sorted(running & _WATCHED)


_FACTS: dict[str, Callable[[Store], list[str]]] = {
    "addresses": _addresses,
    "daemons": _daemons,
    "devices": _devices,
    "architecture": lambda _: [os.uname().machine],
    "python": lambda _: [platform.python_version()],
    "routes": _routes,
    "securebits": _securebits,
    "space": _space,
    "store": lambda store: [store.root, nearest(store.root)],
    "subnet": lambda store: [store.subnet] if store.subnet else [],
    "bridge": lambda store: [store.bridge],
    "user": lambda _: [str(os.geteuid())],
}
