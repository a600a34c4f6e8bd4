"""exec: run one more process in a container, by joining the namespaces of its init.

    runtime ──clone3──► stage: joins the cgroup, then all namespaces of init at once (setns)
                          └──clone3──► the process: in all namespaces, our child by CLONE_PARENT

Two clones are needed because setns(2) to a PID namespace affects only children. The stage clears
its dumpable flag before it joins: the container's root could otherwise reach it through /proc.

Source: setns(2) with a pidfd, pid_namespaces(7).
"""

from __future__ import annotations

import os
from errno import ENODEV, ENOENT, ESRCH

from minidock.errors import Conflict, KernelError, MinidockError
from minidock.kernel import capability, namespace, process
from minidock.kernel.cgroup_tree import open_cgroup
from minidock.kernel.op import current_journal, use_journal
from minidock.kernel.pivot_root import chroot
from minidock.kernel.streams import take_streams
from minidock.oci.runtime_config import changes_root_by_chroot
from minidock.runtime import channel, state
from minidock.runtime.children import (
    children,
    holds_or_exits,
    is_zombie,
    reap,
    reap_eventually,
    tracked,
)
from minidock.runtime.inherited import Inherited, descriptor_steps, session_steps
from minidock.runtime.init import report, seal_imports
from minidock.runtime.process_config import (
    command_steps,
    credential_steps,
    final_steps,
    possible_ambient,
    terminal_steps,
)
from minidock.runtime.program import Step, perform
from minidock.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from minidock.document_types.runtime_spec import Process, RuntimeConfig


ENDED_DURING_EXEC = "the container ended while a process was entering it"
_KILL_SECONDS = 5.0  # for a killed process to exit


class ExecProcess:
    """A process started by exec: its pid in our PID namespace, its terminal's master or None."""

    def __init__(self, pid: int, console: int | None) -> None:
        self.pid = pid
        self.console = console


def exec_program(
    spec: Process,
    filter_program: bytes | None,
    ours: channel.Channel,
    *,
    inherited: Inherited,
    instead: Callable[[], None] | None = None,
) -> list[Step]:
    """All steps of the process of exec, in order. spec: OCI's "process".

    instead: a function to call instead of execve.
    """
    steps = [
        *session_steps(inherited),
        *terminal_steps(spec, ours),
        *credential_steps(spec, filter_program),
    ]
    last = [*descriptor_steps(inherited), *final_steps(spec, filter_program)]
    if instead is not None:
        return [*steps, *_as_after_execve(spec), *last[:-1], Step(ours.close), Step(instead)]
    return [*steps, *command_steps(spec), *last]


def _as_after_execve(spec: Process) -> list[Step]:
    """Drop the capabilities that execve(2) drops for a non-root user: all but the ambient ones."""
    sets = spec.get("capabilities")
    if sets is None or not (spec.get("user") or {}).get("uid"):
        return []
    ambient = possible_ambient(sets)
    inheritable = sets.get("inheritable") or []
    return [
        Step(
            capability.set_capabilities,
            effective=ambient,
            permitted=ambient,
            inheritable=inheritable,
        )
    ]


def execute(
    known: state.State,
    config: RuntimeConfig,
    spec: Process,
    *,
    stdio: tuple[int, int, int] | None,
    filter_program: bytes | None,
    preserved_fds: int = 0,
    instead: Callable[[], None] | None = None,
) -> ExecProcess:
    """Run a process in a container, and wait until its command runs.

    The arguments and errors: class ExecStart.
    """
    entering = ExecStart(
        known,
        config,
        spec,
        stdio=stdio,
        filter_program=filter_program,
        preserved_fds=preserved_fds,
        instead=instead,
    )
    while (entered := entering.proceed(wait=True)) is None:
        continue
    return entered


