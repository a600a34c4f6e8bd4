"""Bearing init: everything that must exist before it, gathered; then one clone3.

What init will need from the host is opened here and travels as descriptors (namespaces to join,
the FIFO of `start`), or as data (its program, the compiled filter): once it is born, nothing of
the host is looked up by name any more, except the sources of mounts.

Source: OCI runtime-spec "Lifecycle"; clone(2), pid_namespaces(7).
"""

from __future__ import annotations

import os

from minidock.kernel import namespace
from minidock.kernel.mount import mount_point_of
from minidock.kernel.node import make_fifo
from minidock.runtime import channel
from minidock.runtime.config import hierarchies_to_show
from minidock.runtime.init import InitContext, init_program, new_namespace_kinds, run_init

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from minidock.kernel.cgroup import Cgroup


class CreateOptions:
    """What the caller of `create` asks for, beside the bundle.

    stdio: descriptors that become 0, 1 and 2; None hands on the caller's. filter_cache: directory
    of compiled seccomp filters. preserved_fds: how many descriptors from 3 on the command gets.
    keyring: the name of its new session keyring, "" for the caller's.
    """

    def __init__(
        self,
        *,
        stdio: tuple[int, int, int] | None,
        filter_cache: str,
        preserved_fds: int = 0,
        keyring: str = "",
    ) -> None:
        self.stdio = stdio
        self.filter_cache = filter_cache
        self.preserved_fds = preserved_fds
        self.keyring = keyring


def create_init(
    config: dict[str, Any],
    told: dict[str, Any],
    directory: str,
    group: Cgroup,
    options: CreateOptions,
) -> tuple[channel.Channel, int]:
    """Bear init, which waits for "go" on the channel.

    told: the state as the specification's JSON, but for the pid. directory: where it is kept.
    group: made, with its limits.
    Returns the runtime's end of the channel, and init's pid.
    """
    make_fifo(f"{directory}/start.fifo")
    held: list[int] = []
    spaces = config["linux"]["namespaces"]
    ours, theirs = channel.pair()
    try:
        joined = {ns["type"]: _open(ns["path"], held) for ns in spaces if ns.get("path")}
        pid_namespace = joined.pop("pid", None)
        pid_place = next((ns.get("path", "") for ns in spaces if ns["type"] == "pid"), "")
        cgroup_fd = group.fd_for_clone()
        if cgroup_fd is not None:
            held.append(cgroup_fd)
        context = InitContext(
            rootfs=told["rootfs"],
            rootfs_mount=mount_point_of(told["rootfs"]),
            join_cgroup=_Join(group, born_inside=cgroup_fd is not None),
            hierarchies=hierarchies_to_show(group),
            joined=joined,
            filter_program=compile_filter(config, options.filter_cache),
            channel=theirs,
            # For writing too: as long as init waits, whoever looks in by this FIFO does no harm.
            start_fifo=_open(f"{directory}/start.fifo", held, os.O_RDWR),
            preserved_fds=options.preserved_fds,
            keyring=options.keyring,
            state=told,
        )
        program = init_program(config, context)

        def become_init() -> NoReturn:
            run_init(program, context, options.stdio)

        new_namespaces = [kind for kind in new_namespace_kinds(config) if kind != "cgroup"]
        pid = clone_init(
            new_namespaces, become_init, cgroup_fd=cgroup_fd, within=(pid_namespace, pid_place)
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        for descriptor in held:
            os.close(descriptor)
    return ours, pid


def compile_filter(config: dict[str, Any], cache_directory: str) -> bytes | None:
    """The program of the config's seccomp profile; None where it has none."""
    profile = config["linux"].get("seccomp")
    if not profile:
        return None
    from minidock.kernel import seccomp  # not for who has no filter

    return seccomp.compile(profile, cache_directory)


def _open(path: str, held: list[int], flags: int = os.O_RDONLY) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    held.append(descriptor)
    return descriptor


def clone_init(
    kinds: list[str], run_child: Any, *, cgroup_fd: int | None, within: tuple[int | None, str]
) -> int:
    """clone3; with a PID namespace to join, from within: it takes children only.

    within: that namespace, opened, and its path; None for a new one, or the caller's.
    """
    pid_namespace, place = within
    if pid_namespace is None:
        return namespace.clone_process(kinds, run_child, cgroup_fd=cgroup_fd, as_sibling=False)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespace.setns(pid_namespace, ["pid"], place=place)
        try:
            return namespace.clone_process(kinds, run_child, cgroup_fd=cgroup_fd, as_sibling=False)
        finally:
            namespace.setns(own, ["pid"], place="")
    finally:
        os.close(own)


class _Join:
    """Moves whoever calls it into a cgroup; a program prints it by that name."""

    def __init__(self, group: Cgroup, *, born_inside: bool) -> None:
        self._group = group
        self._born_inside = born_inside
        self.__name__ = "join_cgroup"

    def __call__(self) -> None:
        self._group.join(born_inside=self._born_inside)
