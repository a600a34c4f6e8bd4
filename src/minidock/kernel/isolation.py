"""Which part of a container's isolation each op belongs to: the table of all ops.

An op does not declare its tags itself: it must be in this table (kernel/op.py checks at import).
Every journal record has the tags, so that a reader can select, for example, all ops of the PID
namespace. Where the tags depend on the arguments, the table has a function of them.

The tags are the words of `--without`, and of `layers`.
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


# What a container gets by each tag.
ISOLATION = {
    "pid": "processes: it sees only its own",
    "mount": "its own mounts",
    "net": "network devices, addresses, routes, firewall rules, ports",
    "uts": "its host name",
    "ipc": "shared memory and message queues",
    "user": "the identity it runs as: user, groups, user namespace",
    "cgroup": "limits, and its part of the cgroup tree",
    "pivot_root": "its root directory, from which the host's cannot be reached",
    "seccomp": "which system calls it may make",
    "capabilities": "which of root's privileges it has",
    "masks": "what is hidden or read-only in its /proc and /sys",
    "devices": "which devices exist, and which may be opened",
    "layers": "its files: the image's layers, and its own layer on top",
    "io": "its standard streams, terminal and descriptors",
    "process": "what its process inherits: session, limits, signals, keyring, program",
}

_OF_NAMESPACE = {"network": "net"}  # OCI's name -> ours, where they differ


def _of_clone(args: Namespaces) -> list[str]:
    """clone3 creates namespaces, and the process in its cgroup."""
    tags = _of_namespaces(args)
    if args.get("cgroup_fd") is not None and "cgroup" not in tags:
        tags.append("cgroup")
    return tags or ["process"]


def _of_namespaces(args: Namespaces) -> list[str]:
    return [_OF_NAMESPACE.get(kind, kind) for kind in args["namespaces"]]


def _of_place(args: Place) -> list[str]:
    """A mount on a path in the container's /proc or /sys is a mask; others are its mounts."""
    inside = args.get("root") == "/" and args["target"].startswith(("/proc/", "/sys/"))
    return ["masks"] if inside else ["mount"]


def _of_cgroup_file(args: File) -> list[str]:
    return ["devices"] if "/devices." in args["path"] else ["cgroup"]


def _of_proc(args: File) -> list[str]:
    """A setting belongs to the namespace it is local to: see sysctl_steps of runtime/init.py."""
    path = args["path"]
    if path.startswith("/proc/sys/net/"):
        return ["net"]
    if path.startswith("/proc/sys/kernel/") and path.endswith("name"):
        return ["uts"]
    return ["ipc"] if path.startswith("/proc/sys/") else ["process"]


# The name of an op -> its tags, or the function that derives them from its arguments.
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
    "device_cgroup.attach_program": ("devices",),
    "device_cgroup.detach_program": ("devices",),
    "device_cgroup.load_program": ("devices",),
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
    "mount.clone_read_only": ("process",),  # the sealed interpreter, which init runs in
    "mount.mask_path": ("masks",),
    "mount.mount_filesystem": _of_place,
    "mount.pivot_root": ("pivot_root",),
    "mount.propagate_in_root": ("mount",),
    "mount.set_mount_attributes": _of_place,
    "mount.set_propagation": ("mount",),
    "mount.unmount": ("mount",),
    "namespace.clone_process": _of_clone,
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
    "process.preserve_fds": ("io",),
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
    """Return the function from an op's arguments, as in the journal, to its tags.

    Raises TypeError if the op is not in the table.
    """
    declared = OF_OP.get(name)
    if declared is None:
        raise TypeError(f"{name}: OF_OP of kernel/isolation.py must say what it isolates")
    if callable(declared):
        return declared
    tags = list(declared)
    return lambda args: tags
