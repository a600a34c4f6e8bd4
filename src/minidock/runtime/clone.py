"""Create init: open everything that it needs from the host, then call clone3(2) once.

Init inherits descriptors (namespaces to join, the FIFO of `start`) and data (its program, the
compiled seccomp filter). After the clone it looks up no host path except the sources of mounts.

Source: OCI runtime-spec "Lifecycle"; clone(2), pid_namespaces(7).
"""

from __future__ import annotations

import os

from minidock.kernel import namespace
from minidock.kernel.mountinfo import mount_point_of
from minidock.kernel.node import make_fifo
from minidock.runtime import channel
from minidock.runtime.cgroup_mount import visible_cgroups
from minidock.runtime.init import InitContext, init_program, new_namespace_kinds, run_init

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from minidock.document_types.runtime_spec import OciState, RuntimeConfig
    from minidock.kernel.cgroup import Cgroup
    from minidock.runtime.inherited import Inherited


class CreateOptions:
    """Options of `create` beside the bundle.

    stdio: descriptors that become 0, 1 and 2; None passes on the caller's. filter_cache: directory
    of compiled seccomp filters. inherited: what the command gets from the caller beside its stdio.
    """

    def __init__(
        self,
        *,
        stdio: tuple[int, int, int] | None,
        filter_cache: str,
        inherited: Inherited,
    ) -> None:
        self.stdio = stdio
        self.filter_cache = filter_cache
        self.inherited = inherited


def create_init(
    config: RuntimeConfig,
    oci_state: OciState,
    directory: str,
    group: Cgroup,
    options: CreateOptions,
) -> tuple[channel.Channel, int]:
    """Clone init, which then waits for GO on the channel.

    oci_state: the OCI state without the pid. directory: of state.json. group: the cgroup, with its
    limits set.
    Returns the runtime's end of the channel, and init's pid.
    """
    make_fifo(f"{directory}/start.fifo")
    opened: list[int] = []
    namespaces = config["linux"]["namespaces"]
    ours, theirs = channel.pair()
    try:
        joined = {ns["type"]: _open(ns["path"], opened) for ns in namespaces if ns.get("path")}
        pid_namespace = joined.pop("pid", None)
        pid_path = next((ns.get("path", "") for ns in namespaces if ns["type"] == "pid"), "")
        cgroup_fd = group.fd_for_clone()
        if cgroup_fd is not None:
            opened.append(cgroup_fd)

        def join_cgroup() -> None:
            group.join(cloned_inside=cgroup_fd is not None)

        context = InitContext(
            rootfs=oci_state["rootfs"],
            rootfs_mount=mount_point_of(oci_state["rootfs"]),
            join_cgroup=join_cgroup,
            cgroups=visible_cgroups(group, config),
            joined=joined,
            filter_program=compile_filter(config, options.filter_cache),
            channel=theirs,
            # O_RDWR: with init as a writer, a process that opens and closes the FIFO causes no EOF.
            start_fifo=_open(f"{directory}/start.fifo", opened, os.O_RDWR),
            inherited=options.inherited,
            state=oci_state,
        )
        program = init_program(config, context)

        def become_init() -> NoReturn:
            run_init(program, context, options.stdio)

        # A cgroup namespace has its root at its creator's cgroup: init unshares it after joining.
        new_namespaces = [kind for kind in new_namespace_kinds(config) if kind != "cgroup"]
        pid = clone_init(
            new_namespaces, become_init, cgroup_fd=cgroup_fd, within=(pid_namespace, pid_path)
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        for descriptor in opened:
            os.close(descriptor)
    return ours, pid


def compile_filter(config: RuntimeConfig, cache_directory: str) -> bytes | None:
    """The program of the config's seccomp profile; None where it has none."""
    profile = config["linux"].get("seccomp")
    if not profile:
        return None
    from minidock.kernel import seccomp  # only with a seccomp profile

    return seccomp.compile(profile, cache_directory)


def _open(path: str, opened: list[int], flags: int = os.O_RDONLY) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    opened.append(descriptor)
    return descriptor


def clone_init(
    kinds: list[str],
    run_child: Callable[[], NoReturn],
    *,
    cgroup_fd: int | None,
    within: tuple[int | None, str],
) -> int:
    """Call clone3; to join a PID namespace, first setns(2) there: only children enter it.

    within: a descriptor of that namespace and its path; None for a new one, or the caller's.
    """
    pid_namespace, path = within
    if pid_namespace is None:
        return namespace.clone_process(kinds, run_child, cgroup_fd=cgroup_fd, as_sibling=False)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespace.setns(pid_namespace, ["pid"], place=path)
        try:
            return namespace.clone_process(kinds, run_child, cgroup_fd=cgroup_fd, as_sibling=False)
        finally:
            namespace.setns(own, ["pid"], place="")
    finally:
        os.close(own)
