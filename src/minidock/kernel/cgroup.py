"""A container's cgroup: limits, usage, and how to kill all of its processes.

A cgroup is a directory in a tree that the kernel shows under /sys/fs/cgroup: mkdir creates one, its
files set limits and show usage, and they apply to the processes listed in its cgroup.procs.

    cgroup v1   one tree per controller (/sys/fs/cgroup/memory, /sys/fs/cgroup/pids, ...): a
                container is a directory in each of them       cgroup_v1.py
    cgroup v2   one tree for all controllers                   cgroup_v2.py
    hybrid      v1 trees with the controllers, and a v2 tree without any: treated as v1

    group = open_cgroup(home_of("minidock"), name)    creates nothing yet: cgroup_tree.py
    group.create(); group.apply(resources)            directories and limits, before any process
    clone3(..., cgroup=group.fd_for_clone())          the child starts in the v2 tree,
    group.join(cloned_inside=True)                      and joins the other trees itself
    group.kill_all(); group.remove()                  both are idempotent

**How a process joins matters.** Moving another process takes a lock that waits for an RCU grace
period, 5 to 15 ms. Two ways avoid it: to be cloned into the cgroup (CLONE_INTO_CGROUP, v2 trees),
and, for a single-threaded process, to move itself by writing 0 to `tasks` (v1 trees; Linux 5.5).
So init and the processes of exec join by themselves; `add` is for processes that cannot.

This module contains the ops and what both versions share; cgroup_v1.py and cgroup_v2.py translate
limits.

Sources: cgroups(7); the kernel's admin-guide/cgroup-v1/ and cgroup-v2.rst; clone(2)
CLONE_INTO_CGROUP; cgroup_attach_lock in kernel/cgroup/cgroup.c; OCI runtime-spec config-linux.
"""

from __future__ import annotations

import os
import time
from errno import EBUSY, EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EROFS, ESRCH

from minidock.errors import Conflict, KernelError, MinidockError
from minidock.kernel.op import op, quote
from minidock.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.document_types.runtime_spec import Resources

ROOT = "/sys/fs/cgroup"
MONITORS = "monitors"

_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 0.001
_CREATE_ATTEMPTS = 50


def is_v2() -> bool:
    """Whether /sys/fs/cgroup itself is a cgroup2 file system (hybrid is not)."""
    return os.path.exists(f"{ROOT}/cgroup.controllers")


def supports_swap_limit() -> bool:
    """Whether memory and swap can be limited together (v1 needs a kernel with swap accounting).

    If not, Docker limits memory alone and prints a warning.
    """
    if not is_v2():
        return os.path.exists(f"{ROOT}/memory/memory.memsw.limit_in_bytes")
    with os.scandir(ROOT) as entries:  # the root cgroup has no limit files
        below = [entry.path for entry in entries if entry.is_dir()]
    return any(os.path.exists(f"{path}/memory.swap.max") for path in below)


