"""A container that is half made: what its journal says was done, and what the kernel says.

    done(journal)    the acts that have ended, and the one that has only begun
    expected(acts)   what must be so after them, and what must not be yet
    seen(...)        what is so: /proc, /sys, mountinfo, and ip(8) and hostname(1) from inside

The two are the same Facts. Nothing here asks minidock.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import prctl

from support.runtime import cgroup_directories

KINDS = {"mount": "mnt", "pid": "pid", "ipc": "ipc", "uts": "uts", "network": "net",
         "cgroup": "cgroup"}  # fmt: skip
MAKING_MOUNTS = ("mount.mount_filesystem", "mount.bind_mount", "mount.bind_to_itself")
SUBPROCESS_OPS = ("link.", "namespace.set_hostname", "iptables.")  # seen by running a program
RDONLY = 1  # MS_RDONLY, and MOUNT_ATTR_RDONLY
NOTHING = ("absent", "there")  # what an op says that found nothing to do


@dataclass
class Act:
    """An op of the journal."""

    actor: str
    pid: int
    op: str
    args: dict[str, Any]
    made: Any = None


def done(journal: Path) -> tuple[list[Act], Act]:
    """The acts that have ended well, in their order; and the one that is about to be done."""
    acts: list[Act] = []
    begun: dict[tuple[int, int], Act] = {}
    for line in journal.read_text().splitlines():
        record = json.loads(line)
        if "begin" in record:
            act = Act(record["actor"], record["pid"], record["op"], record["args"])
            begun[record["pid"], record["begin"]] = act
        else:
            act = begun.pop((record["pid"], record["end"]))
            assert "errno" not in record, record
            act.made = record.get("made")
            acts.append(act)
    (standing,) = begun.values()
    return acts, standing


@dataclass
class Facts:
    """What can be seen of a container from outside; None where there is nothing to look at."""

    overlay: bool = False
    cgroups: set[str] = field(default_factory=set)
    limits: dict[str, str] = field(default_factory=dict)
    devices: set[str] | None = None
    bridge: bool = False
    veth: bool = False
    forwarded: bool | None = None
    namespaces: set[str] | None = None
    memberships: int | None = None
    session: bool | None = None
    hostname: str | None = None
    links: dict[str, tuple[bool, list[str]]] | None = None
    route: bool | None = None
    mounts: Counter[str] | None = None
    read_only: set[str] | None = None
    root_is_hosts: bool | None = None
    old_root: bool | None = None
    dev: set[str] | None = None
    bounding: int | None = None
    effective: int | None = None
    filtered: bool | None = None
    ids: tuple[int, int] | None = None
    groups: list[int] | None = None


class Place:
    """Where a container's things are. merged: its overlay."""

    def __init__(self, home: Path, bridge: str) -> None:
        self.id = home.name
        self.merged = f"{home}/merged"
        self.bridge = bridge


def needs_programs(acts: list[Act], standing: Act) -> bool:
    """Whether something has changed, or is about to, that costs a process to look at."""
    return any(act.op.startswith(SUBPROCESS_OPS) for act in (*acts[-1:], standing))


def all_capabilities() -> int:
    return int(_status(os.getpid())["CapBnd"], 16)


def mask(names: list[str]) -> int:
    """Capabilities as the kernel's bits, by libcap's numbers."""
    return sum(1 << int(getattr(prctl, name)) for name in names)


# What the journal promises -----------------------------------------------------------------------


def expected(acts: list[Act], place: Place, *, with_programs: bool) -> Facts:
    """What the kernel must say after these acts."""
    facts = Facts()
    _expect_outside(facts, acts, place)
    if with_programs:
        facts.forwarded = any(
            place.id[:12] in act.args["rules"] for act in _of(acts, "iptables.restore")
        )
    births = _of(acts, "namespace.clone_process")
    if not births:
        return facts
    init = [act for act in acts if act.actor == "init"]
    _expect_namespaces(facts, births[0], init, place)
    _expect_mounts(facts, init, place)
    _expect_privileges(facts, init)
    if with_programs:
        _expect_network(facts, acts)
        names = [act.args["name"] for act in _of(init, "namespace.set_hostname")]
        facts.hostname = names[-1] if names else os.uname().nodename
    return facts


def _of(acts: list[Act], *ops: str) -> list[Act]:
    return [act for act in acts if act.op in ops and act.made not in NOTHING]


