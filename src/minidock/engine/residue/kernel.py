"""What the kernel holds of a store: mounts, links, cgroups, processes.

Nothing here believes the store's own notes of what there is: each list begins with the kernel's,
and what bears the store's name in it is ours. The notes say only who still needs it.

Sources: proc_pid_mountinfo(5), rtnetlink(7), cgroups(7), proc_pid_environ(5).
"""

from __future__ import annotations

import os
from functools import partial

from minidock.engine.network import bridge
from minidock.engine.network.file import every
from minidock.engine.residue.thing import Thing, living, whose
from minidock.errors import NotFound
from minidock.kernel import link
from minidock.kernel.cgroup import MONITORS, home_of, open_cgroup
from minidock.kernel.mount import MNT_DETACH, mount_points, unmount
from minidock.kernel.netlink import Netlink
from minidock.paths import DEFAULT_ROOT
from minidock.runtime import state
from minidock.runtime.lifecycle import destroy_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store

_MONITOR = b"minidock.engine.monitor.process"


def mounts(store: Store) -> Iterator[Thing]:
    """What is mounted for a container, or for something that is being made."""
    for point in reversed(mount_points()):  # the last one covers the others
        for above, told in ((store.containers, True), (store.run, True), (store.staging, False)):
            if not point.startswith(f"{above}/"):
                continue
            name = point[len(above) + 1 :].partition("/")[0]
            if point.startswith(f"{store.sealed}/") or (not told and _is_locked(f"{above}/{name}")):
                continue
            yield Thing(
                "mount", point, owner=name if told else "",
                why=whose(store, name) if told else f"of {above}/{name}, which nobody works at",
                remove=partial(unmount, point, MNT_DETACH),
            )  # fmt: skip


def _is_locked(directory: str) -> bool:
    from minidock.engine.residue.files import is_locked

    return is_locked(directory)


def links(store: Store) -> Iterator[Thing]:
    """Bridges of networks that are no more, and cables that lead to no container."""
    with Netlink() as host:
        found = link.every(host)
    known = devices_of(store)
    cables = {
        lease["Cable"]: container_id
        for network in every(store)
        for container_id, lease in network["Leases"].items()
        if "Cable" in lease
    }
    ours = {each.index: each for each in found if bridge.is_of(store, each)}
    for each in found:
        if each.index in ours and each.name not in known:
            why = "the bridge of a network that is gone"
        elif each.master in ours and each.kind == "veth":
            owner = cables.get(each.name, "")
            why = f"a cable {whose(store, owner)}" if owner else "a cable that leads nowhere"
        else:
            continue
        yield Thing(
            "link", each.name, owner=cables.get(each.name, ""), why=why,
            remove=partial(_delete_link, each.name),
        )  # fmt: skip


def devices_of(store: Store) -> set[str]:
    """The bridges that the store's networks have, or are just getting."""
    found = {str(network.get("Device", "")) for network in every(store)}
    if any(network["Name"] == "bridge" for network in every(store)):
        found.add(store.bridge)
    return found


def _delete_link(name: str) -> None:
    """Take away a device that no container needs any more."""
    with Netlink() as host:
        link.delete(host, name)


def cgroups(store: Store) -> Iterator[Thing]:
    """The cgroups of containers, wherever they were made, and the processes that live in them."""
    for parent, name in _places(store):
        group = open_cgroup(parent, name)
        if not group.exists():
            continue
        for pid in group.pids():
            yield Thing(
                "process", f"{pid} {_comm(pid)}", owner=name, why=whose(store, name),
                remove=group.kill_all,
            )  # fmt: skip
        yield Thing(
            "cgroup", f"/{group.path}", owner=name, why=whose(store, name),
            remove=partial(destroy_cgroup, group),
        )  # fmt: skip


def _places(store: Store) -> list[tuple[str, str]]:
    """Parent and name of each container's cgroup: below the store's own, or where /run says."""
    found = set()
    parent = home_of(store.cgroup_parent)
    for directory in open_cgroup(parent, MONITORS).directories():
        above = os.path.dirname(directory)
        if os.path.isdir(above):
            entries = [entry.name for entry in os.scandir(above) if entry.is_dir()]
            found |= {(parent, name) for name in entries if name != MONITORS}
    for name in os.listdir(store.run) if os.path.isdir(store.run) else ():
        try:
            kept = state.load(store.run, name).content["cgroup"]
        except NotFound:
            continue
        found.add((kept[0].strip("/"), kept[1]))
    return sorted(found)


def monitors(store: Store) -> Iterator[Thing]:
    """Monitors without a container, whose command is gone: nobody will tell them to launch one."""
    owners = set(living(store).values())
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in owners:
            continue
        if _MONITOR not in _file(f"/proc/{entry}/cmdline") or _root_of(entry) != store.root:
            continue
        status = _file(f"/proc/{entry}/stat").rpartition(b")")[2].split()
        if status and not _is_command(int(status[1])):
            yield Thing(
                "process", f"{entry} monitor", owner="", why="it has no container and no command",
                remove=partial(_kill, int(entry)),
            )  # fmt: skip


def _is_command(pid: int) -> bool:
    """Whether a process is a minidock command, which may still want its monitor."""
    words = _file(f"/proc/{pid}/cmdline").split(b"\0")
    return any(word.rpartition(b"/")[2] == b"minidock" for word in words)


def _root_of(pid: str) -> str:
    for entry in _file(f"/proc/{pid}/environ").split(b"\0"):
        if entry.startswith(b"MINIDOCK_ROOT="):
            return os.path.abspath(os.fsdecode(entry[14:]))
    return DEFAULT_ROOT


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def _comm(pid: int) -> str:
    return _file(f"/proc/{pid}/comm").decode(errors="replace").strip()


def _file(path: str) -> bytes:
    """A file of /proc; empty where its process has ended."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""
