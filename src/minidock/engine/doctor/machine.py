"""A machine as the doctor sees one: five questions, so that a recorded machine can answer them too.

    read(path)         a file of /proc, /sys or /etc
    names(path)        what is in a directory
    run(program, …)    what a program that only looks (iptables -V) answers
    try_out(probe)     what the kernel says to a real attempt: see probes.py
    tell(fact)         what no one file says: user, Python, addresses, routes, free space, daemons

Nothing here judges; the other files of this package do, and ask nothing in any other way. Tests
answer from files in tests/fixtures/doctor, which `Recording` wrote on such machines.
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
# As /proc/PID/comm has them, cut at 15 characters.
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
    """What a program said. text: its stdout, and its stderr behind it."""

    code: int
    text: str


class Machine:
    """This machine, now.

    store: whose place on disk, bridge and subnet are looked at.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._answers: dict[tuple[str, ...], Answer | None] = {}
        self._tried: dict[str, dict[str, str]] = {}

    def read(self, path: str) -> str | None:
        """A file's text without blanks at its ends; None where it is missing or not for us."""
        try:
            with open(path, "rb", buffering=0) as file:
                return file.read().decode(errors="replace").strip()
        except OSError:
            return None

    def names(self, path: str) -> list[str] | None:
        """A directory's entries, sorted; None where there is no such directory."""
        try:
            return sorted(os.listdir(path))
        except OSError:
            return None

    def run(self, program: str, *arguments: str) -> Answer | None:
        """What a program answers; None where it is not installed, or does not answer in time."""
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
                input=b"",  # a pipe: /dev/null may be what is missing
                capture_output=True,
                env={"PATH": _PLACES, "LC_ALL": "C"},
                timeout=_PATIENCE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return Answer(done.returncode, (done.stdout + done.stderr).decode(errors="replace").strip())

    def try_out(self, probe: str) -> dict[str, str]:
        """Try something that `run` does: each part of it -> "", or why it does not work here.

        Empty where it could not be tried at all: only root can.
        """
        if probe not in self._tried:
            from minidock.engine.doctor.probes import try_out  # which loads what `run` does

            self._tried[probe] = try_out(probe, self.store)
        return self._tried[probe]

    def tell(self, fact: str) -> list[str]:
        """A fact that is in no file, as words; which there are: _FACTS below."""
        return _FACTS[fact](self.store)


def _addresses(_: Store) -> list[str]:
    """Every IPv4 address as "eth0 192.0.2.2/24"."""
    from minidock.kernel.interfaces import interfaces

    every = [(each["name"], address) for each in interfaces() for address in each["addresses"]]
    return [f"{name} {address}" for name, address in every if ":" not in address]


def _routes(_: Store) -> list[str]:
    """The destination of every route but the default ones, as "10.8.0.0/24"."""
    from minidock.kernel import link
    from minidock.kernel.netlink import Netlink

    with Netlink() as host:
        return sorted({f"{address}/{prefix}" for address, prefix in link.list_routes(host)})


def _securebits(_: Store) -> list[str]:
    """The securebits that are on."""
    from minidock.kernel import securebits

    return securebits.own()


def _space(store: Store) -> list[str]:
    """Of the store's file system: bytes free, bytes in all, inodes free, inodes in all."""
    found = os.statvfs(nearest(store.root))
    sizes = (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
    return [str(number) for number in (*sizes, found.f_favail, found.f_files)]


def _devices(_: Store) -> list[str]:
    """Of each device node that programs rely on, in /dev: "null c 1:3 666", or "null" if missing.

    c: its kind as ls(1) has it; behind the mode, why it cannot be opened where it cannot.
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
        if words[1:3] == ["c", DEVICES[name]] and name != "tty":  # tty: only who has one opens it
            try:
                os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                words.append(errno_name(error.errno or 0))
        found.append(" ".join(words))
    return found


def _daemons(_: Store) -> list[str]:
    """Which of the programs run that have to do with containers or firewalls."""
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
