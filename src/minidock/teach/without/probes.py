"""Probes: what a program in a container can see and do, found out by seeing and doing it.

They run in a process that has entered the container as `exec` lets a command enter: in its
namespaces and cgroup, with the user, capabilities and system call filter of its command. But it
becomes no program, so an image needs none for this. It imports nothing: all is loaded before.

Each probe returns what it found, with "leaked": whether something of the host came through, and
"attempted" as false where there was nothing to try it on: that speaks for no wall. None
changes anything that stays; what it must change it changes back, and only the process itself ends
up elsewhere (a probe that leaves its root or makes a namespace does so in a child).

    inside ── {"ask": "hostname"} ──► witness ── answer ──►      only the host can know
    inside ── {"probe": NAME, "leaked": …, …} ──►                what one of them found
    inside ── {"end": ""} ──►                                    or the error that stopped them

Sources: proc(5), chroot(2), capabilities(7), keyctl(2), devices cgroup, unix(7).
"""

from __future__ import annotations

import _socket
import os
import stat
from errno import EACCES, EPERM

from minidock import jsontext
from minidock.errors import KernelError, errno_name
from minidock.kernel import capability
from minidock.kernel.keyring import find_session_keyring
from minidock.kernel.namespace import set_hostname, unshare
from minidock.kernel.op import use_journal
from minidock.kernel.path import chroot
from minidock.kernel.process import start_time
from minidock.numerals import is_decimal
from minidock.oci.runtime_config import MASKED_PATHS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Found = dict[str, Any]

_NULL_DEVICE = os.makedev(1, 3)
_SETTINGS = ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger")
_CONNECT_SECONDS = 1.0
# A number that is kept for local use: Documentation/admin-guide/devices.txt, "10 char".
_UNUSED_DEVICE = (stat.S_IFCHR, os.makedev(10, 254), "device 10:254")
_SECTOR_BYTES = 512
_DEPTH = 64


class Host:
    """What the witness knows of the host and tells before the walls are crossed.

    processes: pid -> start time of every process of the host. monitor: the pid of one whom a
    signal may reach. interfaces: names. root, shared_memory: (device, inode) of / and /dev/shm.
    port: on 127.0.0.1, listening. socket: an abstract name, listening. segment: a System V
    shared memory's id, -1 where the kernel has none.
    """

    def __init__(self, **facts: Any) -> None:
        self.processes: dict[int, int] = facts["processes"]
        self.monitor: int = facts["monitor"]
        self.interfaces: list[str] = facts["interfaces"]
        self.network: int = facts["network"]
        self.hostname: str = facts["hostname"]
        self.names: int = facts["names"]
        self.root: tuple[int, int] = facts["root"]
        self.shared_memory: tuple[int, int] = facts["shared_memory"]
        self.port: int = facts["port"]
        self.socket: str = facts["socket"]
        self.segment: int = facts["segment"]
        self.ask: Callable[[str], Any] = lambda question: None


def run_all(host: Host) -> None:
    """Run every probe, and tell the witness on descriptor 1 what each found."""
    use_journal(None)  # it led out through the channel, which is closed
    end = ""
    try:
        host.ask = _ask
        for name, probe in PROBES.items():
            _tell({"probe": name, **probe(host)})
    except BaseException as error:  # past the walls nothing may unwind: the witness raises it
        end = f"{type(error).__name__}: {error}"
    _tell({"end": end})


def _tell(finding: dict[str, Any]) -> None:
    os.write(1, jsontext.dumps(finding).encode())


def _ask(question: str) -> Any:
    _tell({"ask": question})
    return jsontext.loads(os.read(0, 4096).decode())


# --- namespaces ----------------------------------------------------------------------------------


def see_processes(host: Host) -> Found:
    """Which of the host's processes /proc shows: the same pid, begun at the same time."""
    seen = [int(name) for name in os.listdir("/proc") if is_decimal(name)]
    theirs = [pid for pid in sorted(seen) if host.processes.get(pid, -1) == start_time(pid)]
    programs = [pid for pid in theirs if _read(f"/proc/{pid}/cmdline")]  # not the kernel's own
    some = [f"{_read(f'/proc/{pid}/comm').strip()} ({pid})" for pid in (programs or theirs)[:3]]
    return {"leaked": bool(theirs), "count": len(theirs), "examples": some}


def signal_processes(host: Host) -> Found:
    """Whether a process of the host can be sent a signal; number 0 is checked and not sent."""
    return _attempt(lambda: os.kill(host.monitor, 0), pid=host.monitor)


def see_interfaces(host: Host) -> Found:
    """Which of the host's network interfaces are in sight."""
    names = [line.partition(":")[0].strip() for line in _read("/proc/self/net/dev").split("\n")[2:]]
    names = [name for name in names if name]
    shared = os.stat("/proc/self/ns/net").st_ino == host.network  # or there are two called eth0
    return {"leaked": shared and bool({*names} & {*host.interfaces}), "names": names}