class ExecStart:
    """The start of a process in a running or created container, without blocking.

    config: the container's. spec: OCI's "process" of the new one. stdio, preserved_fds: as for
    create. beside_init: it starts in init's current root and working directory; spec's "cwd" is
    relative to it. instead: a Python function that the process calls instead of execve, with the
    command's privileges. It must import nothing; the process exits when it returns.
    The constructor clones the stage; call `proceed` whenever `fileno()` is readable. `give_up` ends
    a start that takes too long, such as that of a stopped process (SIGSTOP).
    Raises Conflict if the container has ended, CommandNotFound, CommandNotRunnable, KernelError.
    """

    def __init__(
        self,
        known: state.State,
        config: RuntimeConfig,
        spec: Process,
        *,
        stdio: tuple[int, int, int] | None,
        filter_program: bytes | None,
        preserved_fds: int = 0,
        instead: Callable[[], None] | None = None,
        beside_init: bool = False,
    ) -> None:
        self._id = known.id
        self._journal = current_journal()
        self._failure: BaseException | None = None
        self._dying: list[tuple[int, int]] = []  # pid and pidfd of killed processes
        self._killed: set[int] = set()
        self._earlier = children()
        self._ours, theirs = channel.pair()
        self._socket = f"socket:[{os.fstat(theirs.fileno()).st_ino}]"
        inherited = Inherited(keyring=known.content.get("keyring", ""), preserved_fds=preserved_fds)
        program = exec_program(spec, filter_program, theirs, inherited=inherited, instead=instead)
        keep_fds = [*(stdio or ()), *inherited.descriptors()]
        try:
            self._stage = _create_stage(
                known,
                config,
                program,
                theirs,
                stdio=stdio,
                keep_fds=keep_fds,
                beside_init=beside_init,
            )
        except BaseException as error:
            self._ours.close()
            raise self._explain(error) from None
        finally:
            theirs.close()
        tracked.add(self._stage)

    def fileno(self) -> int:
        """The descriptor to poll: readable when `proceed` has work."""
        return self._dying[0][1] if self._dying else self._ours.fileno()

    def proceed(self, *, wait: bool = False) -> ExecProcess | None:
        """Handle the next message; returns the process once its command runs, None until then.

        The process can fail before the stage has sent its pid, so FAILED is not the last message:
        wait for the end of file, when no process holds the other end any more.
        Raises the error of a failed start, once all its processes have been reaped.
        """
        if self._dying:
            self._reap(wait=wait)
            return None
        try:
            message = self._ours.receive(self._journal, wait=wait)
        except BlockingIOError:
            return None
        except MinidockError as error:
            self._failure = error
            if isinstance(error, channel.NoResponse):
                self.give_up(error)
            return None
        except BaseException as error:
            self.give_up(error)
            return None
        if message == "pid":
            tracked.add(self._ours.pid)
        if message != "closed":
            return None
        if self._failure is None and self._ours.pid:
            self._release()
            reap_eventually(self._stage)  # it has closed its end, just before it exits
            return ExecProcess(self._ours.pid, self._ours.console)
        self.give_up(self._failure or Conflict(ENDED_DURING_EXEC))
        return None

    def has_lost_process(self) -> bool:
        """Whether the process has exited while its stage, stopped, has not sent its pid.

        Unread messages come first: a short command may have exited before we read them.
        Init cannot exit before all processes of its PID namespace are reaped, this one by us.
        """
        return not self._ours.has_message() and any(is_zombie(pid) for pid in self._strays())

    def give_up(self, error: BaseException) -> None:
        """Kill the stage and the process; `proceed` then raises this error."""
        self._failure = error
        if not self._dying:
            self._kill({self._stage, *self._strays()})

    def _kill(self, pids: set[int]) -> None:
        for pid in pids:
            self._dying.append((pid, os.pidfd_open(pid)))
            os.kill(pid, SIGKILL)
        self._killed |= pids

    def _reap(self, *, wait: bool) -> None:
        """Reap the killed processes, for which init's exit would wait, and raise the error."""
        while self._dying:
            pid, pidfd = self._dying[0]
            if reap(pid, seconds=_KILL_SECONDS if wait else 0) is None:
                if not wait:
                    return
                reap_eventually(pid)  # traced, and the tracer may be stopped
            os.close(pidfd)
            self._dying.pop(0)
            self._kill(self._strays())  # the child of a stage that exited before it sent the pid
        if self._journal is not None:
            self._ours.relay_rest(self._journal)
        if self._ours.console is not None:
            os.close(self._ours.console)
        self._release()
        assert self._failure is not None
        raise self._explain(self._failure)

    def _release(self) -> None:
        tracked.difference_update({self._stage, self._ours.pid})
        self._ours.close()

    def _strays(self) -> set[int]:
        """The pid of the process, sent by the stage or found in /proc; without killed ones."""
        found = {self._ours.pid} if self._ours.pid else set()
        if not found:
            unknown = children() - self._earlier - tracked
            found = {pid for pid in unknown if is_zombie(pid) or holds_or_exits(pid, self._socket)}
        return found - self._killed

    def _explain(self, error: BaseException) -> BaseException:
        if isinstance(error, (KernelError, FileNotFoundError)) and _means_container_ended(error):
            return Conflict(f"container {self._id} is not running")
        return error


