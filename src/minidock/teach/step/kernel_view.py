"""What the kernel says of a container that is half made: namespaces, mounts, links, cgroup.

Nothing here asks minidock: it is /proc, /sys, and ioctl(2) from inside the namespaces. Each part
names the command by which one sees the same oneself.

Sources: proc(5), namespaces(7), netdevice(7), cgroups(7).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct

from minidock.engine.container.cgroups import cgroup_of
from minidock.kernel import capability, namespace, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TextIO

    from minidock.engine.container.containers import Container

_KINDS = ("mnt", "pid", "net", "uts", "ipc", "cgroup", "user")
_SIOCGIFFLAGS, _SIOCGIFADDR, _SIOCGIFNETMASK = 0x8913, 0x8915, 0x891B
_IFF_UP = 1
_SECCOMP = {"0": "no seccomp filter", "1": "seccomp strict", "2": "a seccomp filter"}


def show(container: Container, init_pid: int, out: TextIO) -> None:
    """Write all of it. init_pid: 0 where there is no process yet."""
    if init_pid and not os.path.exists(f"/proc/{init_pid}/ns/mnt"):
        out.write(f"init ({init_pid}) has ended\n")
        init_pid = 0
    _show_mounts_outside(container, out)
    _show_cgroup(container, out)
    if not init_pid:
        out.write("process      none yet: no namespaces of its own, no links, no inside\n")
        return
    inside = look_from_inside(init_pid)
    _show_process(init_pid, out)
    _show_namespaces(init_pid, inside["hostname"], out)
    _show_mounts_inside(init_pid, container, out)
    _show_links(init_pid, inside, out)


def shows_root_of_host(pid: int) -> bool:
    """Whether who enters a process's mount namespace finds the host's root directory there.

    So it is until pivot_root has put the new one in its place, and the old one is unmounted.
    """
    try:
        return bool(_below_old_root(mounts(str(pid))))
    except FileNotFoundError:  # it has ended
        return False


def _part(out: TextIO, name: str, command: str) -> None:
    out.write(f"{name:<12} $ {command}\n")


def _show_mounts_outside(container: Container, out: TextIO) -> None:
    home = container.paths.home
    _part(out, "host's mounts", f"findmnt | grep {container.id[:12]}")
    found = [mount for mount in mounts("self") if mount.target.startswith(home + "/")]
    for mount in found:
        out.write(f"             {mount.shown.replace(home, '$C')}\n")
    if not found:
        out.write("             none for this container\n")


def _show_cgroup(container: Container, out: TextIO) -> None:
    group = cgroup_of(container.store, container.id)
    made = [path for path in group.directories() if os.path.isdir(path)]
    _part(out, "cgroup", f"find /sys/fs/cgroup -type d -name {container.id[:12]}*")
    for path in made:
        with open(f"{path}/cgroup.procs", encoding="ascii") as file:
            members = file.read().split()
        where = path.removeprefix("/sys/fs/cgroup/").replace(container.id, "$ID")
        out.write(f"             {where}  processes: {' '.join(members) or 'none'}\n")
    if not made:
        out.write("             not made yet\n")


def _show_process(pid: int, out: TextIO) -> None:
    status = _status(pid)
    _part(out, "process", f"cat /proc/{pid}/status")
    held = len(capability.names_of(int(status["CapEff"], 16)))
    allowed = len(capability.names_of(int(status["CapBnd"], 16)))
    out.write(
        f"             {pid}, uid {status['Uid'].split()[1]}, gid {status['Gid'].split()[1]}; "
        f"{held} capabilities in effect, {allowed} in the bounding set; "
        f"{_SECCOMP.get(status.get('Seccomp', ''), 'seccomp unknown')}\n"
    )


def _show_namespaces(pid: int, hostname: str, out: TextIO) -> None:
    _part(out, "namespaces", f"ls -l /proc/{pid}/ns")
    for kind in _KINDS:
        own, host = (os.readlink(f"/proc/{who}/ns/{kind}") for who in (pid, "self"))
        whose = "the host's" if own == host else "its own"
        more = f": hostname {hostname}" if kind == "uts" else ""
        out.write(f"             {own:<22} {whose}{more}\n")


def _show_mounts_inside(pid: int, container: Container, out: TextIO) -> None:
    _part(out, "its mounts", f"cat /proc/{pid}/mountinfo")
    found, host = mounts(str(pid)), {mount.shown for mount in mounts("self")}
    if os.path.samestat(os.stat(f"/proc/{pid}/root/"), os.stat("/")):  # before pivot_root
        own = [mount for mount in found if mount.shown not in host]
        out.write(f"             {len(found) - len(own)} as on the host, and below the new root:\n")
    else:
        old = _below_old_root(found)
        own = [mount for mount in found if mount.id not in old]
        if old:
            out.write(f"             {len(old)} of the host's, on top of the new root\n")
    for mount in own:
        shown = mount.shown.replace(container.paths.home, "$C").replace(container.id, "$ID")
        out.write(f"             {shown}\n")
    if not own:
        out.write("             none of its own\n")


def _show_links(pid: int, inside: dict[str, Any], out: TextIO) -> None:
    _part(out, "links", f"nsenter -t {pid} -n ip address")
    for link in inside["links"]:
        state = "up" if link["up"] else "down"
        out.write(f"             {link['name']}  {state}  {' '.join(link['addresses'])}".rstrip())
        out.write("\n")
    if not inside["links"]:
        out.write("             none\n")


class Mount:
    """A line of mountinfo. shown: mount point, type, source and what of it is mounted."""

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        fields, (kind, source) = before.split(), after.split()[:2]
        self.id, self.parent, self.device, self.root, self.target = fields[:5]
        part = "" if self.root == "/" else f" [{self.root}]"
        self.shown = f"{self.target}  {kind} {source}{part}"


def mounts(pid: str) -> list[Mount]:
    """The mounts that a process sees, in the kernel's order."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as file:
        return [Mount(line) for line in file]