class Cgroup:
    """A cgroup by its name; CgroupV1 and CgroupV2 know its directories and what its files mean.

    parent, name: without slashes at the ends. An object keeps no file open.
    """

    def __init__(self, parent: str, name: str) -> None:
        self.parent = parent
        self.name = name
        self.path = f"{parent}/{name}" if parent else name

    # Implemented by each version.

    def paths(self) -> dict[str, str]:
        """Return each controller's directory of this cgroup, as state.json lists them."""
        raise NotImplementedError

    def apply(self, resources: Resources) -> None:
        """Set the limits of an OCI config's linux.resources; limits that it does not name stay.

        Raises UsageError for a limit that this machine cannot enforce, KernelError for one that
        the kernel refuses.
        """
        raise NotImplementedError

    def join(self, *, cloned_inside: bool = False) -> None:
        """Move the calling process, which is single-threaded, into this cgroup.

        cloned_inside: it was cloned into the v2 cgroup by `fd_for_clone`, so it need not join that.
        """
        raise NotImplementedError

    def adopt_caller(self) -> None:
        """Move the caller here, in trees where it is not at the root: see `leave_caller_cgroup`."""
        raise NotImplementedError

    def fd_for_clone(self, *, beside: int | None = None) -> int | None:
        """Open a directory (O_PATH) for clone3's CLONE_INTO_CGROUP; None without a v2 tree.

        beside: pid of the container's init, for a process that joins later. If init has created
        cgroups of its own (as systemd does), v2 admits no process to the cgroup above them, so the
        new process is created in init's cgroup. The caller closes the descriptor.
        """
        raise NotImplementedError

    def _freeze_in_time(self, timeout_seconds: float) -> bool:
        """Freeze; returns whether all processes froze in time (if not, freezing continues)."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Let the processes of a frozen cgroup run again."""
        raise NotImplementedError

    def frozen(self) -> bool:
        """Whether this cgroup is frozen or freezing."""
        raise NotImplementedError

    def kill_all(self) -> None:
        """Kill every process in this cgroup and below, however fast they fork."""
        raise NotImplementedError

    def oom_kills(self) -> int:
        """Return how many of its processes the kernel has killed for lack of memory (OOM)."""
        raise NotImplementedError

    def usage(self) -> dict[str, int]:
        """Return the current usage and limits.

        Usage: memory_bytes, memory_inactive_file_bytes, pids, cpu_ns, cpu_user_ns, cpu_system_ns.
        Limits: memory_limit_bytes, pids_limit (-1: no limit)."""
        raise NotImplementedError

    def block_bytes(self) -> tuple[int, int]:
        """Return the bytes read from block devices and written to them."""
        raise NotImplementedError

    def _create_once(self) -> None:
        raise NotImplementedError

    # Shared by both versions.

    def directories(self) -> list[str]:
        """List the directories of this cgroup, one per tree."""
        return list(dict.fromkeys(self.paths().values()))

    def freeze(self) -> None:
        """Freeze every process in this cgroup and below; returns once all of them are frozen."""
        if not self._freeze_in_time(_PATIENCE_SECONDS):
            self.thaw()
            raise MinidockError(
                f"cgroup {self.path}: its processes cannot be frozen",
                hint="a process in an uninterruptible sleep (state D) cannot be frozen",
            )

    def exists(self) -> bool:
        """Whether this cgroup has a directory in any tree."""
        return any(os.path.isdir(directory) for directory in self.directories())

    def create(self) -> None:
        """Create this cgroup in every tree, with missing parents.

        An empty cgroup of the same name, left behind by a crash, is recreated, so that no old limit
        stays. Raises Conflict if it contains processes.
        """
        while_parents_vanish(self._create_once)

    def add(self, pid: int) -> None:
        """Move another process, with all its threads, into this cgroup (5 to 15 ms: see above)."""
        for directory in self.directories():
            write_file(f"{directory}/cgroup.procs", str(pid))

    def pids(self) -> list[int]:
        """List the processes in this cgroup and in those below it, in any tree."""
        found: dict[int, None] = {}
        for top in self.directories():
            for directory in walk(top):
                found.update(dict.fromkeys(pids_of(directory)))
        return list(found)

    def remove(self) -> None:
        """Remove this cgroup and those below it. Idempotent.

        Waits for dying processes. Raises KernelError EBUSY if some stay alive.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for top in self.directories():
            while not _remove_tree(top):
                if time.monotonic() > deadline:
                    hint = f"processes {self.pids()} are still in it"
                    raise KernelError("rmdir(2)", top, EBUSY, hint=hint)
                time.sleep(_PAUSE_SECONDS)

    def _freeze_and_kill(self) -> None:
        """Freeze, SIGKILL, thaw, until empty: a frozen process cannot fork, so none escapes."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.pids():
            self._freeze_in_time(0.2)
            kill_processes(self.pids())
            self.thaw()
            if time.monotonic() > deadline:
                raise MinidockError(
                    f"cgroup {self.path}: processes {self.pids()} do not die",
                    hint="a process in an uninterruptible sleep (state D) cannot be killed",
                )
            self.wait_empty(0.05)

    def wait_empty(self, timeout_seconds: float) -> bool:
        """Wait until no process is left; returns False after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while self.pids():
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_SECONDS)
        return True


# Ops ---------------------------------------------------------------------------------------------


def _create_directory_sh(path: str) -> str:
    return f"mkdir -p {quote(path)}"


@op("mkdir(2)", twin=_create_directory_sh)
def create_directory(path: str) -> None:
    """Create a cgroup by creating its directory.

    Without it: limits cannot be set, and there is no list of all the container's processes, so they
    cannot be killed as a whole.

    Raises KernelError: EEXIST, ENOENT (no parent), EAGAIN (cgroup.max.descendants reached).
    """
    try:
        os.mkdir(path, 0o755)
    except OSError as error:
        hint = ""
        if error.errno == EROFS:
            hint = "mount -o remount,rw /sys/fs/cgroup; a container that runs containers needs "
            hint += "--privileged"
        raise KernelError("mkdir(2)", path, error.errno or 0, hint=hint) from None


def _remove_directory_sh(path: str) -> str:
    return f"rmdir {quote(path)}"


@op("rmdir(2)", twin=_remove_directory_sh)
def remove_directory(path: str) -> None:
    """Remove an empty cgroup, by removing its directory.

    Without it: the kernel keeps the cgroup and its counters until the next reboot; a thousand runs
    leave a thousand cgroups.

    Raises KernelError: EBUSY (processes or cgroups in it), ENOENT.
    """
    try:
        os.rmdir(path)
    except OSError as error:
        raise KernelError("rmdir(2)", path, error.errno or 0) from None


def _write_file_sh(path: str, value: str) -> str:
    return f"echo {quote(value)} > {quote(path)}"


@op("cgroups(7)", twin=_write_file_sh)
def write_file(path: str, value: str) -> None:
    """Write a value to a cgroup file: a limit, a switch, or the pid of a process that joins.

    Without it: no limit applies: one container can use all memory, all processors and all process
    ids of the host.

    The kernel expects the whole value in one write(2). Pid 0 is the writer itself.
    Raises KernelError, which names file and value.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        subject = f"{value!r} to {path}"
        number = error.errno or 0
        raise KernelError("write(2)", subject, number, hint=_write_hint(path, number)) from None


