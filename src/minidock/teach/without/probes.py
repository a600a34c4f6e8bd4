"""Probes: test from inside a container what of the host is visible and reachable.

They run in a process that joins the container as `exec` does: in its namespaces and cgroup, with
the user, capabilities and seccomp filter of its command. The process executes no program, so the
image needs none, and imports nothing: all modules are loaded before.

Each probe returns its finding: "leaked" is whether something of the host was reachable, and
"attempted" is false if there was nothing to test. A probe restores what it changes; one that leaves
its root or creates a namespace runs in a child.

    inside ── {"ask": "hostname"} ──► witness ── answer ──►      only the host can know
    inside ── {"probe": NAME, "leaked": …, …} ──►                a finding
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
from minidock.kernel.pivot_root import chroot
from minidock.kernel.process import start_time
from minidock.numerals import is_decimal
from minidock.oci.runtime_config import MASKED_PATHS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from minidock.teach.without.finding import Facts, Finding

_NULL_DEVICE = os.makedev(1, 3)
_SETTINGS = ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger")
_CONNECT_SECONDS = 1.0
# A device number reserved for local use: Documentation/admin-guide/devices.txt, "10 char".
_UNUSED_DEVICE = (stat.S_IFCHR, os.makedev(10, 254), "device 10:254")
_SECTOR_BYTES = 512
_DEPTH = 64


class Host:
    """Facts about the host that the witness passes to the probes before they enter.

    processes: pid -> start time of every process of the host. monitor: the pid of a process to
    signal. interfaces: names. root, shared_memory: (device, inode) of / and /dev/shm. port: of a
    listener on 127.0.0.1. socket: the abstract name of a listening Unix socket. segment: the id of
    a System V shared memory segment, -1 if the kernel has no SysV IPC.
    """

    def __init__(self, **facts: Unpack[Facts]) -> None:
        self.processes = facts["processes"]
        self.monitor = facts["monitor"]
        self.interfaces = facts["interfaces"]
        self.network = facts["network"]
        self.hostname = facts["hostname"]
        self.names = facts["names"]
        self.root = facts["root"]
        self.shared_memory = facts["shared_memory"]
        self.port = facts["port"]
        self.socket = facts["socket"]
        self.segment = facts["segment"]
        self.ask: Callable[[str], str] = lambda question: ""


def run_all(host: Host) -> None:
    """Run every probe, and send each finding to the witness on descriptor 1."""
    use_journal(None)  # its channel to the monitor is closed
    end = ""
    try:
        host.ask = _ask
        for name, probe in PROBES.items():
            _send({"probe": name, **probe(host)})
    except BaseException as error:  # inside nothing may unwind: the witness raises it
        end = f"{type(error).__name__}: {error}"
    _send({"end": end})


def _send(finding: Finding | dict[str, str]) -> None:
    os.write(1, jsontext.dumps(finding).encode())


def _ask(question: str) -> str:
    _send({"ask": question})
    return str(jsontext.loads(os.read(0, 4096).decode()))


# --- namespaces ----------------------------------------------------------------------------------


def see_processes(host: Host) -> Finding:
    """Which of the host's processes /proc shows: same pid, same start time."""
    seen = [int(name) for name in os.listdir("/proc") if is_decimal(name)]
    theirs = [pid for pid in sorted(seen) if host.processes.get(pid, -1) == start_time(pid)]
    programs = [pid for pid in theirs if _read(f"/proc/{pid}/cmdline")]  # not the kernel's own
    some = [f"{_read(f'/proc/{pid}/comm').strip()} ({pid})" for pid in (programs or theirs)[:3]]
    return {"leaked": bool(theirs), "count": len(theirs), "examples": some}


def signal_processes(host: Host) -> Finding:
    """Whether a process of the host can be signalled; signal 0 only checks permission."""
    return _attempt(lambda: os.kill(host.monitor, 0), pid=host.monitor)


def see_interfaces(host: Host) -> Finding:
    """Which of the host's network interfaces are visible."""
    names = [line.partition(":")[0].strip() for line in _read("/proc/self/net/dev").split("\n")[2:]]
    names = [name for name in names if name]
    shared = (
        os.stat("/proc/self/ns/net").st_ino == host.network
    )  # not just two interfaces called eth0
    return {"leaked": shared and bool({*names} & {*host.interfaces}), "names": names}


def reach_loopback(host: Host) -> Finding:
    """Whether a server on the host's 127.0.0.1 accepts a connection."""
    return _attempt(lambda: _connect(_socket.AF_INET, ("127.0.0.1", host.port)), port=host.port)


def reach_abstract_socket(host: Host) -> Finding:
    """Whether an abstract Unix socket of the host accepts: they belong to network namespaces."""
    return _attempt(lambda: _connect(_socket.AF_UNIX, "\0" + host.socket), name="@" + host.socket)


def walk_through_proc(host: Host) -> Finding:
    """Whether /proc/PID/root of any visible process leads to the host's root directory.

    It is a magic link that crosses mount namespaces; only a ptrace access mode check restricts it,
    ptrace(2) "Ptrace access mode checking".
    """
    for pid in [name for name in os.listdir("/proc") if is_decimal(name)]:
        try:
            root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # access denied, or it has exited
        found = os.fstat(root)
        names = sorted(os.listdir(root))
        os.close(root)
        if (found.st_dev, found.st_ino) == host.root:
            return {"leaked": True, "path": f"/proc/{pid}/root", "names": names[:6]}
    return {"leaked": False}


