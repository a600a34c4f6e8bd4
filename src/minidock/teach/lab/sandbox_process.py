"""A process of the place, as the kernel tells the host about it: /proc/PID, read from outside.

Nothing here asks the process itself, or a program of the place. Sources: proc(5), namespaces(7).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from minidock.kernel import namespace
from minidock.kernel.mount import unescaped
from minidock.teach.lab.failure import Failure
from minidock.teach.lab.lan import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OCI_NAMES = {kernel: oci for oci, (_, kernel, _) in namespace.KINDS.items()}
_MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo (proc_pid_mountinfo(5)).

    target: where it is, as its process sees it. root: which directory of the file system is shown.
    options: of this mount ("ro", "nosuid"); super_options: of the file system ("lowerdir=…").
    propagation: "shared:7", "master:3", "unbindable"; empty for a private mount.
    """

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: tuple[str, ...]
    propagation: tuple[str, ...]
    fstype: str
    source: str
    super_options: tuple[str, ...]


class Process:
    """A process by its pid on the host. Every method raises Failure where it has ended."""

    def __init__(
        self,
        pid: int,
        *,
        path_inside: Callable[[str], str] = str,
        nsenter: Callable[..., str] | None = None,
    ) -> None:
        self.pid = pid
        self._path_inside = path_inside  # a cgroup's path, as the place sees it
        self._nsenter = nsenter

    def __repr__(self) -> str:
        return f"Process({self.pid})"

    def is_running(self) -> bool:
        """Whether it is there, and no zombie."""
        try:
            return self.status()["State"][0] not in "ZX"
        except Failure:
            return False

    def namespace(self, kind: str) -> str:
        """What the kernel calls its namespace, such as "pid:[4026532281]".

        kind: as in /proc/PID/ns (mnt, pid, net, uts, ipc, cgroup, user), or OCI's name (mount,
        network).
        """
        kind = namespace.KINDS[kind][1] if kind in namespace.KINDS else kind
        try:
            return os.readlink(f"/proc/{self.pid}/ns/{kind}")
        except OSError as error:
            raise self._ended_failure(error) from None

    def network(self) -> Network:
        """The network that it is in, to make sockets there."""
        return Network.of_process(self.pid, "the box")

    def mounts(self) -> list[Mount]:
        """What is mounted in its mount namespace, below its root, in the order of mounting."""
        return parse_mounts(self.read("mountinfo"))

    def status(self) -> dict[str, str]:
        """/proc/PID/status: "CapEff" -> "00000000a80425fb", "NSpid" -> "712\\t1", ..."""
        found = {}
        for line in self.read("status").splitlines():
            name, _, value = line.partition(":")
            found[name] = value.strip()
        return found

    def pid_inside(self) -> int:
        """Its pid in the innermost PID namespace that it is in."""
        return int(self.status()["NSpid"].split()[-1])

    def cgroups(self) -> dict[str, str]:
        """Controller -> path, as the place sees it: {"memory": "/box1"}; v2's tree is ""."""
        found = {}
        for line in self.read("cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            found.update(dict.fromkeys(controllers.split(","), self._path_inside(path)))
        return found

    def uid_map(self) -> list[tuple[int, int, int]]:
        """(first inside, first outside, how many), outside as the host numbers users."""
        lines = self.read("uid_map").splitlines()
        return [(int(a), int(b), int(c)) for a, b, c in (line.split() for line in lines)]

    def argv(self) -> list[str]:
        """Its command line."""
        return self.read("cmdline").split("\0")[:-1]

    def environment(self) -> dict[str, str]:
        """What it was started with; what it has changed since is not seen."""
        pairs = [entry.partition("=") for entry in self.read("environ").split("\0") if entry]
        return {name: value for name, _, value in pairs}

    def children(self) -> list[Process]:
        """The processes that it has started, or was given as orphans."""
        words = self.read(f"task/{self.pid}/children").split()
        return [
            Process(int(pid), path_inside=self._path_inside, nsenter=self._nsenter) for pid in words
        ]

    def link(self, name: str) -> str:
        """Where /proc/PID/<name> points: root, cwd, exe, fd/0."""
        try:
            return os.readlink(f"/proc/{self.pid}/{name}")
        except OSError as error:
            raise self._ended_failure(error) from None

    def read(self, path: str) -> str:
        """A file of /proc/PID, such as "limits" or "net/route"; nothing below root or cwd."""
        first = path.partition("/")[0]
        if first in ("root", "cwd", "fd", "exe", "map_files", "task") and not path.startswith(
            f"task/{self.pid}/children"
        ):
            raise ValueError(f"/proc/PID/{path} is what the process chose: see look and Place.read")
        try:
            with open(f"/proc/{self.pid}/{path}", "rb") as file:
                return file.read(_MAX_BYTES).decode(errors="replace")
        except OSError as error:
            raise self._ended_failure(error) from None

    def nsenter(self, *argv: str, check: bool = True, own_root: bool = True) -> str:
        """What an applet of the host's busybox prints in this process's namespaces and root.

        Such as look("ls", "/proc"), look("hostname"), look("cat", "/etc/hosts"). It runs with the
        place's root's number and no capability, outside its user namespace: out of the program's
        reach, and with no right of the host's root, wherever a link of the program's leads.
        own_root=False: from the root of its mount namespace, to which a process with CAP_SYS_CHROOT
        gets in any case. Raises Failure with its error where it fails; check=False: returns what it
        printed anyway.
        """
        if self._nsenter is None:
            raise ValueError("this process belongs to no place")
        return self._nsenter(self.pid, argv, check=check, own_root=own_root)

    def _ended_failure(self, error: OSError) -> Failure:
        return Failure(f"process {self.pid} has ended ({error.strerror})")


def parse_mounts(text: str) -> list[Mount]:
    """The lines of a mountinfo file."""
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        number, parent, device, root, target, options, *optional = left.split(" ")
        fstype, source, super_options = (right.split(" ", 2) + ["", ""])[:3]
        found.append(
            Mount(
                int(number), int(parent), device, unescaped(root), unescaped(target),
                tuple(options.split(",")), tuple(word for word in optional if word),
                fstype, unescaped(source), tuple(super_options.split(",")),
            )
        )  # fmt: skip
    return found
