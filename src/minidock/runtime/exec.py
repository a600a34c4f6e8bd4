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
from minidock.kernel.cgroup_tree import open_cgroup
from minidock.kernel.keyring import join_session_keyring
from minidock.kernel.op import current_journal, use_journal
from minidock.kernel.path import chroot
from minidock.kernel.streams import take_streams
from minidock.runtime import channel, state
from minidock.runtime.children import (
    children,
    holds_or_exits,
    is_zombie,
    reap,
    reap_eventually,
    tracked,
)
from minidock.runtime.init import report, seal_imports
from minidock.runtime.process_config import (
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


ENDED_DURING_EXEC = "the container ended while a process was entering it"
_DEATH_SECONDS = 5.0  # for a process to end that was killed


class ExecProcess:
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
) -> ExecProcess:
    """Run a process in a container that runs, and wait until its command does.

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
    """A process on its way into a container that runs, or that is created and waits for its start.

    config: the container's. spec: OCI's "process" of the new one. stdio, preserved_fds: as for
    create. beside_init: it begins with init's own root and working directory, wherever these are;
    spec's "cwd" is resolved from there. instead: what the process does, in Python, in the place of
    becoming spec's command: all that a command there could. It imports nothing, and the process
    ends when it returns.
    Making one starts it; then `proceed` is called whenever `fileno()` is readable. Nobody waits for
    a process that is stopped (SIGSTOP) on its way: see `give_up`.
    Raises Conflict where the container has ended, CommandNotFound, CommandNotRunnable, KernelError.
    """

    def __init__(
        self,
        known: state.State,
        config: dict[str, Any],
        spec: dict[str, Any],
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
        self._dying: list[tuple[int, int]] = []  # pid and pidfd of those that are to end
        self._killed: set[int] = set()
        self._earlier = children()
        self._ours, theirs = channel.pair()
        self._socket = f"socket:[{os.fstat(theirs.fileno()).st_ino}]"
        program = exec_program(
            spec,
            filter_program,
            theirs,
            keyring=known.content.get("keyring", ""),
            preserved_fds=preserved_fds,
            instead=instead,
        )
        kept = [*(stdio or ()), *range(3, 3 + preserved_fds)]
        try:
            self._stage = _create_stage(
                known, config, program, theirs, stdio=stdio, kept=kept, beside_init=beside_init
            )
        except (KernelError, FileNotFoundError) as error:
            self._ours.close()
            raise self._explain(error) from None
        except BaseException:
            self._ours.close()
            raise
        finally:
            theirs.close()
        tracked.add(self._stage)

    def fileno(self) -> int:
        """What to poll: readable when there is something to do."""
        return self._dying[0][1] if self._dying else self._ours.fileno()

    def proceed(self, *, wait: bool = False) -> ExecProcess | None:
        """Take what has come; returns the process once its command runs, None until then.

        A process can fail before the stage has told of its creation, so a failure is not the last
        word: that is the end of the channel, when nobody holds its other end any more.
        Raises what kept it from entering, once all of it has ended.
        """
        if self._dying:
            self._reap(wait=wait)
            return None
        try:
            heard = self._ours.receive(self._journal, wait=wait)
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
        if heard == "pid":
            tracked.add(self._ours.pid)
        if heard != "closed":
            return None
        if self._failure is None and self._ours.pid:
            self._release()
            reap_eventually(self._stage)  # it has closed its end, and that is its last act
            return ExecProcess(self._ours.pid, self._ours.console)
        self.give_up(
            self._failure or Conflict("the container ended while a process was entering it")
        )
        return None

    def has_lost_process(self) -> bool:
        """Whether the process inside is dead, though its stage, stopped, has not told of it.

        What is still to be heard counts first: a program may have ended before we got to listen.
        A PID namespace does not end before all of its processes are reaped: by us, this one.
        """
        return not self._ours.has_message() and any(is_zombie(pid) for pid in self._strays())

    def give_up(self, error: BaseException) -> None:
        """End what there is of it, wherever it stands; `proceed` raises this then."""
        self._failure = error
        if not self._dying:
            self._kill({self._stage, *self._strays()})

    def _kill(self, pids: set[int]) -> None:
        for pid in pids:
            self._dying.append((pid, os.pidfd_open(pid)))
            os.kill(pid, 9)
        self._killed |= pids

    def _reap(self, *, wait: bool) -> None:
        """Reap those that are to end, or init's own end would wait for them, and tell why."""
        while self._dying:
            pid, pidfd = self._dying[0]
            if reap(pid, seconds=_DEATH_SECONDS if wait else 0) is None:
                if not wait:
                    return
                reap_eventually(pid)  # it is traced, and its tracer may be stopped
            os.close(pidfd)
            self._dying.pop(0)
            self._kill(self._strays())  # of a stage that ended before it told
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
        """The process inside, told of or not; none that was killed already."""
        found = {self._ours.pid} if self._ours.pid else set()
        if not found:
            unknown = children() - self._earlier - tracked
            found = {pid for pid in unknown if is_zombie(pid) or holds_or_exits(pid, self._socket)}
        return found - self._killed

    def _explain(self, error: BaseException) -> BaseException:
        if isinstance(error, (KernelError, FileNotFoundError)) and _tells_of_an_end(error):
            return Conflict(f"container {self._id} is not running")
        return error


def _create_stage(
    known: state.State,
    config: dict[str, Any],
    program: list[Step],
    theirs: channel.Channel,
    *,
    stdio: tuple[int, int, int] | None,
    kept: list[int],
    beside_init: bool,
) -> int:
    """Clone the stage, which joins the container and clones the process; returns its pid."""
    pidfd = known.open_pidfd()
    kinds = [ns["type"] for ns in config["linux"]["namespaces"]]
    group = open_cgroup(*known.content["cgroup"])
    cgroup_fd: int | None = None
    places: list[int] = []
    try:
        places += _places_of_init(known.pid, config, beside_init=beside_init)
        cgroup_fd = group.fd_for_clone(beside=known.pid)
        kept = [*kept, theirs.fileno(), pidfd, *places]

        def run_stage() -> NoReturn:
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
                told, telling = os.pipe()

                def run_process() -> NoReturn:
                    os.close(telling)
                    if not os.read(told, 1):  # the stage has ended, and nobody knows of us
                        os._exit(1)
                    os.close(told)
                    _run(program, theirs, stdio)

                pid = namespace.clone_process([], run_process, cgroup_fd=None, as_sibling=True)
                theirs.send_pid(pid)
                os.write(telling, b"t")

            _guarded(enter, theirs, actor="stage")

        return namespace.clone_process([], run_stage, cgroup_fd=cgroup_fd, as_sibling=False)
    finally:
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
