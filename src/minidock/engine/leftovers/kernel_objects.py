"""Find what the kernel still holds of a store: mounts, links, cgroups, processes.

Each list comes from the kernel, not from the store's documents; an object belongs to the store if
its name says so. The documents only tell which container still uses it.

Sources: proc_pid_mountinfo(5), rtnetlink(7), cgroups(7), proc_pid_environ(5).
"""

from __future__ import annotations

import os
import signal
from functools import partial

from minidock.engine.container.volume_mounts import users_of as volume_users
from minidock.engine.leftovers.leftover import (
    Leftover,
    describe_owner,
    list_scripts,
    owners_by_container,
)
from minidock.engine.network import bridge
from minidock.engine.network.network_json import list_names, read_all
from minidock.engine.network.veth_pair import veth_name
from minidock.engine.store.locks import exclusive
from minidock.errors import DamagedFile, NotFound
from minidock.kernel import link
from minidock.kernel.cgroup import MONITORS
from minidock.kernel.cgroup_tree import home_of, open_cgroup
from minidock.kernel.mount import MNT_DETACH, unmount
from minidock.kernel.mountinfo import mount_points
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


def find_mounts(store: Store) -> Iterator[Leftover]:
    """Find mounts of containers, and mounts in staging/ that no process works in."""
    yield from _volume_mounts(store)
    known = list_scripts() if store.is_default else []  # one store cleans up after all
    boxes = {f"{script.box}/": script.id for script in known if script.box.startswith("/")}
    for point in reversed(mount_points()):  # the last mount covers the others
        for box, script_id in boxes.items():
            if point.startswith(box):
                yield Leftover(
                    "mount", point, owner=script_id, why=describe_owner(store, script_id),
                    remove=partial(unmount, point, MNT_DETACH),
                )  # fmt: skip
        for parent in (store.containers, store.run):
            name = _child_of(parent, point)
            if is_sha256(name):
                yield Leftover(
                    "mount", point, owner=name, why=describe_owner(store, name),
                    remove=partial(unmount, point, MNT_DETACH),
                )  # fmt: skip
        entry = _child_of(store.staging, point)
        if entry and not _is_locked(f"{store.staging}/{entry}"):
            yield Leftover(
                "mount", point, owner="", why=f"of {store.staging}/{entry}, which no process uses",
                remove=partial(unmount, point, MNT_DETACH),
            )  # fmt: skip


def _child_of(parent: str, path: str) -> str:
    """The entry of a directory that a path lies in, or ""."""
    return path[len(parent) + 1 :].partition("/")[0] if path.startswith(f"{parent}/") else ""


def _volume_mounts(store: Store) -> Iterator[Leftover]:
    """Find volumes that are still mounted although no container that uses them runs."""
    mounted = set(mount_points())
    for name, users in volume_users(store).items():
        data = f"{store.volume(name)}/_data"
        if data in mounted and not users & owners_by_container(store).keys():
            yield Leftover(
                "mount", data, owner="", why="a volume that no running container uses",
                remove=partial(_unmount_unused, store, name, data),
            )  # fmt: skip


def _unmount_unused(store: Store, name: str, data: str) -> None:
    """Unmount a volume, unless a container uses it by now."""
    with exclusive(f"{store.volumes}/.lock"):
        if not volume_users(store).get(name, set()) & owners_by_container(store).keys():
            unmount(data, MNT_DETACH)


def _is_locked(directory: str) -> bool:
    from minidock.engine.leftovers.store_files import is_locked

    return is_locked(directory)


def find_links(store: Store) -> Iterator[Leftover]:
    """Find bridges without a network, and veth devices without a running container."""
    with Netlink() as host:
        found = link.list_links(host)
    known, running = devices_of(store), owners_by_container(store)
    if known is None:
        return  # a damaged network file might name one of the bridges
    owners = {
        lease["Cable"]: container_id
        for network in read_all(store)
        for container_id, lease in network["Leases"].items()
        if "Cable" in lease
    }
    ours = {each.index: each for each in found if bridge.is_owned_by(store, each)}
    for each in found:
        if each.master in ours and each.kind == "veth" and is_veth_name(each.name):
            owner = owners.get(each.name) or _owner_of_veth(each.name, running)
            yield Leftover(
                "link", each.name, owner=owner,
                why=f"veth {describe_owner(store, owner)}" if owner else "veth of no container",
                remove=partial(_delete_link, each.name),
            )  # fmt: skip
    for name in unused_bridges(store):
        yield Leftover(
            "link", name, owner="", why="the bridge of a removed network",
            remove=partial(_delete_link, name),
        )  # fmt: skip


