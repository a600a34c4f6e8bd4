"""A process of the sandbox, seen from the host: /proc/PID.

No method asks the process itself, or runs a program of the sandbox. Sources: proc(5),
namespaces(7).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from minidock.kernel import namespace
from minidock.kernel.mountinfo import unescaped
from minidock.teach.lab.failure import Failure
from minidock.teach.lab.lan import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo (proc_pid_mountinfo(5)).

    target: the mount point, as its process sees it. root: the directory of the file system that is
    mounted. options: of this mount ("ro", "nosuid"). super_options: of the file system
    ("lowerdir=…"). propagation: "shared:7", "master:3", "unbindable"; empty for a private mount.
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
    """A process by its pid on the host. Every method raises Failure if it has ended."""

    def __init__(
        self,
        pid: int,
        *,
        path_inside: Callable[[str], str] = str,
        nsenter: Callable[..., str] | None = None,
    ) -> None:
        self.pid = pid
        self._path_inside = path_inside  # a cgroup's path, as the sandbox sees it
        self._nsenter = nsenter

    def __repr__(self) -> str:
        return f"Process({self.pid})"

    def is_running(self) -> bool:
        """Whether it exists and is not a zombie."""
        try:
            return self.status()["State"][0] not in "ZX"
        except Failure:
            return False

    def namespace(self, kind: str) -> str:
        """The identity of its namespace, such as "pid:[4026532281]".

        kind: a name in /proc/PID/ns (mnt, pid, net, uts, ipc, cgroup, user), or OCI's name (mount,
        network).
        """
        kind = namespace.KINDS[kind][1] if kind in namespace.KINDS else kind
        try:
            return os.readlink(f"/proc/{self.pid}/ns/{kind}")
        except OSError as error:
            raise self._ended_failure(error) from None

    def network(self) -> Network:
        """Its network namespace, to create sockets in."""
        return Network.of_process(self.pid, "the box")

    def mounts(self) -> list[Mount]:
        """The mounts of its mount namespace below its root, in the order of mounting."""
        return parse_mounts(self.read("mountinfo"))

    def status(self) -> dict[str, str]:
        """/proc/PID/status: "CapEff" -> "00000000a80425fb", "NSpid" -> "712\\t1", ..."""
        found = {}
        for line in self.read("status").splitlines():
            name, _, value = line.partition(":")
            found[name] = value.strip()
        return found

    def pid_inside(self) -> int:
        """Its pid in its own PID namespace."""
        return int(self.status()["NSpid"].split()[-1])

    def cgroups(self) -> dict[str, str]:
        """Controller -> path, as the sandbox sees it: {"memory": "/box1"}; "" is cgroup v2."""
        found = {}
        for line in self.read("cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            found.update(dict.fromkeys(controllers.split(","), self._path_inside(path)))
        return found

    def uid_map(self) -> list[tuple[int, int, int]]:
        """(first inside, first outside, length) of each line; outside are uids of the host."""
        lines = self.read("uid_map").splitlines()
        return [(int(a), int(b), int(c)) for a, b, c in (line.split() for line in lines)]

    def argv(self) -> list[str]:
        """Its command line."""
        return self.read("cmdline").split("\0")[:-1]

    def environment(self) -> dict[str, str]:
        """Its environment at execve(2), without later changes."""
        pairs = [entry.partition("=") for entry in self.read("environ").split("\0") if entry]
        return {name: value for name, _, value in pairs}

    def children(self) -> list[Process]:
        """Its children, including adopted orphans."""
        words = self.read(f"task/{self.pid}/children").split()
        return [
            Process(int(pid), path_inside=self._path_inside, nsenter=self._nsenter) for pid in words
        ]

    def link(self, name: str) -> str:
        """The target of the link /proc/PID/<name>: root, cwd, exe, fd/0."""
        try:
            return os.readlink(f"/proc/{self.pid}/{name}")
        except OSError as error:
            raise self._ended_failure(error) from None

    def read(self, path: str) -> str:
        """Read a file of /proc/PID, such as "limits" or "net/route"; nothing below root or cwd."""
        first = path.partition("/")[0]
        if first in ("root", "cwd", "fd", "exe", "map_files", "task") and not path.startswith(
            f"task/{self.pid}/children"
        ):
            raise ValueError(
                f"/proc/PID/{path} is under the process's control: use nsenter or Sandbox.read"
            )
        try:
            with open(f"/proc/{self.pid}/{path}", "rb") as file:
                return file.read(_MAX_BYTES).decode(errors="replace")
        except OSError as error:
            raise self._ended_failure(error) from None

    def nsenter(self, *argv: str, check: bool = True, own_root: bool = True) -> str:
        """Run an applet of the host's busybox in this process's namespaces and root.

        Such as nsenter("ls", "/proc"), nsenter("cat", "/etc/hosts"). Returns its output. It runs
        with the uid of the sandbox's root and without capabilities, outside its user namespace: the
        program cannot reach it, and no link of the program's gives it rights of the host's root.
        own_root=False: at the root of the mount namespace, which a process with CAP_SYS_CHROOT
        can always reach. Raises Failure if it fails; check=False: returns its output anyway.
        """
        if self._nsenter is None:
            raise ValueError("this process does not belong to a sandbox")
        return self._nsenter(self.pid, argv, check=check, own_root=own_root)

    def _ended_failure(self, error: OSError) -> Failure:
        return Failure(f"process {self.pid} has ended ({error.strerror})")


def parse_mounts(text: str) -> list[Mount]:
    """Parse the lines of a mountinfo file."""
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
