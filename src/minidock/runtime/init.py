"""Init: the container's first process, from clone3(2) to execve(2) of the command.

`init_program` returns its steps as data before a container exists. `run_init` performs them in the
new process. A Python process that enters a container must obey these rules:

* no import after pivot_root: the import path would lead into the image, and its code would run with
  init's privileges. `seal_imports` empties the path once everything is loaded;
* no name service (NSS), locale or codec is loaded late; users are numbers;
* init is not dumpable, so that no process in a joined PID namespace reaches its descriptors through
  /proc/PID/fd;
* an error is sent to the runtime as data, and the child ends in execve or os._exit: it never
  returns.

Sources: OCI runtime-spec "Lifecycle"; CVE-2019-5736, CVE-2024-21626 and the notes of runc on both.
"""

from __future__ import annotations

import os
import select
import sys
from errno import ENOENT, ENOEXEC

from minidock.errors import CommandNotFound, CommandNotRunnable, KernelError
from minidock.kernel import link, namespace, process
from minidock.kernel.netlink import Netlink
from minidock.kernel.node import make_mount_point
from minidock.kernel.op import current_journal, of_descriptor, op, quote, use_journal
from minidock.kernel.streams import take_streams
from minidock.runtime import hooks
from minidock.runtime.inherited import descriptor_steps, session_steps
from minidock.runtime.process_config import (
    command_steps,
    credential_steps,
    final_steps,
    terminal_steps,
)
from minidock.runtime.program import Slot, Step, perform
from minidock.runtime.rootfs import (
    console_steps,
    device_steps,
    enter_steps,
    protection_steps,
    tree_steps,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from minidock.document_types.runtime_spec import OciState, RuntimeConfig
    from minidock.runtime.cgroup_mount import VisibleCgroups
    from minidock.runtime.channel import Channel
    from minidock.runtime.inherited import Inherited


class InitContext:
    """What the runtime opened or created on the host for init.

    rootfs: absolute path. rootfs_mount: the mount point that it lies on. join_cgroup: moves the
    caller into the container's cgroup. cgroups: what the container sees of the host's. joined:
    descriptors of namespaces to join, by OCI type. filter_program: compiled seccomp filter.
    channel: init's end. start_fifo: descriptor of the FIFO to which `start` writes a byte.
    inherited: what the command gets from the caller beside its stdio. state: the OCI state, for
    init's hooks.
    """

    def __init__(
        self,
        *,
        rootfs: str,
        rootfs_mount: str = "/",
        join_cgroup: Callable[[], None],
        cgroups: VisibleCgroups,
        joined: dict[str, int],
        filter_program: bytes | None,
        channel: Channel,
        start_fifo: int,
        inherited: Inherited,
        state: OciState | None = None,
    ) -> None:
        self.rootfs = rootfs
        self.rootfs_mount = rootfs_mount
        self.join_cgroup = join_cgroup
        self.cgroups = cgroups
        self.joined = joined
        self.filter_program = filter_program
        self.channel = channel
        self.start_fifo = start_fifo
        self.inherited = inherited
        self.state: Mapping[str, object] = state or {}

    def descriptors(self) -> list[int]:
        """The inherited descriptors that init keeps, beside its stdio."""
        inherited = self.inherited.descriptors()
        return [*inherited, self.channel.fileno(), self.start_fifo, *self.joined.values()]


def init_program(config: RuntimeConfig, context: InitContext) -> list[Step]:
    """All that init does, in order.

    Isolation first, while init has all privileges and sees the host; then the tree inside; then
    init drops its privileges, becomes the command's user, and waits for `start`.
    config: a checked OCI runtime config.
    """
    spec = config["process"]
    return [
        Step(process.set_not_dumpable),
        Step(context.join_cgroup),  # this cgroup becomes the root of the cgroup namespace
        *namespace_steps(config, context),
        *tree_steps(config, context.rootfs, parent=context.rootfs_mount, cgroups=context.cgroups),
        *hook_steps(config, context),  # the last code that sees the mounts and the host
        *enter_steps(config, context.rootfs),
        Step(make_mount_point, "/", spec["cwd"], like=""),  # the image may lack it
        *device_steps(config),
        *terminal_steps(spec, context.channel),  # of the container's own /dev/pts
        *(console_steps() if spec.get("terminal") else []),
        *sysctl_steps(config),  # before /proc/sys becomes read-only
        *protection_steps(config),
        *credential_steps(spec, context.filter_program),
        *command_steps(spec),  # looked up as the command's user
        Step(context.channel.send_ready),
        Step(wait_for_start, context.start_fifo),
        *start_hook_steps(config, context),
        *descriptor_steps(context.inherited),
        *final_steps(spec, context.filter_program),
    ]


def namespace_steps(config: RuntimeConfig, context: InitContext) -> list[Step]:
    """Join existing namespaces, and set up the new ones: loopback, hostname, domainname."""
    new = new_namespace_kinds(config)
    paths = {ns["type"]: ns.get("path") for ns in config["linux"]["namespaces"]}
    steps = [
        Step(namespace.setns, fd, [kind], place=paths[kind]) for kind, fd in context.joined.items()
    ]
    steps += session_steps(context.inherited)  # not the session of the caller
    if "cgroup" in new:
        steps.append(Step(namespace.unshare, ["cgroup"]))
    if "network" in new:
        steps.append(Step(Netlink, into="netlink"))
        steps.append(Step(link.set_up, Slot("netlink"), "lo"))
    if config.get("hostname"):
        steps.append(Step(namespace.set_hostname, config["hostname"]))
    if config.get("domainname"):
        steps.append(Step(namespace.set_domainname, config["domainname"]))
    return steps


def hook_steps(config: RuntimeConfig, context: InitContext) -> list[Step]:
    """Run the hooks that come before pivot_root: prestart, createRuntime, createContainer."""
    asked = config.get("hooks") or {}
    steps = []
    if hooks.has_hooks(asked, hooks.OF_HOST):
        steps.append(Step(context.channel.await_hooks))
    if hooks.has_hooks(asked, ("createContainer",)):
        steps.append(Step(hooks.run, asked, ("createContainer",), context.state))
    return steps


def sysctl_steps(config: RuntimeConfig) -> list[Step]:
    """Set the sysctls of the container's namespaces."""
    return [
        Step(process.write_proc, "/proc/sys/" + name.replace(".", "/"), value)
        for name, value in (config["linux"].get("sysctl") or {}).items()
    ]


def start_hook_steps(config: RuntimeConfig, context: InitContext) -> list[Step]:
    """Run the startContainer hooks, just before the command."""
    asked = config.get("hooks") or {}
    if not hooks.has_hooks(asked, ("startContainer",)):
        return []
    state = {**context.state, "status": "created"}
    return [Step(hooks.run, asked, ("startContainer",), state)]


def new_namespace_kinds(config: RuntimeConfig) -> list[str]:
    """The types of the namespaces to create, by OCI's names."""
    return [ns["type"] for ns in config["linux"]["namespaces"] if not ns.get("path")]


def _wait_for_start_sh(fifo: str) -> str:
    return f"read -r _ < {quote(fifo)}"


@op("fifo(7)", twin=_wait_for_start_sh, shown={"fifo": of_descriptor}, waits=True)
def wait_for_start(fifo: int) -> None:
    """Wait until the container is started: until then its network is being connected.

    Without it: a server starts before it has an address, and ends with an error or listens in vain.

    The FIFO stays open until execve(2) closes it, which tells `start` that the command runs.
    """
    select.select([fifo], [], [])
    os.read(fifo, 1)


def run_init(
    program: list[Step], context: InitContext, stdio: tuple[int, int, int] | None
) -> NoReturn:
    """Perform init's program in the cloned process; ends in execve or os._exit.

    stdio: descriptors that become 0, 1 and 2; None keeps the caller's.
    """
    channel = context.channel
    code = 1
    try:
        seal_imports()
        outside = current_journal()
        if outside is not None:
            use_journal(
                outside.of_child(channel.send_record, actor="init", turn=channel.await_turn)
            )
        if stdio is not None:
            take_streams(list(stdio))
        process.close_all_but(context.descriptors())  # else no EOF if the runtime dies
        channel.await_go()
        perform(program, {})
    except BaseException as error:  # our stack is a copy of the runtime's: do not unwind into it
        code = report(error, channel)
    finally:
        os._exit(code)


def report(error: BaseException, channel: Channel) -> int:
    """Report why this process did not execute its command; returns its exit code.

    If execve(2) itself fails (no such interpreter, unknown format), the container has started
    already. As with runc, the reason goes to the command's stderr, and so into its log.
    """
    try:
        if isinstance(error, KernelError) and error.call == "execve(2)":
            os.write(2, exec_failure_message(error).encode())
            return 1
        channel.send_failure(error)
    except BaseException:
        return 1
    return exit_code_of(error)


def exec_failure_message(error: KernelError) -> str:
    """The message on the command's stderr when execve(2) fails."""
    hint = {
        ENOENT: "the interpreter after #!, or the dynamic loader, is not in the image",
        ENOEXEC: "a script needs a first line such as #!/bin/sh, a binary this architecture",
    }.get(error.errno)
    line = f"exec {error.subject}: {os.strerror(error.errno).lower()}\n"
    return line + (f"  hint: {hint}\n" if hint else "")


def exit_code_of(error: BaseException) -> int:
    """The exit code of a process that could not execute its command."""
    if isinstance(error, CommandNotFound):
        return 127
    if isinstance(error, CommandNotRunnable):
        return 126
    return 1


def seal_imports() -> None:
    """Empty the import path: any later import raises an error."""
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