def _kill_processes_sh(pids: list[int]) -> str:
    return "kill -KILL " + " ".join(map(str, pids))


@op("kill(2)", twin=_kill_processes_sh)
def kill_processes(pids: list[int]) -> None:
    """Send SIGKILL to the processes of a frozen cgroup; they die when it thaws.

    Without it: processes that fork faster than they are killed survive; frozen ones cannot fork.

    pids: a process that has already ended is not an error.
    """
    for pid in pids:
        try:
            os.kill(pid, SIGKILL)
        except ProcessLookupError:
            continue
        except OSError as error:
            raise KernelError("kill(2)", str(pid), error.errno or 0) from None


# Reading and walking -----------------------------------------------------------------------------


def read_file(path: str) -> str:
    """Read a cgroup file, without the trailing newline."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read().decode().rstrip("\n")
    except OSError as error:
        raise KernelError("read(2)", path, error.errno or 0) from None


def read_table(path: str) -> dict[str, int]:
    """Read a flat-keyed cgroup file ("name value" lines) as a dict."""
    lines = [line.split() for line in read_file(path).splitlines()]
    return {words[0]: int(words[1]) for words in lines if len(words) == 2}


def walk(top: str) -> Iterator[str]:
    """Yield a cgroup's directory and all below it, deepest first; none if it does not exist."""
    try:
        if os.stat(top).st_nlink > 2:  # each subdirectory adds a link, by its ".."
            with os.scandir(top) as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            for path in below:
                yield from walk(path)
        yield top
    except FileNotFoundError:
        return


