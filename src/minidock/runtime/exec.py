"""One more process in a running container: the same walls, entered instead of built.

    runtime ──clone3──► stage: joins the cgroup, then all namespaces of init at once (setns)
                          └──clone3──► the process: born inside, our child by CLONE_PARENT

Two births are needed because a PID namespace takes children only. The stage is not dumpable before
it joins: from then on the container's root could reach it through /proc.

Source: setns(2) with a pidfd, pid_namespaces(7).
"""

from __future__ import annotations

import os
from errno import ENODEV, ENOENT, ESRCH

from minidock.errors import Conflict, KernelError, MinidockError
from minidock.kernel import capability, namespace, process
from minidock.kernel.cgroup import open_cgroup
from minidock.kernel.keyring import join_session_keyring
from minidock.kernel.op import current_journal, use_journal
from minidock.kernel.path import chroot
from minidock.kernel.streams import take_streams
from minidock.runtime import channel, state
from minidock.runtime.init import report, seal_imports
from minidock.runtime.process import (
    command_steps,
    credential_steps,
    final_steps,
    possible_ambient,
    terminal_steps,
)
from minidock.runtime.program import Step, perform
from minidock.runtime.rootfs import changes_root_by_chroot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn


class Entered:
    """A process that exec added: its pid as the runtime sees it, its terminal's master or None."""

    def __init__(self, pid: int, console: int | None) -> None:
        self.pid = pid
        self.console = console


def exec_program(
    spec: dict[str, Any],
    filter_program: bytes | None,
    ours: channel.Channel,
    *,
    keyring: str,
    preserved_fds: int,
    instead: Callable[[], None] | None = None,
) -> list[Step]:
    """All that the added process does, in order. spec: OCI's "process".

    instead: what it does in the place of becoming a command.
    """
    steps = [
        Step(process.new_session),
        *([Step(join_session_keyring, keyring)] if keyring else []),
        *terminal_steps(spec, ours),
        *credential_steps(spec, filter_program),
    ]
    last = final_steps(spec, filter_program, preserved_fds=preserved_fds)
    if instead is not None:
        return [*steps, *_as_after_execve(spec), *last[:-1], Step(ours.close), Step(instead)]
    return [*steps, *command_steps(spec), *last]


def _as_after_execve(spec: dict[str, Any]) -> list[Step]:
    """What execve(2) does to the capabilities of a user: only the ambient ones stay."""
    sets = spec.get("capabilities")
    if sets is None or not (spec.get("user") or {}).get("uid"):
        return []
    kept = possible_ambient(sets)
    inheritable = sets.get("inheritable") or []
    return [
        Step(capability.set_capabilities, effective=kept, permitted=kept, inheritable=inheritable)
    ]


def execute(
    known: state.State,
    config: dict[str, Any],
    spec: dict[str, Any],
    *,
    stdio: tuple[int, int, int] | None,
    filter_program: bytes | None,
    preserved_fds: int = 0,
    instead: Callable[[], None] | None = None,
    beside_init: bool = False,
) -> Entered:
    """Run a process in a container that runs.

    It may also be one that is created, and waits for its start.
    config: the container's. spec: OCI's "process" of the new one. stdio, preserved_fds: as for
    create. beside_init: it begins with init's own root and working directory, wherever these are;
    spec's "cwd" is resolved from there. instead: what the process does, in Python, in the place of
    becoming spec's command: all that a command there could. It imports nothing, and the process
    ends when it returns.
    Raises Conflict where the container has ended, CommandNotFound, CommandNotRunnable, KernelError.
    """
    try:
        pidfd = os.pidfd_open(known.pid)
    except ProcessLookupError:
        raise Conflict(f"container {known.id} is not running") from None
    ours, theirs = channel.pair()
    kinds = [ns["type"] for ns in config["linux"]["namespaces"]]
    group = open_cgroup(*known.content["cgroup"])
    cgroup_fd: int | None = None
    program = exec_program(
        spec,
        filter_program,
        theirs,
        keyring=known.content.get("keyring", ""),
        preserved_fds=preserved_fds,
        instead=instead,
    )

    kept = [theirs.fileno(), pidfd, *(stdio or ()), *range(3, 3 + preserved_fds)]
    places = _places_of_init(known.pid, config, beside_init=beside_init)
    kept += places

    def run_stage() -> NoReturn:
        def run_process() -> NoReturn:
            _run(program, theirs, stdio)

        def enter() -> None:
            process.set_not_dumpable()
            process.close_all_but(kept)
            group.join(born_inside=cgroup_fd is not None)
            if kinds:
                namespace.setns(pidfd, kinds, place=str(known.pid))
            if places:
                os.fchdir(places[0])
                chroot(".")
                for directory in places[1:]:
                    os.fchdir(directory)
            pid = namespace.clone_process([], run_process, cgroup_fd=None, as_sibling=True)
            theirs.send_pid(pid)

        _guarded(enter, theirs, actor="stage")

    earlier = _children()
    try:
        cgroup_fd = group.fd_for_clone(beside=known.pid)
        stage = namespace.clone_process([], run_stage, cgroup_fd=cgroup_fd, as_sibling=False)
        theirs.close()
        return _await_exec(ours, stage, earlier)
    except (KernelError, FileNotFoundError) as error:
        if _tells_of_an_end(error):
            raise Conflict(f"container {known.id} is not running") from None
        raise
    finally:
        ours.close()
        os.close(pidfd)
        for descriptor in places if cgroup_fd is None else (*places, cgroup_fd):
            os.close(descriptor)


