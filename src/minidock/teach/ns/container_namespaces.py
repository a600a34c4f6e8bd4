"""ns CONTAINER: what each of its namespaces hides, measured inside and outside.

    mnt      /proc/PID/mountinfo, and the host's
    pid      NSpid in each /proc/PID/status: a pid for each PID namespace that sees the process
    net      /proc/PID/net/dev: the devices of that process's network
    uts, ipc the same program in both, by nsenter(1)
    cgroup   /proc/PID/cgroup, read from inside and from outside
    user, time   /proc/PID/uid_map, timens_offsets
    nested   the other namespaces of processes in its cgroup; ioctl_ns(2)

No file of the container is opened or executed: nsenter runs the host's programs.
Sources: namespaces(7) and those that it names, ioctl_ns(2), proc(5).
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
import sys

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.containers import restarting_error
from minidock.errors import Conflict, MinidockError
from minidock.kernel.mountinfo import mount_table
from minidock.numerals import is_decimal
from minidock.teach.ns.ns import HOST, KINDS, inode_of, member_of, members_sharing, ns_pids
from minidock.teach.page import WIDTH, Paint, plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from minidock.engine.container.containers import Container
    from minidock.teach.ns.ns import Member

_NS_GET_USERNS, _NS_GET_PARENT, _NS_GET_OWNER_UID = 0xB701, 0xB702, 0xB704  # ioctl_ns(2)
_SHOWN = 4  # of a list


class ContainerNamespace:
    """One namespace of a container.

    nprocs, pid: the number of processes in it, and the lowest pid (lsns(8)).
    hides: a sentence. inside, outside: the measurements on both sides.
    """

    def __init__(self, kind: str, inode: int, shared_with: list[str]) -> None:
        self.kind = kind
        self.ns = inode
        self.shared_with = shared_with
        self.nprocs = 0
        self.pid = 0
        self.hides = ""
        self.inside: object = None
        self.outside: object = None
        self.command = ""

    def set_measured(self, inside: object, outside: object, hides: str, command: list[str]) -> None:
        """Store the measurements. hides: what the namespace hides, as text."""
        self.inside, self.outside, self.command = inside, outside, shlex.join(command)
        self.hides = hides


class NestedNamespace:
    """A namespace that a process of the container created or joined.

    kind, ns, nprocs, pid: as in ContainerNamespace. pns, ons: its parent (PID and user namespaces),
    and the user namespace that owns it, as in lsns(8); 0 if outside of our own. owner_uid: the
    creator of the user namespace, or of the owning one. shared_with: other containers, or the host,
    with processes in it; the kernel does not tell which of them created it.
    """

    def __init__(self, kind: str, inode: int, pids: list[int], shared_with: list[str]) -> None:
        self.kind = kind
        self.ns = inode
        self.shared_with = shared_with
        self.nprocs, self.pid = len(pids), min(pids)
        path = f"/proc/{self.pid}/ns/{kind}"
        self.pns, _ = _related(path, _NS_GET_PARENT) if kind in ("pid", "user") else (0, 0)
        self.ons, self.owner_uid = _related(path, _NS_GET_USERNS)
        if kind == "user":
            self.owner_uid = _owner_uid_of(path)
        self.command = shlex.join(["lsns", "-o", "NS,TYPE,NPROCS,PID,PNS,ONS", "-p", str(self.pid)])

    def sentence(self) -> str:
        """Its owner, as text."""
        if self.kind == "user":
            return f"created by uid {self.owner_uid} of the host, in user namespace {self.ons}"
        return f"owned by user namespace {self.ons}"


def _related(path: str, request: int) -> tuple[int, int]:
    """The parent or owner of a namespace: (inode, uid of the creator of a user namespace)."""
    with open(path, "rb") as file:
        try:
            related = fcntl.ioctl(file, request)
        except PermissionError:  # it is outside of our own user or PID namespace
            return 0, 0
    try:
        return os.fstat(related).st_ino, _owner_uid(related) if request == _NS_GET_USERNS else 0
    finally:
        os.close(related)


def _owner_uid_of(path: str) -> int:
    with open(path, "rb") as file:
        return _owner_uid(file.fileno())


def _owner_uid(user_namespace: int) -> int:
    uid = fcntl.ioctl(user_namespace, _NS_GET_OWNER_UID, bytes(4))
    return int.from_bytes(uid, sys.byteorder)


def list_nested(container: Container, members: list[Member]) -> list[NestedNamespace]:
    """List the namespaces created inside a container, in the order of their processes."""
    known = {item for m in members if not m.within for item in m.inodes.items()}
    creators = [m for m in members if m.within and m.id == container.id]
    whose = _names_by_pid(container, members)
    found = []
    for kind, inode in dict.fromkeys(item for m in creators for item in m.inodes.items()):
        if (kind, inode) not in known and (pids := _processes_in(kind, inode)):
            names = {whose.get(pid, HOST) for pid in pids}
            try:
                found.append(NestedNamespace(kind, inode, pids, sorted(names - {container.name})))
            except (FileNotFoundError, ProcessLookupError):  # the last process has just exited
                continue
    return found


def _names_by_pid(container: Container, members: list[Member]) -> dict[int, str]:
    """The container that each process is in: pid -> name."""
    return {
        pid: m.name
        for m in members
        if m.id and not m.within
        for pid in cgroup_of(container.store, m.id).pids()
    }


def list_namespaces(container: Container, members: list[Member]) -> list[ContainerNamespace]:
    """List the namespaces of a running container. Raises Conflict if it does not run."""
    member = member_of(container, members)
    if container.restarting:
        raise restarting_error(container)
    if member is None:
        raise Conflict(
            f"container {container.name} does not run: it has no namespaces",
            hint=f"minidock start {container.name}",
        )
    try:
        return _measure(member, members)
    except (FileNotFoundError, ProcessLookupError, MinidockError):
        if os.path.exists(f"/proc/{member.pid}/ns/mnt"):
            raise
        raise Conflict(f"container {container.name} has just ended") from None


def _measure(member: Member, members: list[Member]) -> list[ContainerNamespace]:
    pid = int(member.pid)
    found = []
    for kind in KINDS:
        namespace = ContainerNamespace(
            kind, member.inodes[kind], members_sharing(member, kind, members)
        )
        pids = _processes_in(kind, namespace.ns)
        namespace.nprocs, namespace.pid = len(pids), min(pids, default=0)
        _MEASURE[kind](namespace, pid)
        if HOST in namespace.shared_with:
            namespace.hides = f"nothing: it is the host's. {_SHARED[kind]}"
        found.append(namespace)
    return found


_SHARED = {
    "mnt": "It sees and changes the host's mounts.",
    "pid": "It sees all processes, and may signal those of its user.",
    "net": "It has the host's addresses and ports.",
    "ipc": "It sees the host's shared memory, semaphores and queues.",
    "uts": "It has the host's name, and with CAP_SYS_ADMIN may change it.",
    "cgroup": "It sees where it is in the host's tree.",
    "user": "Root in it is root of the host, less the capabilities that were taken away.",
    "time": "Its clocks are the host's.",
}


def _processes_in(kind: str, inode: int) -> list[int]:
    """List the processes in a namespace."""
    found = []
    for name in os.listdir("/proc"):
        if is_decimal(name):
            try:
                if inode_of(int(name), kind) == inode:
                    found.append(int(name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has exited, or access is denied (lsns skips these too)
    return found


def _mounts(namespace: ContainerNamespace, pid: int) -> None:
    inside, outside = _mount_table(pid), _mount_table("self")
    seen = {what for what, _ in inside}
    hidden = sorted((point for what, point in outside if what not in seen), key=len)
    text = f"{len(hidden)} of the host's {plural(len(outside), 'mount')}: {_list_text(hidden)}"
    namespace.set_measured(len(inside), len(outside), text, ["cat", f"/proc/{pid}/mountinfo"])


def _mount_table(pid: int | str) -> list[tuple[tuple[str, str], str]]:
    """((device, directory of its file system), mount point) of each mount; proc(5)."""
    return [((f[2], f[3]), f[4]) for f in (line.split(" ", 5) for line in mount_table(pid))]


def _processes(namespace: ContainerNamespace, pid: int) -> None:
    """Those whose PID namespace it is, or lies in it."""
    inner: dict[int, bool] = {}
    numbers: dict[int, int] = {}
    all_of_them = [int(name) for name in os.listdir("/proc") if is_decimal(name)]
    depth = len(ns_pids(pid))
    for process in all_of_them:
        try:
            inode = inode_of(process, "pid")
            if inode not in inner:
                inner[inode] = _is_within(process, namespace.ns)
            if inner[inode]:
                numbers[process] = ns_pids(process)[depth - 1]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    hidden = len(all_of_them) - len(numbers)
    pairs = _list_text([f"{ours} is {theirs} in it" for ours, theirs in sorted(numbers.items())])
    text = f"{hidden} of the host's {plural(len(all_of_them), 'process', 'processes')}; {pairs}"
    command = ["pgrep", "-a", "--ns", str(pid), "--nslist", "pid"]
    namespace.set_measured(numbers, len(all_of_them), text, command)


def _is_within(process: int, inode: int) -> bool:
    """Whether a process's PID namespace is this one, or was made in it."""
    fd = os.open(f"/proc/{process}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while os.fstat(fd).st_ino != inode:
            try:
                parent = fcntl.ioctl(fd, _NS_GET_PARENT)
            except PermissionError:  # the outermost that we may know of
                return False
            os.close(fd)
            fd = parent
        return True
    finally:
        os.close(fd)


def _network(namespace: ContainerNamespace, pid: int) -> None:
    inside, outside = network_devices(pid), network_devices("self")
    hidden = outside if namespace.ns != inode_of("self", "net") else []
    devices = plural(len(hidden), "device")
    text = f"the host's {devices} ({_list_text(hidden)}); it has {_list_text(inside)}"
    command = ["nsenter", "-t", str(pid), "-n", "ip", "-brief", "address"]
    namespace.set_measured(inside, outside, text, command)


def network_devices(pid: int | str) -> list[str]:
    """The network devices that a process sees."""
    with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
        return [line.partition(":")[0].strip() for line in file.readlines()[2:]]


def _ipc(namespace: ContainerNamespace, pid: int) -> None:
    files = [f"/proc/sysvipc/{name}" for name in ("msg", "sem", "shm")]
    inside = _rows(["nsenter", "-t", str(pid), "-i", "cat", *files])
    outside = _rows(["cat", *files])
    objects = plural(outside, "object")
    text = f"the host's System V IPC ({objects}) and POSIX queues; of its own it has {inside}"
    namespace.set_measured(inside, outside, text, ["nsenter", "-t", str(pid), "-i", "ipcs"])


def _rows(command: list[str]) -> int:
    """How many objects the three lists name, less their headings."""
    return len(_output(command).splitlines()) - 3


def _uts(namespace: ContainerNamespace, pid: int) -> None:
    command = ["nsenter", "-t", str(pid), "-u", "hostname"]
    inside, outside = _output(command).strip(), os.uname().nodename
    namespace.set_measured(
        inside, outside, f"that the host is called {outside}: its name is {inside}", command
    )


def _cgroup(namespace: ContainerNamespace, pid: int) -> None:
    command = ["nsenter", "-t", str(pid), "-C", "cat", f"/proc/{pid}/cgroup"]
    inside, outside = (
        _cgroup_paths(_output(command)),
        _cgroup_paths(_output(["cat", f"/proc/{pid}/cgroup"])),
    )
    text = (
        f"the tree above it: {_list_text(outside)} of the host's tree is {_list_text(inside)} in it"
    )
    namespace.set_measured(inside, outside, text, command)


def _cgroup_paths(text: str) -> list[str]:
    """The cgroups of a process, in the order of the trees, each once."""
    return list(dict.fromkeys(line.split(":", 2)[2] for line in text.splitlines()))


def _user(namespace: ContainerNamespace, pid: int) -> None:
    command = ["cat", f"/proc/{pid}/uid_map"]
    inside, outside = _output(command).split(), _output(["cat", "/proc/self/uid_map"]).split()
    text = f"the host's users: {inside[0]} in it is {inside[1]} outside"
    namespace.set_measured(" ".join(inside), " ".join(outside), text, command)


def _time(namespace: ContainerNamespace, pid: int) -> None:
    command = ["cat", f"/proc/{pid}/timens_offsets"]
    inside, outside = (
        _output(command).split(),
        _output(["cat", "/proc/self/timens_offsets"]).split(),
    )
    text = "how long the machine has been up: its clocks have offsets"
    namespace.set_measured(" ".join(inside), " ".join(outside), text, command)


_MEASURE = {
    "mnt": _mounts,
    "pid": _processes,
    "net": _network,
    "ipc": _ipc,
    "uts": _uts,
    "cgroup": _cgroup,
    "user": _user,
    "time": _time,
}


def _output(command: list[str]) -> str:
    """What a program prints. Raises MinidockError where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MinidockError(
            f"{command[0]} is not installed", hint="apt-get install util-linux"
        ) from None
    if done.returncode:
        raise MinidockError(f"{shlex.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def _list_text(names: list[str]) -> str:
    """A list for people, cut where it gets long."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more if names else "none"


def write_json(found: list[ContainerNamespace], made: list[NestedNamespace], out: TextIO) -> None:
    """Write them for machines; "ns", "nprocs", "pid", "pns", "ons" are what lsns -J calls so."""
    rows = [{"type": each.kind, "nested": False, **vars(each)} for each in found]
    rows += [{"type": each.kind, "nested": True, **vars(each)} for each in made]
    for row in rows:
        del row["kind"]
    out.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")


def first_process(pid: int) -> str:
    """What number a container's first process has, on the host and in its PID namespace."""
    numbers = ns_pids(pid)
    if len(numbers) == 1:
        return f"its first process is {pid}, on the host and in it"
    if numbers[-1] == 1:
        return f"its process 1 is {pid} on the host"
    return f"its first process is {pid} on the host, and {numbers[-1]} in a PID namespace of others"


def write_text(
    container: Container, found: list[ContainerNamespace], made: list[NestedNamespace], out: TextIO
) -> None:
    """Write them for people."""
    from textwrap import wrap

    paint = Paint(out)
    short = f"{container.id[:12]}…"
    heading = f"{container.name} · {first_process(int(container.state['Pid']))}"
    out.write(paint.bold(heading) + "\n")
    for namespace in found:
        others = [name for name in namespace.shared_with if name != HOST]
        whose = f"shared with {_list_text(others)}" if others else "its own"
        whose = "the host's" if HOST in namespace.shared_with else whose
        processes = plural(namespace.nprocs, "process", "processes")
        out.write(f"\n{paint.bold(f'{namespace.kind:<7}')} {namespace.ns}  {whose}, {processes}\n")
        for line in wrap(f"hides {namespace.hides.replace(container.id, short)}", WIDTH - 8):
            out.write(f"        {line}\n")
        out.write("        " + paint.command(f"$ {namespace.command}") + "\n")
    for each in made:
        processes = plural(each.nprocs, "process", "processes")
        elsewhere = f" or in {_list_text(each.shared_with)}" if each.shared_with else ""
        what = f"made inside{elsewhere}, {processes}, the first {each.pid} on the host"
        out.write(f"\n{paint.bold(f'{each.kind:<7}')} {each.ns}  {what}\n")
        out.write(f"        {each.sentence()}\n")
        out.write("        " + paint.command(f"$ {each.command}") + "\n")
