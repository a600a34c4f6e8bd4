"""How a process gets into a place: born there, or out of the grader, across its walls.

    grader                    child                    the process
      | fork ------------------> | join the cgroup
      |                          | setns, all kinds at once
      |                          | clone (CLONE_PARENT) -----> | be that user, dup2, execve
      | <--------- its pid ------| exit                        |
      | waits for it: it is the grader's own child             |

A fork of the grader, in the namespaces of somebody hostile, would be a way to the grader: before it
crosses, it is made non-dumpable, so that nobody in there traces it or opens its /proc/PID/fd.
Nothing is imported on the other side. The process dies with the grader (PR_SET_PDEATHSIG).

Sources: setns(2), clone(2) CLONE_PARENT, prctl(2), user_namespaces(7).
"""

from __future__ import annotations

import os
from errno import EAGAIN, ENOENT, ENOMEM, ESRCH

from minidock.errors import MinidockError
from minidock.kernel import capability, namespace, path, process
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

    pid: whose namespaces. kinds: which of them, by OCI's names. program: a path over there, or the
    descriptor of a file. uid: as in that user namespace, if `kinds` has it; None: stay the host's
    root. group: a cgroup to join. limit_files: no core files, and none larger than 64 MiB, what it
    prints included.
    in_its_root: where that process has changed its root, start there too (kinds has "mount").
    Raises Failure where that process has ended.
    """
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY) if chroot else -1
    except OSError:  # EACCES too is what /proc says of a process that ends just now
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
            process.set_rlimit("RLIMIT_FSIZE", soft=_MAX_FILE_BYTES, hard=_MAX_FILE_BYTES)
            process.set_rlimit("RLIMIT_CORE", soft=0, hard=0)
        take_streams(list(streams))
        process.close_on_exec(3)  # what the grader has inherited from its own caller
        if uid is not None:
            path.set_umask(0o022)
            process.set_groups([uid])
            process.set_user(uid, uid)
            if "user" not in kinds:
                capability.set_no_new_privs()  # a setuid program of the host would be root again
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
            # Where the place has no memory left, its PID 1 is not the one to be killed.
            process.write_proc("/proc/self/oom_score_adj", "500")
        namespace.setns(target, list(kinds), place=str(pid))
        if chroot:
            os.fchdir(root)
            path.chroot(".")
        os.chdir("/")
        return namespace.clone_process([], exec_program, cgroup_fd=None, as_sibling=True)

    try:
        return clone_by_child(clone_into_namespaces)
    except ChildError as refused:
        if refused.errno == ESRCH:
            raise Failure(f"process {pid} has ended") from None
        if refused.errno in (EAGAIN, ENOMEM):
            raise Failure("the place is full: no process more, or no memory") from None
        raise
    finally:
        os.close(target)
        if root >= 0:
            os.close(root)


class ChildError(MinidockError):
    """What a child could not do, with the errno where it was the kernel that refused."""

    def __init__(self, said: str, number: int) -> None:
        super().__init__(said)
        self.errno = number


def clone_by_child(clone: Callable[[], int]) -> int:
    """Have a child of ours clone a process, and end; returns that process's pid.

    Raises Refused with the child's own words.
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
        raise ChildError("the lab's place: its kernel ended a process of the grader's", ENOMEM)
    _, _, rest = said.partition(" ")
    number, _, words = rest.partition(" ")
    raise ChildError(f"the lab's place: {words or 'a process has vanished'}", int(number or 0))
