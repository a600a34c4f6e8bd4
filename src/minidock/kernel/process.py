"""What a process is to the kernel: its ids, session, limits, dumpability, and the program it runs.

Sources: prctl(2), setsid(2), credentials(7), setrlimit(2), execve(2), pidfd_open(2), proc(5).
"""

from __future__ import annotations

import errno
import os
import resource

from minidock.errors import CommandNotRunnable, KernelError
from minidock.kernel.libc import syscall
from minidock.kernel.null import NULL, device_of, open_null
from minidock.kernel.op import op, quote
from minidock.kernel.procfs import open_procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal  # without the enums, whose import costs 5 ms

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
CLOSE_RANGE_CLOEXEC = 4

# include/uapi/asm-generic/resource.h; the numbers are the same on x86_64 and arm64.
RLIMITS = {
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5, "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10, "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}  # fmt: skip


def _set_not_dumpable_sh() -> str:
    return "# prctl(PR_SET_DUMPABLE, 0) has no shell twin"


@op("prctl(2)", twin=_set_not_dumpable_sh)
def set_not_dumpable() -> None:
    """Close /proc/PID to processes of the container, before this one comes within their reach.

    Without it: a root process in the container's PID namespace that has CAP_DAC_OVERRIDE opens our
    /proc/PID/fd/N, and writes to files of the host.

    The kernel makes a process dumpable again at execve(2), when nothing of ours is left in it.
    """
    syscall("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0, subject="PR_SET_DUMPABLE")


def die_with_parent(parent: int = 0) -> None:
    """Be killed by the kernel when the parent ends; a change of user, and a fork, forget it.

    parent: its pid, if known: a parent that ended before the call would not be noticed.
    """
    syscall("prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0, subject="PR_SET_PDEATHSIG")
    if parent and os.getppid() != parent:
        os._exit(1)


def _new_session_sh() -> str:
    return "exec setsid -w sh +m"


@op("setsid(2)", twin=_new_session_sh)
def new_session() -> None:
    """Leave the caller's session, so that its terminal and its signals are not the container's.

    Without it: Ctrl-C in the caller's terminal ends the container, and the container may push
    characters into that terminal (TIOCSTI).
    """
    try:
        os.setsid()
    except PermissionError:
        pass  # already the leader of a session of its own


def _set_rlimit_sh(name: str, *, soft: int, hard: int) -> str:
    word = {"RLIMIT_AS": "as", "RLIMIT_RTPRIO": "rtprio"}.get(name, name[7:].lower())
    return f"prlimit --pid $$ --{word}={soft}:{hard}"


@op("setrlimit(2)", twin=_set_rlimit_sh)
def set_rlimit(name: str, *, soft: int, hard: int) -> None:
    """Limit what each process of the container may use, such as the number of open files.

    Without it: the container has the limits of whoever started it: too few open files for a
    database, say.

    name: a key of RLIMITS. soft, hard: -1 for no limit.
    Raises KernelError: EPERM where hard is above ours and we lack CAP_SYS_RESOURCE, EINVAL.
    """
    try:
        resource.prlimit(0, RLIMITS[name], (soft, hard))
    except (OSError, ValueError) as error:
        # Python raises ValueError for EINVAL (soft above hard) and for EPERM.
        soft_above_hard = hard != -1 and (soft == -1 or soft > hard)
        refused = errno.EINVAL if soft_above_hard else errno.EPERM
        number = getattr(error, "errno", None) or refused
        raise KernelError(
            "setrlimit(2)",
            f"{name} {soft}:{hard}",
            number,
            hint="the hard limit of this machine's root may be lower: see `ulimit -Ha`",
        ) from None


def _write_proc_sh(path: str, value: str) -> str:
    return f"echo {quote(value)} > {path}"


@op("proc(5)", twin=_write_proc_sh)
def write_proc(path: str, value: str) -> None:
    """Set a value of this process or of its namespaces through /proc.

    Without it: the settings that the config names stay the kernel's own: its sysctls, and whom it
    kills first when memory is short (oom_score_adj).

    path: such as /proc/self/oom_score_adj or /proc/sys/net/ipv4/ip_local_port_range.
    Raises KernelError with the errno of the write; MinidockError where the path is not procfs's, as
    below a volume that is mounted over a part of /proc (CVE-2019-16884).
    """
    try:
        fd = open_procfs(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError("write(2)", f"{value!r} to {path}", error.errno or 0) from None


def _set_groups_sh(gids: list[int]) -> str:
    groups = f"--groups {','.join(map(str, gids))}" if gids else "--clear-groups"
    return f"exec setpriv {groups} sh +m"


@op("setgroups(2)", twin=_set_groups_sh)
def set_groups(gids: list[int]) -> None:
    """Replace the supplementary groups, or the host root's groups would open the container's files.

    Without it: a command that runs as an ordinary user keeps root's groups, and reads whatever
    their members may.

    Raises KernelError: EPERM without CAP_SETGID.
    """
    try:
        os.setgroups(gids)
    except OSError as error:
        raise KernelError("setgroups(2)", str(gids), error.errno or 0) from None


def _set_user_sh(uid: int, gid: int) -> str:
    return f"exec setpriv --reuid {uid} --regid {gid} --keep-groups sh +m"


@op("setresuid(2)", twin=_set_user_sh)
def set_user(uid: int, gid: int) -> None:
    """Become the user and group that the command runs as: real, effective and saved alike.

    Without it: `--user 1000` does nothing: the command runs as root, and so does whoever finds a
    hole in it.

    The group comes first: once root is gone, it could not be changed.
    Raises KernelError: EPERM.
    """
    try:
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise KernelError("setresuid(2)", f"{uid}:{gid}", error.errno or 0) from None


def _give_stdio_sh(uid: int) -> str:
    return f"chown {uid} /proc/self/fd/[012]"


@op("fchown(2)", twin=_give_stdio_sh)
def give_stdio(uid: int) -> None:
    """Let the command's user open /dev/stdout and /dev/stderr: the pipes are root's so far.

    Without it: `echo >/dev/stderr` of an ordinary user says "Permission denied": opening that path
    asks for the rights of the pipe, which root has made.
    """
    for descriptor in (0, 1, 2):
        try:
            if device_of(descriptor) != NULL:
                os.fchown(descriptor, uid, -1)
        except OSError as error:
            if error.errno not in (9, 22, 30):  # EBADF, EINVAL, EROFS: closed, or owned by nobody
                raise KernelError("fchown(2)", f"fd {descriptor}", error.errno or 0) from None


def _reopen_null_sh() -> str:
    return "[ -t 0 ] || [ -p /dev/fd/0 ] || exec 0<>/dev/null"


@op("null(4)", twin=_reopen_null_sh)
def reopen_null() -> str | None:
    """Where a stream is the host's /dev/null, take the container's own instead.

    Without it: by a descriptor of the host's node, root inside changes its mode, and so takes
    /dev/null away from everybody outside.

    Returns "absent" where no stream is the null device.
    Raises MinidockError where the container's /dev/null is missing or is something else.
    """
    streams = [number for number in (0, 1, 2) if device_of(number) == NULL]
    if not streams:
        return "absent"
    try:
        # Without waiting, since a process inside may have put a FIFO there.
        own = os.open("/dev/null", os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        if device_of(own) != NULL:
            raise OSError
    except OSError:
        raise CommandNotRunnable(
            "/dev/null of the container is not the null device",
            hint="the command's streams lead there; with -i or -t it gets others",
        ) from None
    os.set_blocking(own, True)
    for number in streams:
        os.dup2(own, number)
    os.close(own)
    return None


def _close_all_but_sh(kept: list[int]) -> str:
    return f"# all descriptors from 3 on are closed, but {' '.join(map(str, kept))}"


@op("close_range(2)", twin=_close_all_but_sh)
def close_all_but(kept: list[int]) -> None:
    """Let go of all that our parent has open: its sockets, its ports, the container's journal.

    Without it: init holds its parent's sockets open: nobody hears that the monitor has died, and
    published ports stay taken.

    A socket that is open here too does not tell its other end when the parent dies; and what is not
    open cannot be reached from inside.
    kept: descriptors that stay, beside 0, 1 and 2.
    """
    first = 3
    for last in sorted(set(kept)):
        if last > first:
            syscall("close_range", first, last - 1, 0, subject=f"{first} to {last - 1}")
        first = max(first, last + 1)
    syscall("close_range", first, 0xFFFFFFFF, 0, subject=f"from {first}")


def _close_on_exec_sh(first: int) -> str:
    return "exec " + " ".join(f"{number}<&-" for number in range(first, 10))


@op("close_range(2)", twin=_close_on_exec_sh)
def close_on_exec(first: int) -> None:
    """Let no descriptor of the host live on in the container: those from `first` on close.

    Without it: the command inherits descriptors of the host; one of a directory is a way out of the
    container's root (CVE-2024-21626).
    """
    syscall("close_range", first, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC, subject=f"from {first}")


def _hand_on_sh(first: int, last: int) -> str:
    return f"# descriptors {first} to {last} stay open for the command"


@op("fcntl(2)", twin=_hand_on_sh)
def hand_on(first: int, last: int) -> None:
    """Let the command have the descriptors that whoever made the container meant for it.

    Without it: socket activation and --preserve-fds fail: these descriptors are closed at execve(2)
    like all others.

    Raises KernelError EBADF for one that is not open.
    """
    for descriptor in range(first, last + 1):
        try:
            os.set_inheritable(descriptor, True)
        except OSError as error:
            raise KernelError("fcntl(2)", f"fd {descriptor}", error.errno or 0) from None


def _restore_signals_sh() -> str:
    return "trap - PIPE"


@op("signal(7)", twin=_restore_signals_sh)
def restore_signals() -> None:
    """Give the command the kernel's default signal handling, and no signal blocked.

    Without it: who writes to a pipe does not die of SIGPIPE when its reader has gone: `yes | head
    -1` ends with "Broken pipe".

    Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays so across execve.
    """
    for number in signal.valid_signals():
        if number not in (9, 19) and not 32 <= number <= 33:
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                continue  # a signal that libc keeps to itself
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _execute_sh(path: str, argv: list[str], environment: list[str]) -> str:
    assigned = " ".join(quote(entry) for entry in environment)
    words = " ".join(quote(word) for word in argv)
    return f"exec env -i {assigned} {words}"


@op("execve(2)", twin=_execute_sh)
def execute(path: str, argv: list[str], environment: list[str]) -> NoReturn:
    """Become the container's own program: all that was ours in this process is gone.

    Without it: there is a container with nothing in it but our own Python.

    path: found in the container's PATH already. environment: NAME=value entries.
    Raises KernelError: EACCES, ENOENT (also for a missing interpreter of a script), ENOEXEC, E2BIG.
    """
    try:
        os.execve(path, argv, dict(entry.split("=", 1) for entry in environment if "=" in entry))
    except OSError as error:
        raise KernelError("execve(2)", path, error.errno or 0) from None


def _spawn_sh(path: str, argv: list[str], environment: list[str], *, control: int) -> str:
    words = " ".join(quote(word) for word in argv[1:])
    return f"# setsid {quote(path)} {words} 3<>control 0<>/dev/null 1>&0 2>&0 &"


@op("posix_spawn(3)", twin=_spawn_sh)
def spawn(path: str, argv: list[str], environment: list[str], *, control: int) -> int:
    """Bear the container's monitor, in a session of its own: no terminal and no shell ends it.

    Without it: the container is a child of the command that started it: closing the terminal ends
    it, nobody keeps what it says, and its exit status is lost.

    control: the descriptor that it finds as its 3; 0, 1 and 2 are /dev/null.
    Returns its pid.
    Raises KernelError: ENOENT, EACCES, EAGAIN at the limit of processes.
    """
    null = open_null(os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
    actions.append((os.POSIX_SPAWN_DUP2, control, 3))
    pairs = dict(entry.split("=", 1) for entry in environment)
    try:
        return os.posix_spawn(path, argv, pairs, file_actions=actions, setsid=True)
    except OSError as error:
        raise KernelError("posix_spawn(3)", path, error.errno or 0) from None
    finally:
        os.close(null)


def _send_signal_sh(pidfd: int, number: int, *, pid: int) -> str:
    return f"kill -{number} {pid}"


@op("pidfd_send_signal(2)", twin=_send_signal_sh)
def send_signal(pidfd: int, number: int, *, pid: int) -> str | None:
    """Signal exactly this process: a pidfd cannot come to mean another one, as a number can.

    Without it: by kill(2), a number that another process has got meanwhile means that one: `stop`
    would end a stranger.

    Returns "ended" where the process has gone.
    Raises KernelError: EINVAL for a number that is not a signal.
    """
    try:
        syscall("pidfd_send_signal", pidfd, number, None, 0, subject=f"{number} to {pid}")
    except KernelError as error:
        if error.errno == errno.ESRCH:
            return "ended"
        raise
    return None


def start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot: with its pid, a name that is never reused.

    Returns 0 where there is no such process. Source: proc_pid_stat(5), field 22.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0
