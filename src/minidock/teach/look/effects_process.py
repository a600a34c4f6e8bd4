"""Changes by operations on processes, namespaces, cgroups, capabilities and streams."""

from __future__ import annotations

import os
import re

from minidock.kernel.capability import NAMES
from minidock.teach.look.thing import (
    NAMESPACES,
    OFF,
    ON,
    READY,
    TOUCHED,
    Change,
    Making,
    always,
    is_inside,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.journal_reader import JournalEntry
    from minidock.teach.look.thing import Effect

_V1 = re.compile(r"^/sys/fs/cgroup/((?:cpu|cpuacct|cpuset|memory|devices|freezer|blkio|pids|systemd"
                 r"|unified|net_cls|net_prio|perf_event|hugetlb|rdma|misc)(?:,\w+)*)/")  # fmt: skip
_ID = re.compile(r"/[^/]*[0-9a-f]{64}[^/]*$")
_JOINED = ("tasks", "cgroup.procs")


def _namespaces(entry: JournalEntry, note: str = "") -> list[Change]:
    names = entry.record["args"]["namespaces"]
    return [Change(NAMESPACES.get(name, "user namespace"), "", ON, note) for name in names]


def _clone(entry: JournalEntry, making: Making) -> list[Change]:
    """Init, with new namespaces; in v2 it is created in its cgroup."""
    return [Change("init", "init", ON, f"{entry.made or ''}"), *_namespaces(entry)]


def _unshare(entry: JournalEntry, making: Making) -> list[Change]:
    return _namespaces(entry)


def _setns(entry: JournalEntry, making: Making) -> list[Change]:
    """The monitor visits a namespace; a process of the container stays in it."""
    changes = _namespaces(entry, "joined")
    if is_inside(entry):
        return changes
    return [Change(change.kind, change.name, TOUCHED) for change in changes]


def _own(name: str, *arguments: str) -> Effect:
    """A setting of the acting process: arguments name those that make its value."""

    def effect(entry: JournalEntry, making: Making) -> list[Change]:
        actor = entry.record["actor"]
        if not is_inside(entry):
            return [Change(*_process_of(actor), TOUCHED)]
        values = [str(entry.record["args"].get(argument, "")) for argument in arguments]
        return [Change("process setting", name, ON, " ".join(values))]

    return effect


def _process_of(actor: str) -> tuple[str, str]:
    if actor in ("monitor", "task"):
        return "monitor", "monitor"
    if actor in ("init", "stage", "exec"):
        return "init", "init"
    return "engine", "minidock"


def _spawn(entry: JournalEntry, making: Making) -> list[Change]:
    if entry.record["actor"] == "engine":
        return [Change("monitor", "monitor", ON, f"{entry.made or ''}")]
    return [Change("helper", os.path.basename(str(entry.record["args"]["path"])))]


def _execute(entry: JournalEntry, making: Making) -> list[Change]:
    """The command begins; the kernel computes its capabilities anew."""
    argv = " ".join(map(str, entry.record["args"].get("argv", [])))
    if entry.record["actor"] != "init":
        return [Change("exec", "exec", ON, argv)]
    left = making.bounding if making.uid == 0 else making.ambient
    return [Change("command", "command", ON, argv), *_capabilities(left)]


def _capabilities(left: list[str]) -> list[Change]:
    """All capabilities, of which these are left."""
    return [Change("capability", name, ON if name in left else OFF) for name in NAMES]


def _bounding(entry: JournalEntry, making: Making) -> list[Change]:
    kept = entry.record["args"]["keep"]
    making.bounding = [name for name in NAMES if name in kept]
    return _capabilities(making.bounding)


def _effective(entry: JournalEntry, making: Making) -> list[Change]:
    return _capabilities(entry.record["args"]["effective"])


def _ambient(entry: JournalEntry, making: Making) -> list[Change]:
    making.ambient = entry.record["args"]["names"]
    return [Change("capability setting", "ambient", ON, f"{len(making.ambient)}")]


def _user(entry: JournalEntry, making: Making) -> list[Change]:
    making.uid = int(entry.record["args"]["uid"])
    return [Change("user", "user", ON, f"{making.uid}:{entry.record['args']['gid']}")]


def _groups(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("user", "groups", ON, str(entry.record["args"]["gids"]))]


def _directory(path: str) -> str:
    """The name of a cgroup: its hierarchy in v1, "cgroup" in v2."""
    found = _V1.match(f"{path}/")
    return found[1] if found else "cgroup"


def _cgroup(state: int) -> Effect:
    def effect(entry: JournalEntry, making: Making) -> list[Change]:
        path = str(entry.record["args"]["path"])
        is_own = bool(_ID.search(path))
        making.has_ended = making.has_ended or (state == OFF and is_own)
        return [Change("host cgroup", _directory(path), state if is_own else READY)]

    return effect


def _cgroup_file(entry: JournalEntry, making: Making) -> list[Change]:
    path, value = str(entry.record["args"]["path"]), str(entry.record["args"]["value"])
    folder, _, file = path.rpartition("/")
    if "devices" in entry.record["isolation"]:
        return [Change("device rule", f"{file.rpartition('.')[2]} {value}")]
    if file in _JOINED or not _ID.search(folder):
        return [Change("host cgroup", _directory(folder), TOUCHED)]
    return [Change("limit", file, ON, value)]


def _host_name(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("name", "hostname", ON, str(entry.record["args"]["name"]))]


def _domain_name(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("name", "domainname", ON, str(entry.record["args"]["name"]))]


def _proc(entry: JournalEntry, making: Making) -> list[Change]:
    """A setting below /proc/sys belongs to a namespace; others to the process."""
    kinds = {"net": "net setting", "uts": "name", "ipc": "ipc setting"}
    kind = kinds.get(next(iter(entry.record["isolation"]), ""), "process setting")
    path, value = str(entry.record["args"]["path"]), str(entry.record["args"]["value"])
    return [Change(kind, path.removeprefix("/proc/sys/"), ON, value)]


def _seccomp(entry: JournalEntry, making: Making) -> list[Change]:
    """An instruction of classic BPF has eight bytes."""
    size = re.search(r"[0-9]+", str(entry.record["args"].get("program", "")))
    return [Change("filter", "BPF", ON, f"{int(size[0]) // 8}" if size else "")]


def _streams(entry: JournalEntry, making: Making) -> list[Change]:
    streams = entry.record["args"]["streams"]
    return [Change("stream", str(fd), ON, str(stream)) for fd, stream in enumerate(streams)]


EFFECTS: dict[str, Effect] = {
    "capability.keep_capabilities": always("capability setting", "keep_caps"),
    "capability.set_ambient": _ambient,
    "capability.set_bounding": _bounding,
    "capability.set_capabilities": _effective,
    "capability.set_no_new_privs": always("capability setting", "no_new_privs"),
    "cgroup.create_directory": _cgroup(ON),
    "cgroup.kill_processes": always("command", "command", OFF),
    "cgroup.remove_directory": _cgroup(OFF),
    "cgroup.write_file": _cgroup_file,
    "init.wait_for_start": always("init", "init", TOUCHED),
    "keyring.join_session_keyring": _own("session keyring"),
    "mount.clone_read_only": always("helper", "sealed interpreter"),
    "namespace.clone_process": _clone,
    "namespace.set_domainname": _domain_name,
    "namespace.set_hostname": _host_name,
    "namespace.setns": _setns,
    "namespace.unshare": _unshare,
    "node.make_fifo": always("helper", "start.fifo"),
    "path.set_umask": _own("umask", "mask"),
    "process.close_all_but": always("stream", "descriptors"),
    "process.close_on_exec": always("stream", "descriptors"),
    "process.execute": _execute,
    "process.give_stdio": always("stream", "owner"),
    "process.new_session": _own("session"),
    "process.preserve_fds": always("stream", "descriptors"),
    "process.reopen_null": always("stream", "/dev/null"),
    "process.restore_signals": _own("signals"),
    "process.send_signal": always("command", "command", TOUCHED),
    "process.set_groups": _groups,
    "process.set_not_dumpable": _own("not dumpable"),
    "process.set_rlimit": _own("rlimit", "name", "soft"),
    "process.set_user": _user,
    "process.spawn": _spawn,
    "process.write_proc": _proc,
    "seccomp.load": _seccomp,
    "streams.take_streams": _streams,
    "systemd.start_delegated_unit": always("host cgroup", "systemd unit", READY),
    "terminal.open_terminal": always("stream", "terminal"),
    "terminal.set_size": always("stream", "terminal"),
    "terminal.take_terminal": always("stream", "terminal"),
    "timer.wake_after": _own("timer", "milliseconds"),
}