def _places_of_init(pid: int, config: dict[str, Any], *, beside_init: bool) -> list[int]:
    """Descriptors of init's own root, and of its working directory to stand beside it.

    Empty where the root is the namespace's: setns(2) leads to the top of what is mounted there.
    Init's is another one after chroot(2), and while the host's tree is stacked on it: from
    pivot_root(2) to umount2(2).
    """
    if not beside_init and not changes_root_by_chroot(config):
        return []
    names = ("root", "cwd") if beside_init else ("root",)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    return [os.open(f"/proc/{pid}/{name}", flags) for name in names]


def _tells_of_an_end(error: KernelError | FileNotFoundError) -> bool:
    """Whether init, or its cgroup with it, went away while we were on the way in."""
    if isinstance(error, FileNotFoundError):
        return True
    gone = {"setns(2)": (ESRCH,), "clone3(2)": (ENODEV,), "read(2)": (ENOENT, ENODEV, ESRCH)}
    return error.errno in gone.get(error.call, ())


def _await_exec(ours: channel.Channel, stage: int, earlier: set[int]) -> Entered:
    """Wait until the command runs: until nobody holds the other end any more.

    A process can fail before the stage has told of its birth, so a failure is not the last word.
    earlier: the children that we had before.
    """
    failure: BaseException | None = None
    heard = ""
    while heard != "closed":
        try:
            heard = ours.receive(current_journal())
        except MinidockError as error:
            failure = error
        except BaseException as error:
            failure = error
            break
    os.waitpid(stage, 0)
    if failure is None and ours.pid:
        return Entered(ours.pid, ours.console)
    _bury({ours.pid} if ours.pid else _children() - earlier)
    if ours.console is not None:
        os.close(ours.console)
    raise failure or Conflict("the container ended while a process was entering it")


def _children() -> set[int]:
    """Our children, by proc(5): a stage that was killed leaves one that it did not tell of."""
    try:
        with open("/proc/thread-self/children", encoding="ascii") as file:
            return {int(word) for word in file.read().split()}
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return set()


def _bury(strays: set[int]) -> None:
    """End and reap them: init's own end would wait for them, as for all of its namespace."""
    for pid in strays:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def _run(
    program: list[Step], theirs: channel.Channel, stdio: tuple[int, int, int] | None
) -> NoReturn:
    """Perform the added process's program, with the streams that it was given."""

    def act() -> None:
        if stdio is not None:
            take_streams(list(stdio))
        perform(program, {})

    _guarded(act, theirs, actor="exec")


def _guarded(act: Any, theirs: channel.Channel, *, actor: str) -> NoReturn:
    """Do it in a child that never returns: an error travels out as data."""
    code = 0
    try:
        seal_imports()
        outside = current_journal()
        if outside is not None:
            use_journal(outside.of_child(theirs.send_record, actor=actor))
        act()
    except BaseException as error:
        code = report(error, theirs)
    finally:
        os._exit(code)
