"""where CONTAINER: its parts on this disk and, while it runs, in the kernel."""

from __future__ import annotations

import os
import time
from collections import Counter

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.lookup import wait_until_settled
from minidock.engine.container.validation import in_container
from minidock.errors import Conflict, NotFound
from minidock.kernel.mountinfo import mount_table
from minidock.teach.layers.changes import summary_of
from minidock.teach.layers.find import image_of, of_container
from minidock.teach.layers.stack import Stack
from minidock.teach.ns.ns import KINDS, inode_of, ns_pids
from minidock.teach.page import plural, size, truncate
from minidock.teach.where.image import layer_parts, mount_line
from minidock.teach.where.network import network_parts
from minidock.teach.where.output import Location, Part, Section

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container
    from minidock.teach.layers.changes import Summary
    from minidock.teach.layers.layer import Layer

_COMMAND_WIDTH = 40
_LOOKS = 10  # with 2.25 s of pauses
_PAUSE_SECONDS = 0.05
_NAME = 12  # of a volume; anonymous volumes have names of 64 digits
_NOT_RUNNING = "It does not run: it has neither processes nor mounts in the kernel."
_V2_TREE = "its processes in the cgroup v2 hierarchy"


def locate_container(container: Container) -> Location:
    """Locate the parts of a container.

    If it exits meanwhile, this starts again, after increasing pauses for the monitor to write the
    new state. Raises Conflict if the container exits each time.
    """
    for look in range(_LOOKS):
        try:
            return _locate(container)
        except (FileNotFoundError, ProcessLookupError):
            time.sleep(look * _PAUSE_SECONDS)
            container = wait_until_settled(container.store, container.id)
    raise Conflict(
        f"container {container.name} restarts faster than it can be inspected",
        hint=f"minidock logs {container.name}     may show why",
    )


def _locate(container: Container) -> Location:
    pid = int(container.state["Pid"])
    paths, store = container.paths, container.store
    command = " ".join([container.document["Path"], *container.document["Args"]])
    command = truncate(" ".join(command.split()), _COMMAND_WIDTH)
    status = container.state["Status"] + (f", process {pid}" if pid else "")
    sections = [
        Section("On this disk: its configuration", _documents(container)),
        Section("On this disk: its files, the topmost layer first", _files(container)),
        Section("On this disk: mounted into it", _mounted(container)),
        Section("In the kernel: its monitor", _monitor(container)),
    ]
    if pid:
        sections += [
            Section("In the kernel: its process and mounts", _processes(container, pid)),
            Section("In the kernel: namespaces", _namespaces(pid)),
            Section("In the kernel: its cgroup", _cgroups(container)),
            Section("In the kernel: its network", network_parts(container, pid)),
        ]
    return Location(
        "container",
        container.id,
        f"{container.name} · container · {status} · {command} in {container.config['Image']}"
        + ("" if pid else f"\n    {_NOT_RUNNING}"),
        sections,
        {"C": paths.home, "RUN": paths.run, "STORE": store.root, "ID": container.id},
    )


def _documents(container: Container) -> list[Part]:
    paths = container.paths
    parts = [
        _file("document", paths.document, "what `minidock inspect` shows"),
        _file("bundle", paths.config, "the OCI configuration of its last start"),
        _file(
            "journal", paths.journal, "each kernel call of its last start: `minidock explain --all`"
        ),
        _file("log", paths.log, "what it wrote to stdout and stderr: `minidock logs`"),
        _file("hosts", paths.hosts, "mounted over its /etc/hosts"),
        _file("hostname", paths.hostname, "mounted over its /etc/hostname"),
        _file("resolv.conf", paths.resolv_conf, "mounted over its /etc/resolv.conf"),
        _file("state", paths.state, "its process, with start time and cgroup; gone at a reboot"),
    ]
    if os.path.exists(paths.monitor_socket):
        parts.append(
            Part("socket", paths.monitor_socket, "attach and exec talk to its monitor here",
                 ["ls", "-l", paths.monitor_socket])
        )  # fmt: skip
    return [part for part in parts if os.path.exists(part.place)]


def _file(name: str, path: str, what: str) -> Part:
    return Part(name, path, what, ["cat", path])


def _files(container: Container) -> list[Part]:
    """merged, upper and work, then the image's layers."""
    paths = container.paths
    try:
        layers = of_container(container)
    except NotFound:  # the image was force-removed
        return [Part("upper", paths.upper, "its image is gone", ["find", paths.upper, "-ls"])]
    with Stack(layers) as stack:
        summary = summary_of(stack, stack.layers[0])
    parts = [_merged(container), *_own_layer(container, layers[0], summary)]
    if container.document.get("Build"):
        return parts + [Part(x.name, x.path, "", ["ls", "-lA", x.path]) for x in layers[1:]]
    return parts + layer_parts(container.store, image_of(container))