def reach_loopback(host: Host) -> Found:
    """Whether a server that listens only on the host's 127.0.0.1 answers."""
    return _attempt(lambda: _connect(_socket.AF_INET, ("127.0.0.1", host.port)), port=host.port)


def reach_abstract_socket(host: Host) -> Found:
    """Whether a Unix socket without a file answers: such names belong to a network namespace."""
    return _attempt(lambda: _connect(_socket.AF_UNIX, "\0" + host.socket), name="@" + host.socket)


def walk_through_proc(host: Host) -> Found:
    """Whether /proc/PID/root of any process in sight leads to the host's root directory.

    It is a link of the kernel's own, which no mount namespace stops: only the right to look at that
    process does, ptrace(2) "Ptrace access mode checking".
    """
    for pid in [name for name in os.listdir("/proc") if is_decimal(name)]:
        try:
            root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # not to be looked at, or it has ended
        found = os.fstat(root)
        names = sorted(os.listdir(root))
        os.close(root)
        if (found.st_dev, found.st_ino) == host.root:
            return {"leaked": True, "path": f"/proc/{pid}/root", "names": names[:6]}
    return {"leaked": False}


def read_hostname(host: Host) -> Found:
    """Whether the name of this machine is the host's."""
    name = os.uname().nodename
    shared = os.stat("/proc/self/ns/uts").st_ino == host.names
    return {"leaked": shared and name == host.hostname, "name": name}


def change_hostname(host: Host) -> Found:
    """Whether the host has another name once it is changed here; it gets its own back at once."""
    name, other = os.uname().nodename, f"{os.uname().nodename[:50]}-changed"
    try:
        set_hostname(other)
    except KernelError as error:
        return {"leaked": False, "errno": errno_name(error.errno)}
    try:
        of_host = host.ask("hostname")
    finally:
        set_hostname(name)
    return {"leaked": of_host == other, "name": name, "on_the_host": of_host}


def see_shared_segments(host: Host) -> Found:
    """Whether a System V shared memory segment of the host is in the list."""
    lines = _read("/proc/sysvipc/shm").split("\n")[1:]
    ids = [int(line.split()[1]) for line in lines if line]
    attempted = host.segment >= 0
    return {"leaked": host.segment in ids, "count": len(ids), "attempted": attempted}


def see_shared_memory(host: Host) -> Found:
    """Whether /dev/shm is the host's, with the POSIX shared memory of its processes."""
    try:
        found = os.stat("/dev/shm")
    except FileNotFoundError:
        return {"leaked": False, "names": [], "attempted": False}
    names = sorted(os.listdir("/dev/shm"))
    return {"leaked": (found.st_dev, found.st_ino) == host.shared_memory, "names": names[:3]}


def read_cgroup(host: Host) -> Found:
    """Whether the own cgroup has its name in the host's tree, or is simply "/"."""
    paths = {line.split(":", 2)[2] for line in _read("/proc/self/cgroup").split("\n") if line}
    return {"leaked": paths != {"/"}, "path": max(paths, key=len)}


# --- the root ------------------------------------------------------------------------------------


def climb_out(host: Host) -> Found:
    """The oldest way out of a chroot: change the root once more, and keep a foot outside of it.

    A root only stops who walks up from below it. pivot_root leaves nothing above to climb to.
    """

    def climb() -> Found:
        outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        chroot("/proc")
        os.fchdir(outside)
        for _ in range(_DEPTH):
            os.chdir("..")
        here = os.stat(".")
        out = (here.st_dev, here.st_ino) == host.root
        return {"leaked": out, "names": sorted(os.listdir("."))[:6] if out else []}

    return _in_child(climb)


# --- what a process may do -----------------------------------------------------------------------


def read_capabilities(host: Host) -> Found:
    """Which capabilities this process has beyond Docker's fourteen."""
    bits = int(_status("CapPrm"), 16)
    extra = [
        name
        for number, name in enumerate(capability.NAMES)
        if bits >> number & 1 and name not in capability.DOCKER_DEFAULT
    ]
    return {"leaked": "CAP_SYS_ADMIN" in extra, "count": len(extra), "names": extra}


def make_namespace(host: Host) -> Found:
    """Whether a mount namespace can be made, and with it mounts: what root is most wanted for."""

    def make() -> Found:
        return _attempt(lambda: unshare(["mount"]))

    return _in_child(make)


def read_filter(host: Host) -> Found:
    """Whether the kernel filters this process's system calls."""
    mode = _status("Seccomp")
    return {"leaked": mode == "0", "mode": mode}


