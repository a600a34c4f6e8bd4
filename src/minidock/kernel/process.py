"""Process attributes: ids, session, dumpability, descriptors, signals, and its program.

Sources: prctl(2), setsid(2), credentials(7), execve(2), pidfd_open(2), proc(5).
"""

from __future__ import annotations

import errno
import os

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


def _set_not_dumpable_sh() -> str:
    return "# prctl(PR_SET_DUMPABLE, 0) has no shell twin"


@op("prctl(2)", twin=_set_not_dumpable_sh)
def set_not_dumpable() -> None:
    """Protect this process's /proc/PID from processes of the container, before it joins them.

    Without it: a root process in the container's PID namespace with CAP_DAC_OVERRIDE can open our
    /proc/PID/fd/N and write to files of the host.

    execve(2) makes the process dumpable again, when nothing of ours is left in it.
    """
    syscall("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0, subject="PR_SET_DUMPABLE")


def die_with_parent(parent: int = 0) -> None:
    """Let the kernel kill this process when its parent ends; fork and a change of user reset this.

    parent: its pid, if known, to notice a parent that has ended before the call.
    """
    syscall("prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0, subject="PR_SET_PDEATHSIG")
    if parent and os.getppid() != parent:
        os._exit(1)


def _new_session_sh() -> str:
    return "exec setsid -w sh +m"


@op("setsid(2)", twin=_new_session_sh)
def new_session() -> None:
    """Leave the caller's session, so that its terminal does not control the container.

    Without it: Ctrl-C in the caller's terminal ends the container, and the container can inject
    characters into that terminal (TIOCSTI).
    """
    try:
        os.setsid()
    except PermissionError:
        pass  # already a session leader


def _write_proc_sh(path: str, value: str) -> str:
    return f"echo {quote(value)} > {path}"


@op("proc(5)", twin=_write_proc_sh)
def write_proc(path: str, value: str) -> None:
    """Set an attribute of this process or of its namespaces through /proc.

    Without it: sysctls, and the OOM killer's preference (oom_score_adj), keep the kernel's defaults
    instead of the config's values.

    path: such as /proc/self/oom_score_adj or /proc/sys/net/ipv4/ip_local_port_range.
    Raises KernelError with the errno of the write; MinidockError if the path is not in procfs, as
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
    """Replace the supplementary groups, so that the groups of the host's root have no effect.

    Without it: a command that runs as an ordinary user keeps root's groups, and can read whatever
    they can.

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
    """Set the real, effective and saved user and group ids of the command.

    Without it: `--user 1000` has no effect: the command runs as root, and so does an attacker who
    exploits it.

    The group is set first: without root's uid it could not be changed.
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
    """Let the command's user open /dev/stdout and /dev/stderr, which are pipes owned by root.

    Without it: `echo >/dev/stderr` of an ordinary user fails with "Permission denied": opening that
    path checks the permissions of the pipe, which root has created.
    """
    for descriptor in (0, 1, 2):
        try:
            if device_of(descriptor) != NULL:
                os.fchown(descriptor, uid, -1)
        except OSError as error:
            if error.errno not in (9, 22, 30):  # EBADF, EINVAL, EROFS: closed, or without an owner
                raise KernelError("fchown(2)", f"fd {descriptor}", error.errno or 0) from None


def _reopen_null_sh() -> str:
    return "[ -t 0 ] || [ -p /dev/fd/0 ] || exec 0<>/dev/null"


@op("null(4)", twin=_reopen_null_sh)
def reopen_null() -> str | None:
    """Replace streams that are the host's /dev/null by the container's own.

    Without it: through a descriptor of the host's node, root in the container can change its mode,
    and so make /dev/null unusable for all users of the host.

    Returns "absent" if no stream is the null device.
    Raises MinidockError if the container's /dev/null is missing or another file.
    """
    streams = [number for number in (0, 1, 2) if device_of(number) == NULL]
    if not streams:
        return "absent"
    try:
        # Non-blocking, since a process in the container may have put a FIFO there.
        own = os.open("/dev/null", os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        if device_of(own) != NULL:
            raise OSError
    except OSError:
        raise CommandNotRunnable(
            "/dev/null of the container is not the null device",
            hint="the command's streams use it; with -i or -t it gets others",
        ) from None
    os.set_blocking(own, True)
    for number in streams:
        os.dup2(own, number)
    os.close(own)
    return None


def _close_all_but_sh(kept: list[int]) -> str:
    return f"# all descriptors from 3 on are closed except {' '.join(map(str, kept))}"


@op("close_range(2)", twin=_close_all_but_sh)
def close_all_but(kept: list[int]) -> None:
    """Close all descriptors inherited from our parent: its sockets, its ports, the journal.

    Without it: init keeps its parent's sockets open: their peers do not notice when the monitor
    dies, and published ports stay in use.

    A socket that is also open here does not report EOF to its peer when the parent dies; and a
    closed descriptor cannot be reached from the container.
    kept: descriptors that stay open, in addition to 0, 1 and 2.
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
    """Set close-on-exec on all descriptors from `first` on, so that none of the host's survives.

    Without it: the command inherits descriptors of the host; one of a directory is an escape from
    the container's root (CVE-2024-21626).
    """
    syscall("close_range", first, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC, subject=f"from {first}")


def _preserve_fds_sh(first: int, last: int) -> str:
    return f"# descriptors {first} to {last} stay open for the command"


@op("fcntl(2)", twin=_preserve_fds_sh)
def preserve_fds(first: int, last: int) -> None:
    """Keep open the descriptors that the caller passes to the command.

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
    """Reset all signals for the command to their default action, and unblock them.

    Without it: a process that writes to a pipe without a reader does not die from SIGPIPE: `yes |
    head -1` ends with "Broken pipe".

    Python ignores SIGPIPE and SIGXFSZ, and ignored signals stay ignored across execve.
    """
    for number in signal.valid_signals():
        if number not in (9, 19) and not 32 <= number <= 33:
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                continue  # a signal that libc reserves
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _execute_sh(path: str, argv: list[str], environment: list[str]) -> str:
    assigned = " ".join(quote(entry) for entry in environment)
    words = " ".join(quote(word) for word in argv)
    return f"exec env -i {assigned} {words}"


@op("execve(2)", twin=_execute_sh)
def execute(path: str, argv: list[str], environment: list[str]) -> NoReturn:
    """Execute the container's program, which replaces our code in this process.

    Without it: the container runs nothing but our own Python.

    path: already found in the container's PATH. environment: NAME=value entries.
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
    """Start the container's monitor in its own session, so that no terminal and no shell ends it.

    Without it: the container is a child of the command that started it: closing the terminal ends
    it, its output is not stored, and its exit status is lost.

    control: the descriptor that becomes its 3; 0, 1 and 2 are /dev/null.
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
    """Send a signal to exactly this process: unlike a pid, a pidfd is never reused.

    Without it: kill(2) could hit another process that has the same pid by now: `stop` would end an
    unrelated program.

    Returns "ended" if the process has ended.
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
    """Return when a process started, in clock ticks since boot; with its pid it is unique.

    Returns 0 if the process does not exist. Source: proc_pid_stat(5), field 22.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0
