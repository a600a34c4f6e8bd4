"""Show an unfinished container in the kernel: namespaces, mounts, links, cgroup.

The only sources are /proc, /sys, and rtnetlink inside the namespaces (ns/network.py). Each part
has the command that shows the same.

Sources: proc(5), namespaces(7), rtnetlink(7), cgroups(7).
"""

from __future__ import annotations

import os

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.monitor.step_exec import has_host_on_root, has_root_of_host, runs_as_nobody
from minidock.kernel import capability, link
from minidock.kernel.netlink import Netlink
from minidock.teach.ns.network import query_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from minidock.engine.container.containers import Container
    from minidock.teach.ns.network import NetworkView

_KINDS = ("mnt", "pid", "net", "uts", "ipc", "cgroup", "user")
_SECCOMP = {"0": "no seccomp filter", "1": "seccomp strict", "2": "a seccomp filter"}


def show(container: Container, init_pid: int, out: TextIO) -> None:
    """Write all parts. init_pid: 0 before clone3."""
    if init_pid and not os.path.exists(f"/proc/{init_pid}/ns/mnt"):
        out.write(f"init ({init_pid}) has exited\n")
        init_pid = 0
    _show_mounts_outside(container, out)
    _show_cgroup(container, out)
    if not init_pid:
        out.write("process      none yet: no namespaces, no links\n")
        return
    inside = query_network(init_pid)
    _show_process(init_pid, out)
    _show_namespaces(init_pid, inside["hostname"], out)
    _show_root(init_pid, container, out)
    _show_mounts_inside(init_pid, container, out)
    _show_links(init_pid, inside, out)


def warnings(container: Container, init_pid: int) -> list[str]:
    """Warnings for a shell beside init: which root it has, and which privileges."""
    try:
        if not init_pid:
            return []
        if has_root_of_host(init_pid):
            return ["the root is still the host's: changes there are changes on the host"]
        said = []
        if has_host_on_root(init_pid):
            said.append(
                "the root is the container's, but the host's is mounted over it until unmounted: "
                "`ls /` shows the container's, `ls /..` the host's"
            )
        if runs_as_nobody(container, init_pid):
            said.append(
                "init still has privileges that the container must not get, so the image's program "
                "runs as nobody"
            )
        return said
    except (FileNotFoundError, ProcessLookupError):  # it has exited
        return []


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
            list_members = file.read().split()
        where = path.removeprefix("/sys/fs/cgroup/").replace(container.id, "$ID")
        out.write(f"             {where}  processes: {' '.join(list_members) or 'none'}\n")
    if not made:
        out.write("             not created yet\n")


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
        own, host = (os.readlink(f"/proc/{process}/ns/{kind}") for process in (pid, "self"))
        whose = "the host's" if own == host else "its own"
        more = f": hostname {hostname}" if kind == "uts" else ""
        out.write(f"             {own:<22} {whose}{more}\n")


def _show_root(pid: int, container: Container, out: TextIO) -> None:
    _part(out, "root", f"ls /proc/{pid}/root/; readlink /proc/{pid}/cwd")
    whose = "the host's" if has_root_of_host(pid) else "the container's"
    if has_host_on_root(pid):
        whose += "; the host's is mounted over it, at /.."
    out.write(f"             {whose}\n")
    cwd = os.readlink(f"/proc/{pid}/cwd").replace(container.paths.home, "$C")
    out.write(f"             working directory {cwd}\n")


def _show_mounts_inside(pid: int, container: Container, out: TextIO) -> None:
    _part(out, "its mounts", f"cat /proc/{pid}/mountinfo")
    found, host = mounts(str(pid)), {mount.shown for mount in mounts("self")}
    if has_root_of_host(pid):
        own = [mount for mount in found if mount.shown not in host]
        out.write(f"             {len(found) - len(own)} as on the host, and below the new root:\n")
    else:
        old = _below_old_root(found)
        own = [mount for mount in found if mount.id not in old]
        if old:
            out.write(f"             {len(old)} of the host's, over the new root\n")
    for mount in own:
        shown = mount.shown.replace(container.paths.home, "$C").replace(container.id, "$ID")
        out.write(f"             {shown}\n")
    if not own:
        out.write("             none of its own\n")


def _show_links(pid: int, inside: NetworkView, out: TextIO) -> None:
    _part(out, "links", f"nsenter -t {pid} -n ip address")
    for each in inside["links"]:
        words = [each["name"], "up" if each["up"] else "down", *each["addresses"]]
        words.append(_peer_text(each["index"], each["peer_index"]) if each["peer_index"] else "")
        out.write(f"             {'  '.join(words)}".rstrip() + "\n")
    if inside["gateway"]:
        out.write(f"             default route by {inside['gateway']}\n")


class Mount:
    """A line of mountinfo. shown: mount point, type, source and root within it."""

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        fields, (kind, source) = before.split(), after.split()[:2]
        self.id, self.parent, self.device, self.root, self.target = fields[:5]
        part = "" if self.root == "/" else f" [{self.root}]"
        self.shown = f"{self.target}  {kind} {source}{part}"


def mounts(pid: str) -> list[Mount]:
    """List the mounts of a process, in the kernel's order."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as file:
        return [Mount(line) for line in file]


def _below_old_root(found: list[Mount]) -> set[str]:
    """Ids of the host's root mounted over the new one, and of all mounts below it.

    They exist between pivot_root(".", ".") and umount2(2) of the old root.
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


def _peer_text(index: int, peer_index: int) -> str:
    """The peer of a veth on the host and its bridge, as text; "" if it is not on the host."""
    with Netlink() as kernel:
        every = link.list_links(kernel)
    names = {found.index: found.name for found in every}
    for found in every:
        if found.kind == "veth" and (found.index, found.peer_index) == (peer_index, index):
            bridge = f" in {names[found.master]}" if found.master else ""
            return f"its peer: {found.name}{bridge}"
    return ""