def parent_of(name: str) -> str | None:
    """Return the parent of the cgroup of this name, in any of this machine's trees; None if none.

    name: a unique one, such as a container's id.
    """
    for root in (ROOT, *(f"{ROOT}/{tree}" for tree in os.listdir(ROOT))):
        if os.path.isdir(root) and (root == ROOT) == is_v2():
            for directory in walk(root):
                if os.path.basename(directory) == name:
                    return os.path.dirname(directory).removeprefix(root).strip("/")
    return None


def make_ancestors(mount_point: str, path: str) -> list[str]:
    """Create the directories above <mount_point>/<path>; returns them, from the top down."""
    made = [mount_point]
    for part in path.split("/")[:-1]:
        made.append(f"{made[-1]}/{part}")
        if not os.path.isdir(made[-1]):
            create_or_find(made[-1])
    return made


def make_empty(directory: str) -> None:
    """Create a cgroup's own directory; an existing empty one is recreated."""
    try:
        create_directory(directory)
    except KernelError as error:
        if error.errno != EEXIST:
            raise
        if not _remove_tree(directory):
            raise Conflict(
                f"cgroup {directory} is in use by another container or process",
                hint="choose another name, or kill the processes in its cgroup.procs",
            ) from None
        create_directory(directory)


def while_parents_vanish(make: Callable[[], None]) -> None:
    """Create a cgroup; start again if the end of another container removed its parent meanwhile."""
    for _ in range(_CREATE_ATTEMPTS):
        try:
            return make()
        except KernelError as error:
            if error.errno not in (ENOENT, ENODEV):
                raise
            missing = error
    raise missing


def create_or_find(directory: str) -> None:
    """Create a cgroup's directory unless it exists."""
    try:
        create_directory(directory)
    except KernelError as error:
        if error.errno != EEXIST:  # EEXIST: a concurrent run was faster
            raise


def _remove_tree(top: str) -> bool:
    left = [directory for directory in walk(top) if not try_remove(directory)]
    return not left


def try_remove(directory: str) -> bool:
    """Remove one directory; returns False if it is in use."""
    try:
        remove_directory(directory)
    except KernelError as error:
        if error.errno == EBUSY:
            return False
        if error.errno != ENOENT:
            raise
    return True


def pids_of(directory: str) -> list[int]:
    """List the processes in this cgroup itself; none if it does not exist.

    Processes outside our PID namespace, listed as 0, are left out: to kill(2), 0 means the caller's
    whole process group.
    """
    return [pid for pid in listed_in(directory) if pid]


def listed_in(directory: str) -> list[int]:
    """List the pids in a cgroup's file: a process outside our PID namespace is listed as 0."""
    try:
        return [int(word) for word in read_file(f"{directory}/cgroup.procs").split()]
    except KernelError as error:
        # Removed meanwhile; or a threaded cgroup: its domain's file lists the processes.
        if error.errno in (ENOENT, ENODEV, EOPNOTSUPP):
            return []
        raise


def _write_hint(path: str, number: int) -> str:
    """Return a hint about a refused write where the errno alone does not explain it."""
    file = os.path.basename(path)
    if number == ENOENT:
        if "memsw" in file or file == "memory.swap.max":
            return "this kernel does not account for swap: boot it with swapaccount=1"
        controller = file.partition(".")[0]
        return f"this kernel, or this cgroup, has no {file}: is the {controller} controller on?"
    if number == ESRCH:
        return "the process has ended"
    if number == EBUSY and file == "cgroup.subtree_control":
        return "that cgroup contains processes; with cgroup v2 they must be in a leaf"
    if number == EINVAL and file.startswith("memory."):
        return "memory must not exceed memory+swap: set both at once"
    if number == EBUSY and file.startswith("memory."):
        return "the current usage already exceeds it"
    return ""
