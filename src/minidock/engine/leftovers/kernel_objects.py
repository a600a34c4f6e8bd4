"""What the kernel holds of a store: mounts, links, cgroups, processes.

Nothing here believes the store's own notes of what there is: each list begins with the kernel's,
and what bears the store's name in it is ours. The notes say only who still needs it.

Sources: proc_pid_mountinfo(5), rtnetlink(7), cgroups(7), proc_pid_environ(5).
"""

from __future__ import annotations

import os
from functools import partial

from minidock.engine.container.volume_mounts import users_of as volume_users
from minidock.engine.leftovers.leftover import Thing, living, scripts, whose
from minidock.engine.network import bridge
from minidock.engine.network.endpoint import veth_name
from minidock.engine.network.network_json import list_names, read_all
from minidock.engine.store.locks import exclusive
from minidock.errors import DamagedFile, NotFound
from minidock.kernel import link
from minidock.kernel.cgroup import MONITORS
from minidock.kernel.cgroup_tree import home_of, open_cgroup
from minidock.kernel.mount import MNT_DETACH, mount_points, unmount
from minidock.kernel.netlink import Netlink
from minidock.numerals import is_decimal
from minidock.oci.digest import is_hex
from minidock.paths import DEFAULT_ROOT, is_sha256
from minidock.runtime import state
from minidock.runtime.lifecycle import destroy_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store

_MONITOR = b"minidock.engine.monitor.main"


def mounts(store: Store) -> Iterator[Thing]:
    """What is mounted for a container, or for something that is being made."""
    yield from _volume_mounts(store)
    known = scripts() if store.is_default else []  # a script says not of which store it is
    boxes = {f"{script.box}/": script.id for script in known if script.box.startswith("/")}
    for point in reversed(mount_points()):  # the last one covers the others
        for box, script_id in boxes.items():
            if point.startswith(box):
                yield Thing(
                    "mount", point, owner=script_id, why=whose(store, script_id),
                    remove=partial(unmount, point, MNT_DETACH),
                )  # fmt: skip
        for above, told in ((store.containers, True), (store.run, True), (store.staging, False)):
            if not point.startswith(f"{above}/"):
                continue
            name = point[len(above) + 1 :].partition("/")[0]
            if (told and not is_sha256(name)) or (not told and _is_locked(f"{above}/{name}")):
                continue
            yield Thing(
                "mount", point, owner=name if told else "",
                why=whose(store, name) if told else f"of {above}/{name}, which nobody works at",
                remove=partial(unmount, point, MNT_DETACH),
            )  # fmt: skip


def _volume_mounts(store: Store) -> Iterator[Thing]:
    """Volumes that are mounted for containers, the last of which has gone."""
    mounted = set(mount_points())
    for name, users in volume_users(store).items():
        place = f"{store.volume(name)}/_data"
        if place in mounted and not users & living(store).keys():
            yield Thing(
                "mount", place, owner="", why="a volume that no container which runs has",
                remove=partial(_unmount_unused, store, name, place),
            )  # fmt: skip


def _unmount_unused(store: Store, name: str, place: str) -> None:
    """Unmount a volume, unless a container has come to use it meanwhile."""
    with exclusive(f"{store.volumes}/.lock"):
        if not volume_users(store).get(name, set()) & living(store).keys():
            unmount(place, MNT_DETACH)


def _is_locked(directory: str) -> bool:
    from minidock.engine.leftovers.store_files import is_locked

    return is_locked(directory)


def links(store: Store) -> Iterator[Thing]:
    """Bridges of networks that are no more, and cables that lead to no container."""
    with Netlink() as host:
        found = link.every(host)
    known, running = devices_of(store), living(store)
    if known is None:
        return  # which bridge is whose, a damaged file does not say
    cables = {
        lease["Cable"]: container_id
        for network in read_all(store)
        for container_id, lease in network["Leases"].items()
        if "Cable" in lease
    }
    ours = {each.index: each for each in found if bridge.is_owned_by(store, each)}
    for each in found:
        if each.master in ours and each.kind == "veth" and is_cable(each.name):
            owner = cables.get(each.name) or _owner_of_cable(each.name, running)
            yield Thing(
                "link", each.name, owner=owner,
                why=f"a cable {whose(store, owner)}" if owner else "a cable of no container",
                remove=partial(_delete_link, each.name),
            )  # fmt: skip
    for name in gone_bridges(store):
        yield Thing(
            "link", name, owner="", why="the bridge of a network that is gone",
            remove=partial(_delete_link, name),
        )  # fmt: skip


def gone_bridges(store: Store) -> set[str]:
    """The bridges of this store that no network has, and to which nothing leads but cables of
    containers that do not run."""
    known, running = devices_of(store), living(store)
    if known is None:
        return set()
    leases = [lease for network in read_all(store) for lease in network["Leases"].items()]
    used = {lease.get("Cable", "") for owner, lease in leases if owner in running}
    with Netlink() as host:
        found = link.every(host)
    return {
        each.name
        for each in found
        if bridge.is_owned_by(store, each) and each.name not in known
        and all(is_cable(port.name) and port.name not in used
                and not _owner_of_cable(port.name, running)
                for port in found if port.master == each.index)
    }  # fmt: skip


def is_cable(name: str) -> bool:
    """Whether a device has the name of a container's cable: veth, and eleven hex digits."""
    return len(name) == len(veth_name("")) + 11 and name[:4] == "veth" and is_hex(name[4:])


def _owner_of_cable(name: str, running: dict[str, int]) -> str:
    """The container that a cable is named for, where that runs: a script's has no lease."""
    return next((each for each in running if name == veth_name(each)), "")


def devices_of(store: Store) -> set[str] | None:
    """The bridges that the store's networks have, or are just getting; None where a damaged file
    keeps that to itself."""
    networks = read_all(store)
    if len(networks) < len(list_names(store)):
        return None
    found = {str(network.get("Device", "")) for network in networks}
    if any(network["Name"] == "bridge" for network in networks):
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
            found |= {(parent, name) for name in entries if is_sha256(name)}
    for name in os.listdir(store.run) if os.path.isdir(store.run) else ():
        try:
            kept = state.load(store.run, name).content["cgroup"]
        except (NotFound, DamagedFile):
            continue
        found.add((kept[0].strip("/"), kept[1]))
    return sorted(found)


def monitors(store: Store) -> Iterator[Thing]:
    """Monitors without a container, whose command is gone: nobody will tell them to launch one."""
    owners = set(living(store).values())
    for entry in os.listdir("/proc"):
        if not is_decimal(entry) or int(entry) in owners:
            continue
        if _MONITOR not in _file(f"/proc/{entry}/cmdline") or _root_of(entry) != store.root:
            continue
        if _has_lost_its_command(entry):
            yield Thing(
                "process", f"{entry} monitor", owner="", why="it has no container and no command",
                remove=partial(_kill, int(entry)),
            )  # fmt: skip


def _has_lost_its_command(pid: str) -> bool:
    """Whether the command that bore a monitor has ended: the monitor's environment names it."""
    noted = _variable(pid, b"MINIDOCK_COMMAND_PROCESS").split()
    return len(noted) == 2 and not state.is_alive(int(noted[0]), int(noted[1]))


def _root_of(pid: str) -> str:
    root = _variable(pid, b"MINIDOCK_ROOT")
    return os.path.abspath(root) if root else DEFAULT_ROOT


def _variable(pid: str, name: bytes) -> str:
    for entry in _file(f"/proc/{pid}/environ").split(b"\0"):
        if entry.startswith(name + b"="):
            return os.fsdecode(entry[len(name) + 1 :])
    return ""


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
