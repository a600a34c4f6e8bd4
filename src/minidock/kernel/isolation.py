"""Which part of a container's isolation each op is about: the one table.

An op declares nothing of it itself: it stands here, or it cannot be declared (kernel/op.py asks at
import). Its tags stand in every record of the journal, so that a reader can pick all that makes the
PID namespace, say, or draw it. Where the arguments decide, a function of them does.

The words are those of `--without` where it knows one, and of `layers`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NotRequired, TypedDict

    # Of an op's arguments, as the journal has them, those that decide its tags.

    class Namespaces(TypedDict):
        namespaces: list[str]
        cgroup_fd: NotRequired[str | None]

    class Place(TypedDict):
        target: str
        root: NotRequired[str]

    class File(TypedDict):
        path: str


# What each tag stands for: what a container has of its own by it.
ISOLATION = {
    "pid": "processes: it sees its own alone",
    "mount": "its tree of mounts",
    "net": "network devices, addresses, routes, firewall rules, ports",
    "uts": "its host name",
    "ipc": "shared memory and message queues",
    "user": "whom it runs as: user, groups, user namespace",
    "cgroup": "limits, and its part of the cgroup tree",
    "pivot_root": "its root, from which no way leads to the host's",
    "seccomp": "which system calls it may make",
    "capabilities": "which powers of root it has",
    "masks": "what is hidden or read-only in its /proc and /sys",
    "devices": "which devices there are, and which may be opened",
    "layers": "its files: an image's layers, and its own on top",
    "io": "its streams, its terminal and its descriptors",
    "process": "what its process inherits: session, limits, signals, keyring, program",
}

_OF_NAMESPACE = {"network": "net"}  # OCI's name -> ours, where they differ


def _of_birth(args: Namespaces) -> list[str]:
    """clone3 makes namespaces, and bears into a cgroup."""
    tags = _of_namespaces(args)
    if args.get("cgroup_fd") is not None and "cgroup" not in tags:
        tags.append("cgroup")
    return tags or ["process"]


def _of_namespaces(args: Namespaces) -> list[str]:
    return [_OF_NAMESPACE.get(kind, kind) for kind in args["namespaces"]]


def _of_place(args: Place) -> list[str]:
    """What covers a place in the container's /proc or /sys is a mask; all else is its tree."""
    inside = args.get("root") == "/" and args["target"].startswith(("/proc/", "/sys/"))
    return ["masks"] if inside else ["mount"]


def _of_cgroup_file(args: File) -> list[str]:
    return ["devices"] if "/devices." in args["path"] else ["cgroup"]


def _of_proc(args: File) -> list[str]:
    """A setting belongs to the namespace whose own it is: see sysctl_steps of runtime/init.py."""
    path = args["path"]
    if path.startswith("/proc/sys/net/"):
        return ["net"]
    if path.startswith("/proc/sys/kernel/") and path.endswith("name"):
        return ["uts"]
    return ["ipc"] if path.startswith("/proc/sys/") else ["process"]


# An op by its name -> its tags, or what tells them from its arguments.
OF_OP: dict[str, tuple[str, ...] | Callable[..., list[str]]] = {
    "capability.keep_capabilities": ("capabilities",),
    "capability.set_ambient": ("capabilities",),
    "capability.set_bounding": ("capabilities",),
    "capability.set_capabilities": ("capabilities",),
    "capability.set_no_new_privs": ("capabilities",),
    "cgroup.create_directory": ("cgroup",),
    "cgroup.kill_processes": ("cgroup",),
    "cgroup.remove_directory": ("cgroup",),
    "cgroup.write_file": _of_cgroup_file,
    "conntrack.forget_udp": ("net",),
    "tmpcopyup.copy_up": ("mount",),
    "device.attach_program": ("devices",),
    "device.detach_program": ("devices",),
    "device.load_program": ("devices",),
    "files.work_on_files": ("layers",),
    "init.wait_for_start": ("process",),
    "iptables.restore": ("net",),
    "iptables.save": ("net",),
    "keyring.join_session_keyring": ("process",),
    "link.add_address": ("net",),
    "link.add_bridge": ("net",),
    "link.add_veth_pair": ("net",),
    "link.add_default_route": ("net",),
    "link.add_veth": ("net",),
    "link.delete": ("net",),
    "link.delete_default_route": ("net",),
    "link.replace_default_route": ("net",),
    "link.set_alias": ("net",),
    "link.set_hairpin": ("net",),
    "link.set_isolated": ("net",),
    "link.set_mtu": ("net",),
    "link.set_up": ("net",),
    "loop.mount_disk_file": ("layers",),
    "mount.bind_mount": _of_place,
    "mount.bind_to_itself": _of_place,
    "mount.clone_read_only": ("process",),  # the sealed interpreter, out of which init comes
    "mount.hide_path": ("masks",),
    "mount.mount_filesystem": _of_place,
    "mount.pivot_root": ("pivot_root",),
    "mount.propagate_in_root": ("mount",),
    "mount.set_mount_attributes": _of_place,
    "mount.set_propagation": ("mount",),
    "mount.unmount": ("mount",),
    "namespace.clone_process": _of_birth,
    "namespace.set_domainname": ("uts",),
    "namespace.set_hostname": ("uts",),
    "namespace.setns": _of_namespaces,
    "namespace.unshare": _of_namespaces,
    "nftrace.follow": ("net",),
    "node.change_owner": ("devices",),
    "node.make_device": ("devices",),
    "node.make_fifo": ("process",),
    "node.make_link": ("devices",),
    "node.make_mount_point": ("mount",),
    "overlay.mount_overlay": ("layers",),
    "overlay.open_overlay": ("layers",),
    "path.chroot": ("pivot_root",),
    "path.enter_directory": ("mount",),
    "path.set_umask": ("process",),
    "port.hold": ("net",),
    "port.listen_for_names": ("net",),
    "process.close_all_but": ("io",),
    "process.close_on_exec": ("io",),
    "process.execute": ("process",),
    "process.give_stdio": ("io",),
    "process.hand_on": ("io",),
    "process.new_session": ("process",),
    "process.reopen_null": ("io",),
    "process.restore_signals": ("process",),
    "process.send_signal": ("process",),
    "process.set_groups": ("user",),
    "process.set_not_dumpable": ("process",),
    "process.set_rlimit": ("process",),
    "process.set_user": ("user",),
    "process.spawn": ("process",),
    "process.write_proc": _of_proc,
    "seccomp.load": ("seccomp",),
    "streams.take_streams": ("io",),
    "sysctl.write": ("net",),
    "systemd.start_delegated_unit": ("cgroup",),
    "terminal.open_terminal": ("io",),
    "terminal.set_size": ("io",),
    "terminal.take_terminal": ("io",),
    "timer.wake_after": ("process",),
}


def isolation_of(name: str) -> Callable[..., list[str]]:
    """What tells the tags of an op from its arguments, as the journal has them.

    Raises TypeError for an op that is not in the table.
    """
    declared = OF_OP.get(name)
    if declared is None:
        raise TypeError(f"{name}: OF_OP of kernel/isolation.py must say what it isolates")
    if callable(declared):
        return declared
    tags = list(declared)
    return lambda args: tags