def read_hostname(host: Host) -> Finding:
    """Whether the hostname is the host's."""
    name = os.uname().nodename
    shared = os.stat("/proc/self/ns/uts").st_ino == host.names
    return {"leaked": shared and name == host.hostname, "name": name}


def change_hostname(host: Host) -> Finding:
    """Whether sethostname(2) here changes the host's hostname; it is restored at once."""
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


def see_shared_segments(host: Host) -> Finding:
    """Whether a System V shared memory segment of the host is listed."""
    lines = _read("/proc/sysvipc/shm").split("\n")[1:]
    ids = [int(line.split()[1]) for line in lines if line]
    attempted = host.segment >= 0
    return {"leaked": host.segment in ids, "count": len(ids), "attempted": attempted}


def see_shared_memory(host: Host) -> Finding:
    """Whether /dev/shm is the host's, with the POSIX shared memory of its processes."""
    try:
        found = os.stat("/dev/shm")
    except FileNotFoundError:
        return {"leaked": False, "names": [], "attempted": False}
    names = sorted(os.listdir("/dev/shm"))
    return {"leaked": (found.st_dev, found.st_ino) == host.shared_memory, "names": names[:3]}


def read_cgroup(host: Host) -> Finding:
    """Whether /proc/self/cgroup shows the path on the host, or "/"."""
    paths = {line.split(":", 2)[2] for line in _read("/proc/self/cgroup").split("\n") if line}
    return {"leaked": paths != {"/"}, "path": max(paths, key=len)}


# --- the root ------------------------------------------------------------------------------------


def climb_out(host: Host) -> Finding:
    """The classic chroot escape: chroot again while a descriptor stays outside of the new root.

    ".." stops at a root only for a process below it. After pivot_root there is nothing above.
    """

    def climb() -> Finding:
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


def read_capabilities(host: Host) -> Finding:
    """Which capabilities this process has beyond Docker's default set of 14."""
    bits = int(_status("CapPrm"), 16)
    extra = [
        name
        for number, name in enumerate(capability.NAMES)
        if bits >> number & 1 and name not in capability.DOCKER_DEFAULT
    ]
    return {"leaked": "CAP_SYS_ADMIN" in extra, "count": len(extra), "names": extra}


def make_namespace(host: Host) -> Finding:
    """Whether unshare(2) can create a mount namespace, in which mounts are possible."""

    def make() -> Finding:
        return _attempt(lambda: unshare(["mount"]))

    return _in_child(make)


def read_filter(host: Host) -> Finding:
    """Whether the kernel filters this process's system calls."""
    mode = _status("Seccomp")
    return {"leaked": mode == "0", "mode": mode}


def ask_for_keys(host: Host) -> Finding:
    """Whether keyctl(2), which the default seccomp filter denies, reaches the kernel's keyrings."""
    return _attempt(find_session_keyring)


# --- /proc, /sys and devices ---------------------------------------------------------------------


def see_masked_paths(host: Host) -> Finding:
    """Which of the default masked paths are readable here."""
    shown = [path for path in MASKED_PATHS if not _is_hidden(path)]
    return {"leaked": bool(shown), "paths": shown}


def open_settings(host: Host) -> Finding:
    """Which global kernel settings can be opened for writing; nothing is written."""
    opened = []
    for path in _SETTINGS:
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError:
            continue
        opened.append(path)
    return {"leaked": bool(opened), "paths": opened}


def open_device(host: Host) -> Finding:
    """Whether a device that was not granted can be opened: the first disk, or an unused number.

    The kernel checks the device cgroup before it looks up the driver, so the unused number gives
    the same answer on a machine without a readable disk.
    """
    found: Finding = {"leaked": False, "device": "none"}
    for kind, number, name in (*_first_disk(), _UNUSED_DEVICE):
        found = {"device": name, **_open_node(kind, number)}
        if found["leaked"]:
            break
    return found


def _open_node(kind: int, number: int) -> Finding:
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


def _attempt(act: Callable[[], object], **facts: Unpack[Finding]) -> Finding:
    """Attempt an action: a leak if the kernel permits it."""
    try:
        act()
    except (KernelError, OSError) as error:
        return {"leaked": False, "errno": errno_name(error.errno or 0), **facts}
    return {"leaked": True, **facts}


def _in_child(act: Callable[[], Finding]) -> Finding:
    """Run a probe in a child, since it cannot undo what it does."""
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
    found: Finding = jsontext.loads(text.decode())
    return found


def _connect(family: int, address: tuple[str, int] | str) -> None:
    socket = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        socket.settimeout(_CONNECT_SECONDS)
        socket.connect(address)
    finally:
        socket.close()


def _read(path: str) -> str:
    """A file's text; "" if it cannot be read, such as of a process that has exited."""
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
    """Whether a path is masked, by /dev/null or an empty directory, or does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return True
    if stat.S_ISCHR(found.st_mode):
        return found.st_rdev == _NULL_DEVICE
    return stat.S_ISDIR(found.st_mode) and not os.listdir(path)


def _first_disk() -> list[tuple[int, int, str]]:
    """Type, device number and name of the host's first disk, if it has one."""
    for line in _read("/proc/partitions").split("\n")[2:]:
        if line:
            major, minor, _, name = line.split()
            return [(stat.S_IFBLK, os.makedev(int(major), int(minor)), name)]
    return []


PROBES: dict[str, Callable[[Host], Finding]] = {
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
