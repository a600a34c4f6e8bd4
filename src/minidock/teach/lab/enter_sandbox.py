"""Start a process in a sandbox's namespaces, without giving the sandbox a way to the grader.

    grader                    child                      the process
      | fork ------------------> | join the cgroup
      |                          | setns, all namespaces at once
      |                          | clone (CLONE_PARENT) -----> | set uid, dup2, execve
      | <--------- its pid ------| exit                        |
      | waits for it: it is the grader's own child             |

A fork of the grader in hostile namespaces could be attacked there. So the child makes itself
non-dumpable before setns: no process in the sandbox can trace it or open its /proc/PID/fd. It
imports no module there. The process dies with the grader (PR_SET_PDEATHSIG).

Sources: setns(2), clone(2) CLONE_PARENT, prctl(2), user_namespaces(7).
"""

from __future__ import annotations

import os
from errno import EAGAIN, ENOENT, ENOMEM, ESRCH

from minidock.errors import MinidockError
from minidock.kernel import capability, namespace, path, pivot_root, process
from minidock.kernel.rlimit import set_rlimit
from minidock.kernel.streams import take_streams
from minidock.numerals import is_decimal
from minidock.teach.lab.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from minidock.kernel.cgroup import Cgroup

_MAX_FILE_BYTES = 64 << 20
ALL_NAMESPACES = ["mount", "pid", "network", "uts", "ipc", "cgroup", "user"]


def enter(
    pid: int,
    kinds: Sequence[str],
    argv: Sequence[str],
    *,
    program: str | int,
    environment: dict[str, str],
    streams: tuple[int, int, int],
    uid: int | None = None,
    cgroup: Cgroup | None = None,
    limit_files: bool = False,
    chroot: bool = False,
) -> int:
    """Start a program in the namespaces of another process; returns its pid on the host.

    pid: the process that is in the namespaces. kinds: OCI names of the namespaces to enter.
    program: a path in them, or a file descriptor. uid: in that user namespace, if `kinds` has
    "user"; None: stay the host's root. cgroup: to join. limit_files: no core files,
    and no file over 64 MiB, its output included. chroot: use that process's root directory
    (`kinds` has "mount").
    Raises Failure if that process has ended.
    """
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY) if chroot else -1
    except OSError:  # EACCES too: /proc says so of a process that is just ending
        raise Failure(f"process {pid} has ended") from None
    try:
        target = os.pidfd_open(pid)
    except ProcessLookupError:
        if root >= 0:
            os.close(root)
        raise Failure(f"process {pid} has ended") from None

    def exec_program() -> NoReturn:
        process.new_session()
        if limit_files:
            set_rlimit("RLIMIT_FSIZE", soft=_MAX_FILE_BYTES, hard=_MAX_FILE_BYTES)
            set_rlimit("RLIMIT_CORE", soft=0, hard=0)
        take_streams(list(streams))
        process.close_on_exec(3)  # what the grader inherited from its caller
        if uid is not None:
            path.set_umask(0o022)
            process.set_groups([uid])
            process.set_user(uid, uid)
            if "user" not in kinds:
                capability.set_no_new_privs()  # a setuid program of the host could become root
        process.die_with_parent()
        process.restore_signals()
        try:
            os.execve(program, list(argv), environment)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
            os._exit(127 if error.errno == ENOENT else 126)

    def clone_into_namespaces() -> int:
        process.set_not_dumpable()
        if cgroup is not None:
            cgroup.join()
            # If the sandbox runs out of memory, the OOM killer is to take this process, not PID 1.
            process.write_proc("/proc/self/oom_score_adj", "500")
        namespace.setns(target, list(kinds), place=str(pid))
        if chroot:
            os.fchdir(root)
            pivot_root.chroot(".")
        os.chdir("/")
        return namespace.clone_process([], exec_program, cgroup_fd=None, as_sibling=True)

    try:
        return clone_by_child(clone_into_namespaces)
    except ChildError as refused:
        if refused.errno == ESRCH:
            raise Failure(f"process {pid} has ended") from None
        if refused.errno in (EAGAIN, ENOMEM):
            raise Failure("the sandbox has reached its limit of processes or memory") from None
        raise
    finally:
        os.close(target)
        if root >= 0:
            os.close(root)


class ChildError(MinidockError):
    """An error in a child; errno: the kernel's, or 0."""

    def __init__(self, said: str, number: int) -> None:
        super().__init__(said)
        self.errno = number


def clone_by_child(clone: Callable[[], int]) -> int:
    """Fork a child that calls `clone` and exits; returns the pid of the process that it cloned.

    Raises ChildError with the child's message.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    child = os.fork()
    if child == 0:
        try:
            process.die_with_parent()
            os.write(writing, f"{clone()}".encode())
        except BaseException as error:
            number = getattr(error, "errno", 0) or 0
            os.write(writing, f"! {number} {error or type(error).__name__}".encode()[:4000])
        finally:
            os._exit(0)
    os.close(writing)
    status = os.waitpid(child, 0)[1]
    try:
        said = os.read(reading, 4096).decode(errors="replace")
    except BlockingIOError:
        said = ""
    finally:
        os.close(reading)
    if is_decimal(said):
        return int(said)
    if os.WIFSIGNALED(status):
        raise ChildError("the lab's sandbox: the kernel killed a process of the grader", ENOMEM)
    _, _, rest = said.partition(" ")
    number, _, words = rest.partition(" ")
    raise ChildError(f"the lab's sandbox: {words or 'a process has disappeared'}", int(number or 0))