def _expect_outside(facts: Facts, acts: list[Act], place: Place) -> None:
    facts.overlay = bool(_of(acts, "overlay.mount_overlay"))
    for act in _of(acts, "cgroup.create_directory"):
        if place.id in act.args["path"]:
            facts.cgroups.add(act.args["path"])
    if any("/devices/" in path for path in facts.cgroups):
        facts.devices = {"a *:* rwm"}
    for act in _of(acts, "cgroup.write_file"):
        name, value = os.path.basename(act.args["path"]), act.args["value"]
        if name == "devices.deny":
            facts.devices = set()
        elif name == "devices.allow":
            assert facts.devices is not None
            facts.devices.add(value)
        elif is_limit(act, place):
            facts.limits[act.args["path"]] = value
    facts.bridge = bool(_of(acts, "link.add_bridge"))
    facts.veth = bool(_of(acts, "link.add_veth"))


def is_limit(act: Act, place: Place) -> bool:
    """Whether an act writes a value that can be read back."""
    if act.op != "cgroup.write_file" or place.id not in act.args["path"]:
        return False
    name = os.path.basename(act.args["path"])
    return name.startswith(("memory.", "pids.", "cpuset.")) and name.count(".") > 0


def _expect_namespaces(facts: Facts, birth: Act, init: list[Act], place: Place) -> None:
    own = {*birth.args["namespaces"]}
    for act in _of(init, "namespace.unshare"):
        own |= {*act.args["namespaces"]}
    facts.namespaces = {KINDS[kind] for kind in own}
    joined = {
        os.path.dirname(act.args["path"])
        for act in _of(init, "cgroup.write_file")
        if place.id in act.args["path"]
    }
    facts.memberships = len(joined) + (birth.args["cgroup_fd"] is not None)
    facts.session = bool(_of(init, "process.new_session"))


def _expect_network(facts: Facts, acts: list[Act]) -> None:
    inside = [act for act in acts if act.actor == "init" or "/ns/net" in str(act.args.get("where"))]
    up = {act.args["device"] for act in _of(inside, "link.set_up")}
    addresses: dict[str, list[str]] = {"lo": ["127.0.0.1/8"] if "lo" in up else []}
    if facts.veth:
        addresses["eth0"] = []
    for act in _of(inside, "link.add_address"):
        addresses[act.args["device"]].append(f"{act.args['address']}/{act.args['prefix']}")
    facts.links = {name: (name in up, found) for name, found in addresses.items()}
    facts.route = bool(_of(acts, "link.add_default_route"))


def _expect_mounts(facts: Facts, init: list[Act], place: Place) -> None:
    pivoted = bool(_of(init, "mount.pivot_root"))

    def inside(act: Act) -> str:
        root = act.args.get("root", "/")
        path = act.args.get("target") or act.args["path"]
        below = path if root in (place.merged, "/") else f"{root}{path}"
        return os.path.normpath(below if pivoted else f"{place.merged}/{below}")

    facts.mounts = Counter(inside(act) for act in _of(init, *MAKING_MOUNTS, "mount.mask_path"))
    if not pivoted:
        facts.mounts[place.merged] += 1  # the overlay, as a copy of the host's
    flags = {"mount.set_mount_attributes": "attributes", "mount.mount_filesystem": "flags"}
    facts.read_only = {inside(act) for act in _of(init, *flags) if act.args[flags[act.op]] & RDONLY}
    hidden = [act for act in _of(init, "mount.mask_path") if os.path.isdir(act.args["path"])]
    facts.read_only |= {inside(act) for act in hidden}  # a tmpfs; files get /dev/null laid over
    facts.root_is_hosts = not pivoted
    facts.old_root = not _of(init, "mount.unmount")
    if not pivoted:
        return
    made = [act.args["path"] for act in _of(init, "node.make_device", "node.make_link")]
    made += [act.args["target"] for act in _of(init, "node.make_mount_point")]
    facts.dev = {path.split("/")[2] for path in made if path.startswith("/dev/")}


def _expect_privileges(facts: Facts, init: list[Act]) -> None:
    facts.bounding = facts.effective = all_capabilities()
    facts.ids = (0, 0)
    for act in init:
        if act.op == "capability.set_bounding":
            facts.bounding = mask(act.args["keep"])
        elif act.op == "process.set_user":
            facts.ids = (act.args["uid"], act.args["gid"])
            facts.effective = 0 if act.args["uid"] else facts.effective
        elif act.op == "capability.set_capabilities":
            facts.effective = mask(act.args["effective"])
    facts.filtered = bool(_of(init, "seccomp.load"))
    groups = [act.args["gids"] for act in _of(init, "process.set_groups")]
    facts.groups = groups[-1] if groups else os.getgroups()


# What the kernel says ----------------------------------------------------------------------------