def _below_old_root(found: list[Mount]) -> set[str]:
    """Ids of the host's root where it is mounted over the new one, and of all mounts below it.

    So it is between pivot_root(".", ".") and the unmounting of the old root.
    """
    host = next(mount for mount in mounts("self") if mount.target == "/")
    below: set[str] = set()
    for mount in found:
        is_root = (mount.device, mount.root, mount.target) == (host.device, host.root, "/")
        if is_root or mount.parent in below:
            below.add(mount.id)
    return below


def _status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        lines = file.read().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def look_from_inside(pid: int) -> dict[str, Any]:
    """What a process in init's network and UTS namespaces hears: {"hostname", "links"}.

    A child of ours goes there; it stays in our own mount and PID namespaces.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(pid, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else {"hostname": "?", "links": []}


def _answer(pid: int, writing: int) -> NoReturn:
    try:
        process.set_not_dumpable()
        for kind, name in (("network", "net"), ("uts", "uts")):
            namespace.setns(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), [kind])
        links = [_link(name) for _, name in socket.if_nameindex()]
        told = {"hostname": os.uname().nodename, "links": links}
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    finally:
        os._exit(1)


def _link(name: str) -> dict[str, Any]:
    """A link of this network namespace: {"name", "up", "addresses"}."""
    request = struct.pack("16s24x", name.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:

        def ask(what: int) -> bytes:
            return fcntl.ioctl(asking, what, request)[16:]

        up = bool(struct.unpack_from("H", ask(_SIOCGIFFLAGS))[0] & _IFF_UP)
        addresses = []
        try:
            address, mask = ask(_SIOCGIFADDR)[4:8], ask(_SIOCGIFNETMASK)[4:8]
            prefix = int.from_bytes(mask, "big").bit_count()
            addresses.append(f"{socket.inet_ntoa(address)}/{prefix}")
        except OSError:
            pass  # EADDRNOTAVAIL: it has none
    return {"name": name, "up": up, "addresses": addresses + _addresses_v6(name)}


def _addresses_v6(name: str) -> list[str]:
    try:
        with open("/proc/self/net/if_inet6", encoding="ascii") as file:
            fields = [line.split() for line in file]
    except FileNotFoundError:  # a kernel without IPv6
        return []
    return [
        f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address))}/{int(prefix, 16)}"
        for address, _, prefix, _, _, link in fields
        if link == name
    ]