def _own_layer(container: Container, layer: Layer, summary: Summary) -> list[Part]:
    """upper and work, and their disk file if there is one."""
    upper, work = layer.path, os.path.join(os.path.dirname(layer.path), "work")
    commands = [["find", upper, "-mindepth", "1", "-ls"], ["ls", "-lA", work]]
    disk = container.paths.disk
    if layer.disk:
        commands = [["debugfs", "-R", f"ls -l /{name}", disk] for name in ("upper", "work")]
    what = f"what it has written ({size(summary.bytes)}): {summary}"
    parts = [
        Part("upper", upper, what, commands[0], **summary.plain()),
        Part("work", work, "where overlayfs prepares files before it moves them to upper",
             commands[1]),
    ]  # fmt: skip
    if os.path.exists(disk):
        capacity = size(os.stat(disk).st_size)
        when = "mounted while it runs" if layer.disk else "mounted by a loop device"
        what = f"a file system of {capacity} that contains both, {when}"
        command = ["ls", "-ls", disk] if layer.disk else ["losetup", "-j", disk]
        parts.append(Part("disk", disk, what, command))
    return parts


def _merged(container: Container) -> Part:
    merged = container.paths.merged
    if os.path.ismount(merged):
        return Part("merged", merged, "the merged layers: its root directory",
                    ["findmnt", "--notruncate", merged])  # fmt: skip
    return Part("merged", merged, "empty: the layers are mounted here while it runs",
                ["ls", "-ldA", merged])  # fmt: skip


def _mounted(container: Container) -> list[Part]:
    parts = []
    for mount in container.document["Mounts"]:
        access = "" if mount["RW"] else ", read-only"
        name = f"volume {mount['Name'][:_NAME]}" if mount["Type"] == "volume" else mount["Type"]
        where = in_container(mount["Destination"])
        what = f"at {where}{access}"
        if mount["Type"] in ("volume", "bind"):
            command = ["ls", "-ld", mount["Source"]]
            parts.append(Part(name, mount["Source"], what, command, at=where))
    return parts


def _monitor(container: Container) -> list[Part]:
    if not (pid := container.monitor_pid):
        return []
    what = f"process {pid} holds its stdio, log and ports"
    if container.restarting:
        what = f"process {pid} waits to start it again"
    return [Part("monitor", str(pid), what, ["ps", "-o", "pid,ppid,args", "-p", str(pid)])]


def _processes(container: Container, pid: int) -> list[Part]:
    parts = []
    *_, inside = ns_pids(pid)
    shared = inode_of(pid, "pid") == inode_of("self", "pid")
    number = "is process 1 of the container"
    if shared or inside != 1:
        number = "has the same pid inside" if shared else f"is {inside} in its PID namespace"
    mounts = [line.split() for line in mount_table(pid)]
    kinds = Counter(fields[fields.index("-") + 1] for fields in mounts)
    types = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
    parts += [
        Part("init", str(pid), f"process {pid} of the host {number}",
             ["grep", "-E", "^(Name|PPid|NSpid|Seccomp|CapBnd)", f"/proc/{pid}/status"]),
        Part("mount table", f"/proc/{pid}/mountinfo", f"{plural(len(mounts), 'mount')}: {types}, …",
             ["cat", f"/proc/{pid}/mountinfo"]),
    ]  # fmt: skip
    for mount in container.document["Mounts"]:
        where = in_container(mount["Destination"])
        what = f"its line in the mount table, from {mount['Source'] or mount['Type']}"
        parts.append(Part(f"mount {where}", where, what, mount_line(pid, where)))
    for where in map(in_container, container.host_config.get("Tmpfs") or {}):
        what = "a tmpfs: in memory, and gone when it exits"
        parts.append(Part(f"mount {where}", where, what, mount_line(pid, where)))
    return parts


def _namespaces(pid: int) -> list[Part]:
    parts = []
    for kind in KINDS:
        inode = inode_of(pid, kind)
        shared = inode == inode_of("self", kind)
        what = f"{kind}:[{inode}], " + ("the host's" if shared else "not the host's")
        place = f"/proc/{pid}/ns/{kind}"
        name = f"ns {kind}"
        parts.append(Part(name, place, what, ["readlink", place], inode=inode, shared=shared))
    return parts


def _cgroups(container: Container) -> list[Part]:
    """One directory in cgroup v2; in v1 one in each hierarchy, which controllers may share."""
    by_directory: dict[str, list[str]] = {}
    for controller, path in cgroup_of(container.store, container.id).paths().items():
        by_directory.setdefault(path, []).append(controller)
    parts = []
    for path, controllers in by_directory.items():
        if os.path.isdir(path):
            named = ", ".join(name.removeprefix("name=") for name in controllers if name)
            what = f"its processes in the hierarchy of {named}" if named else _V2_TREE
            parts.append(Part("cgroup", path, what, ["cat", f"{path}/cgroup.procs"]))
    return parts