def seen(
    promise: Facts, acts: list[Act], standing: Act, place: Place, *, with_programs: bool
) -> Facts:
    """What the kernel says. promise: which files of limits to read.

    All of the cgroup tree is searched where a cgroup has just been made, or is about to be.
    """
    facts = Facts(overlay=any(m.target == place.merged for m in mounts("self")))
    searched = bool({standing.op, *(a.op for a in acts[-1:])} & {"cgroup.create_directory"})
    known = cgroup_directories(place.id) if searched else promise.cgroups
    facts.cgroups = {path for path in known if os.path.isdir(path)}
    facts.limits = {path: Path(path).read_text().strip() for path in promise.limits}
    for path in facts.cgroups:
        if os.path.exists(f"{path}/devices.list"):
            facts.devices = set(Path(f"{path}/devices.list").read_text().splitlines())
    facts.bridge = os.path.exists(f"/sys/class/net/{place.bridge}")
    facts.veth = os.path.exists(f"/sys/class/net/veth{place.id[:11]}")
    if with_programs:
        rules = _run("iptables-save", "-t", "nat")
        facts.forwarded = any(place.id[:12] in rule for rule in rules.splitlines())
    births = _of(acts, "namespace.clone_process")
    if not births:
        return facts
    pid = int(births[0].made)
    _see_process(facts, pid, place)
    _see_mounts(facts, pid, place)
    if with_programs:
        _see_from_inside(facts, pid)
    return facts


def _see_process(facts: Facts, pid: int, place: Place) -> None:
    facts.namespaces = {
        kind
        for kind in KINDS.values()
        if os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    }
    groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    facts.memberships = sum(line.endswith(f"/{place.id}") for line in groups)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    facts.session = int(fields[3]) == pid
    status = _status(pid)
    facts.bounding, facts.effective = int(status["CapBnd"], 16), int(status["CapEff"], 16)
    facts.filtered = status["Seccomp"] == "2"
    facts.ids = (int(status["Uid"].split()[1]), int(status["Gid"].split()[1]))
    facts.groups = [int(gid) for gid in status["Groups"].split()]


def _see_mounts(facts: Facts, pid: int, place: Place) -> None:
    all_of_it = mounts(str(pid))
    facts.root_is_hosts = os.path.samestat(os.stat(f"/proc/{pid}/root/"), os.stat("/"))
    old = _tree_of_host(all_of_it)
    facts.old_root = bool(old)
    if facts.root_is_hosts:
        own = [m for m in all_of_it if f"{m.target}/".startswith(f"{place.merged}/")]
    else:
        own = [m for m in all_of_it if m.id not in old]
        dev = Path(f"/proc/{pid}/root/dev")
        facts.dev = {entry.name for entry in dev.iterdir()}
    facts.mounts = Counter(m.target for m in own)
    facts.read_only = {m.target for m in own if "ro" in m.options}


def _see_from_inside(facts: Facts, pid: int) -> None:
    enter = ("nsenter", "--target", str(pid), "--net", "--uts")
    facts.hostname = _run(*enter, "hostname").strip()
    links = json.loads(_run(*enter, "ip", "-j", "-4", "address"))
    every = json.loads(_run(*enter, "ip", "-j", "link"))
    addresses = {
        link["ifname"]: [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]]
        for link in links
        if link
    }
    facts.links = {
        link["ifname"]: ("UP" in link["flags"], addresses.get(link["ifname"], []))
        for link in every
        if link["ifname"] in ("lo", "eth0")
    }
    facts.route = bool(json.loads(_run(*enter, "ip", "-j", "route", "show", "default") or "[]"))


def links_and_gateway(pid: int) -> tuple[dict[str, list[str]], str]:
    """For people: each link with "up" or "down" and its addresses; and the gateway."""
    inside = ("nsenter", "--target", str(pid), "--net", "ip", "-j")
    links = {
        link["ifname"]: ["up" if "UP" in link["flags"] else "down"]
        + [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]]
        for link in json.loads(_run(*inside, "address"))
    }
    (route,) = json.loads(_run(*inside, "route", "show", "default"))
    return links, route["gateway"]


@dataclass
class Mount:
    """A line of mountinfo."""

    id: str
    parent: str
    device: str
    root: str
    target: str
    options: list[str]


def mounts(pid: str) -> list[Mount]:
    found = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text(errors="replace").splitlines():
        fields = line.split()
        found.append(Mount(*fields[:5], options=fields[5].split(",")))
    return found


def _tree_of_host(found: list[Mount]) -> set[str]:
    """Ids of the host's root in another mount namespace, and of all that is mounted below it."""
    host = next(m for m in mounts("self") if m.target == "/")
    tree: set[str] = set()
    for mount in found:
        is_root = mount.target == "/" and (mount.device, mount.root) == (host.device, host.root)
        if is_root or mount.parent in tree:
            tree.add(mount.id)
    return tree


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