def ask_for_keys(host: Host) -> Found:
    """Whether a system call that the default filter forbids gets through to the kernel's keys."""
    return _attempt(find_session_keyring)


# --- /proc, /sys and devices ---------------------------------------------------------------------


def see_masked_paths(host: Host) -> Found:
    """Which of the paths that are masked by default are open here."""
    shown = [path for path in MASKED_PATHS if not _is_hidden(path)]
    return {"leaked": bool(shown), "paths": shown}


def open_settings(host: Host) -> Found:
    """Which of the whole kernel's settings can be opened for writing; nothing is written."""
    opened = []
    for path in _SETTINGS:
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError:
            continue
        opened.append(path)
    return {"leaked": bool(opened), "paths": opened}


def open_device(host: Host) -> Found:
    """Whether a device that was not given can be opened: the first disk, or a number of nobody's.

    The kernel asks the cgroup before it looks whether there is such a device at all; so the second
    tells the same where the machine has no disk, or may not read it itself.
    """
    found = {"leaked": False, "device": "none"}
    for kind, number, name in (*_first_disk(), _UNUSED_DEVICE):
        found = {"device": name, **_open_node(kind, number)}
        if found["leaked"]:
            break
    return found


def _open_node(kind: int, number: int) -> Found:
    path = "/dev/.minidock-probe"
    try:
        os.mknod(path, kind | 0o600, number)
    except OSError as error:
        return {"leaked": False, "errno": errno_name(error.errno or 0)}
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return {"leaked": True, "bytes": len(os.read(descriptor, _SECTOR_BYTES))}
        finally:
            os.close(descriptor)
    except OSError as error:
        refused = error.errno in (EPERM, EACCES)
        return {"leaked": not refused, "errno": errno_name(error.errno or 0)}
    finally:
        os.unlink(path)


# --- how -----------------------------------------------------------------------------------------


def _attempt(act: Callable[[], object], **facts: Any) -> Found:
    """Do it: what the kernel refuses did not leak."""
    try:
        act()
    except (KernelError, OSError) as error:
        return {"leaked": False, "errno": errno_name(error.errno or 0), **facts}
    return {"leaked": True, **facts}


def _in_child(act: Callable[[], Found]) -> Found:
    """The same in a child, which does not come back from where it went."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                finding = act()
            except (KernelError, OSError) as error:
                finding = {"leaked": False, "errno": errno_name(error.errno or 0)}
            os.write(writing, jsontext.dumps(finding).encode())
        finally:
            os._exit(0)
    os.close(writing)
    text = os.read(reading, 65536)
    os.close(reading)
    os.waitpid(pid, 0)
    return jsontext.loads(text.decode())  # type: ignore[no-any-return]


def _connect(family: int, address: Any) -> None:
    socket = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        socket.settimeout(_CONNECT_SECONDS)
        socket.connect(address)
    finally:
        socket.close()


def _read(path: str) -> str:
    """A file's text; "" where it is not to be had, such as of a process that has ended."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall().decode("utf-8", "replace")
    except OSError:
        return ""


def _status(field: str) -> str:
    """A field of this process's /proc/self/status."""
    for line in _read("/proc/self/status").split("\n"):
        if line.startswith(f"{field}:"):
            return line.partition(":")[2].strip()
    return "0"


def _is_hidden(path: str) -> bool:
    """Whether a path shows nothing: covered by /dev/null or by an empty directory, or not there."""
    try:
        found = os.stat(path)
    except OSError:
        return True
    if stat.S_ISCHR(found.st_mode):
        return found.st_rdev == _NULL_DEVICE
    return stat.S_ISDIR(found.st_mode) and not os.listdir(path)


def _first_disk() -> list[tuple[int, int, str]]:
    """Type, number and name of the host's first disk, where it has one."""
    for line in _read("/proc/partitions").split("\n")[2:]:
        if line:
            major, minor, _, name = line.split()
            return [(stat.S_IFBLK, os.makedev(int(major), int(minor)), name)]
    return []


PROBES: dict[str, Callable[[Host], Found]] = {
    "see processes": see_processes,
    "signal processes": signal_processes,
    "walk through proc": walk_through_proc,
    "see interfaces": see_interfaces,
    "reach loopback": reach_loopback,
    "reach abstract socket": reach_abstract_socket,
    "read hostname": read_hostname,
    "change hostname": change_hostname,
    "see shared segments": see_shared_segments,
    "see shared memory": see_shared_memory,
    "read cgroup": read_cgroup,
    "climb out": climb_out,
    "read filter": read_filter,
    "ask for keys": ask_for_keys,
    "read capabilities": read_capabilities,
    "make namespace": make_namespace,
    "see masked paths": see_masked_paths,
    "open settings": open_settings,
    "open device": open_device,
}