def unused_bridges(store: Store) -> set[str]:
    """The bridges of this store that no network names, and whose only ports are veth devices of
    containers that do not run."""
    known, running = devices_of(store), owners_by_container(store)
    if known is None:
        return set()
    leases = [lease for network in read_all(store) for lease in network["Leases"].items()]
    used = {lease.get("Cable", "") for owner, lease in leases if owner in running}
    with Netlink() as host:
        found = link.list_links(host)
    return {
        each.name
        for each in found
        if bridge.is_owned_by(store, each) and each.name not in known
        and all(is_veth_name(port.name) and port.name not in used
                and not _owner_of_veth(port.name, running)
                for port in found if port.master == each.index)
    }  # fmt: skip


def is_veth_name(name: str) -> bool:
    """Whether a device is named as a container's veth is: "veth" and eleven hex digits."""
    return len(name) == len(veth_name("")) + 11 and name[:4] == "veth" and is_hex(name[4:])


def _owner_of_veth(name: str, running: dict[str, int]) -> str:
    """The running container that a veth is named after: a script's container has no lease."""
    return next((each for each in running if name == veth_name(each)), "")


def devices_of(store: Store) -> set[str] | None:
    """The bridges of the store's networks, also those not created yet; None if a network's file is
    damaged."""
    networks = read_all(store)
    if len(networks) < len(list_names(store)):
        return None
    found = {str(network.get("Device", "")) for network in networks}
    if any(network["Name"] == "bridge" for network in networks):
        found.add(store.bridge)
    return found


def _delete_link(name: str) -> None:
    """Delete a device that no container uses any more."""
    with Netlink() as host:
        link.delete(host, name)


def find_cgroups(store: Store) -> Iterator[Leftover]:
    """Find the cgroups of containers, below any cgroup parent, and the processes in them."""
    for parent, name in _container_cgroups(store):
        group = open_cgroup(parent, name)
        if not group.exists():
            continue
        for pid in group.pids():
            yield Leftover(
                "process", f"{pid} {_comm(pid)}", owner=name, why=describe_owner(store, name),
                remove=group.kill_all,
            )  # fmt: skip
        yield Leftover(
            "cgroup", f"/{group.path}", owner=name, why=describe_owner(store, name),
            remove=partial(destroy_cgroup, group),
        )  # fmt: skip


def _container_cgroups(store: Store) -> list[tuple[str, str]]:
    """List (parent, name) of container cgroups: below the store's parent, and in state.json."""
    found = set()
    parent = home_of(store.cgroup_parent)
    for monitors in open_cgroup(parent, MONITORS).directories():
        directory = os.path.dirname(monitors)
        if os.path.isdir(directory):
            entries = [entry.name for entry in os.scandir(directory) if entry.is_dir()]
            found |= {(parent, name) for name in entries if is_sha256(name)}
    for name in os.listdir(store.run) if os.path.isdir(store.run) else ():
        try:
            cgroup = state.load(store.run, name).content["cgroup"]
        except (NotFound, DamagedFile):
            continue
        found.add((cgroup[0].strip("/"), cgroup[1]))
    return sorted(found)


def find_monitors(store: Store) -> Iterator[Leftover]:
    """Find monitors that own no container and whose command has ended before it sent the launch."""
    owners = set(owners_by_container(store).values())
    for entry in os.listdir("/proc"):
        if not is_decimal(entry) or int(entry) in owners:
            continue
        if _MONITOR not in _file(f"/proc/{entry}/cmdline") or _root_of(entry) != store.root:
            continue
        if _command_has_ended(entry):
            yield Leftover(
                "process", f"{entry} monitor", owner="", why="it has no container and no command",
                remove=partial(_kill, int(entry)),
            )  # fmt: skip


def _command_has_ended(pid: str) -> bool:
    """Whether the command that started a monitor has ended: pid and start time are in its
    environment."""
    numbers = _variable(pid, b"MINIDOCK_COMMAND_PROCESS").split()
    return len(numbers) == 2 and not state.is_alive(int(numbers[0]), int(numbers[1]))


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
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _comm(pid: int) -> str:
    return _file(f"/proc/{pid}/comm").decode(errors="replace").strip()


def _file(path: str) -> bytes:
    """Read a file of /proc; empty if its process has ended."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""