def _create_stage(
    known: state.State,
    config: RuntimeConfig,
    program: list[Step],
    theirs: channel.Channel,
    *,
    stdio: tuple[int, int, int] | None,
    keep_fds: list[int],
    beside_init: bool,
) -> int:
    """Clone the stage, which joins the namespaces and clones the process; returns its pid."""
    pidfd = known.open_pidfd()
    kinds = [ns["type"] for ns in config["linux"]["namespaces"]]
    group = open_cgroup(*known.content["cgroup"])
    cgroup_fd: int | None = None
    directories: list[int] = []
    try:
        directories += _init_directories(known.pid, config, beside_init=beside_init)
        cgroup_fd = group.fd_for_clone(beside=known.pid)
        keep_fds = [*keep_fds, theirs.fileno(), pidfd, *directories]

        def run_stage() -> NoReturn:
            def enter() -> None:
                process.set_not_dumpable()
                process.close_all_but(keep_fds)
                group.join(cloned_inside=cgroup_fd is not None)
                if kinds:
                    namespace.setns(pidfd, kinds, place=str(known.pid))
                if directories:
                    os.fchdir(directories[0])
                    chroot(".")
                    for directory in directories[1:]:
                        os.fchdir(directory)
                pid_sent, pid_sent_writer = os.pipe()

                def run_process() -> NoReturn:
                    os.close(pid_sent_writer)
                    if not os.read(pid_sent, 1):  # the stage died before it sent our pid
                        os._exit(1)
                    os.close(pid_sent)
                    _run(program, theirs, stdio)

                pid = namespace.clone_process([], run_process, cgroup_fd=None, as_sibling=True)
                theirs.send_pid(pid)
                os.write(pid_sent_writer, b"\0")

            _guarded(enter, theirs, actor="stage")

        return namespace.clone_process([], run_stage, cgroup_fd=cgroup_fd, as_sibling=False)
    finally:
        os.close(pidfd)
        for descriptor in directories if cgroup_fd is None else (*directories, cgroup_fd):
            os.close(descriptor)


def _init_directories(pid: int, config: RuntimeConfig, *, beside_init: bool) -> list[int]:
    """Descriptors of init's root and, for beside_init, its working directory.

    Empty if the root is the mount namespace's: setns(2) moves to its topmost mount. Init's root
    differs after chroot(2), and while the host's root is stacked on it, between pivot_root(2) and
    umount2(2).
    """
    if not beside_init and not changes_root_by_chroot(config):
        return []
    names = ("root", "cwd") if beside_init else ("root",)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    return [os.open(f"/proc/{pid}/{name}", flags) for name in names]


def _means_container_ended(error: KernelError | FileNotFoundError) -> bool:
    """Whether the error means that init, or its cgroup, has gone meanwhile."""
    if isinstance(error, FileNotFoundError):
        return True
    gone = {"setns(2)": (ESRCH,), "clone3(2)": (ENODEV,), "read(2)": (ENOENT, ENODEV, ESRCH)}
    return error.errno in gone.get(error.call, ())


def _run(
    program: list[Step], theirs: channel.Channel, stdio: tuple[int, int, int] | None
) -> NoReturn:
    """Perform the program of exec's process with its stdio."""

    def act() -> None:
        if stdio is not None:
            take_streams(list(stdio))
        perform(program, {})

    _guarded(act, theirs, actor="exec")


def _guarded(act: Callable[[], object], theirs: channel.Channel, *, actor: str) -> NoReturn:
    """Call `act` in a child that never returns; send its error through the channel."""
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
