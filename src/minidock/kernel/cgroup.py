"""A container's cgroup: what it may use, what it has used, and how all of it is killed.

A cgroup is a directory in a tree that the kernel shows under /sys/fs/cgroup: mkdir makes one, its
files set limits and show use, and the processes whose pids stand in its cgroup.procs obey them.

    cgroup v1   one tree per controller (/sys/fs/cgroup/memory, /sys/fs/cgroup/pids, ...): a
                container is a directory in each of them       cgroup_v1.py
    cgroup v2   one tree for all controllers                   cgroup_v2.py
    hybrid      v1 trees that hold the controllers, and an empty v2 tree beside them: counts as v1

    group = open_cgroup(home_of("minidock"), name)    names it; makes nothing: cgroup_tree.py
    group.create(); group.apply(resources)            directories and limits, before any process
    clone3(..., cgroup=group.fd_for_clone())          the child starts in the v2 tree,
    group.join(born_inside=True)                      and enters the other trees by itself
    group.kill_all(); group.remove()                  both do nothing where nothing is left

**How a process enters matters.** Moving another process takes a lock that waits for an RCU grace
period, 5 to 15 ms. Two ways are free of it: to be born inside (CLONE_INTO_CGROUP, v2 trees), and,
for a process of one thread, to move itself by writing 0 into `tasks` (v1 trees; Linux 5.5). So
init and exec's processes join by themselves; `add` is for those that cannot.

This file decides nothing about limits; it holds the ops and what both versions share.

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
    """Whether memory and swap can be limited together (v1 needs a kernel that counts swap).

    Where not, Docker limits memory alone and warns.
    """
    if not is_v2():
        return os.path.exists(f"{ROOT}/memory/memory.memsw.limit_in_bytes")
    with os.scandir(ROOT) as entries:  # the root itself has no limits
        below = [entry.path for entry in entries if entry.is_dir()]
    return any(os.path.exists(f"{path}/memory.swap.max") for path in below)


class Cgroup:
    """One cgroup by its name; CgroupV1 and CgroupV2 say where it is and what its files mean.

    parent, name: without slashes at the ends. An object holds no file open.
    """

    def __init__(self, parent: str, name: str) -> None:
        self.parent = parent
        self.name = name
        self.path = f"{parent}/{name}" if parent else name

    # What the two versions say differently.

    def paths(self) -> dict[str, str]:
        """Each controller's directory of this cgroup, as a runtime's state.json lists them."""
        raise NotImplementedError

    def apply(self, resources: Resources) -> None:
        """Set the limits of an OCI config's linux.resources; what it does not name stays.

        Raises UsageError for a limit that this machine cannot enforce, KernelError for one that
        the kernel refuses.
        """
        raise NotImplementedError

    def join(self, *, born_inside: bool = False) -> None:
        """Move the calling process, which has one thread, into this cgroup.

        born_inside: it was cloned with `fd_for_clone`, so the v2 tree is not written to.
        """
        raise NotImplementedError

    def adopt_caller(self) -> None:
        """Take the caller in where it is not at the root; see `leave_caller_cgroup`."""
        raise NotImplementedError

    def fd_for_clone(self, *, beside: int | None = None) -> int | None:
        """An O_PATH directory fd for clone3's CLONE_INTO_CGROUP; None where no v2 tree is.

        beside: pid of the container's init, for a process that comes later. Where init has made
        cgroups of its own (as systemd does) v2 lets no process into the one above them, so the new
        one is born where init is. The caller closes the descriptor.
        """
        raise NotImplementedError

    def _stand_still(self, timeout_seconds: float) -> bool:
        """Freeze; returns whether all of it stood still in time (it goes on freezing if not)."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Let the processes of a frozen cgroup run again."""
        raise NotImplementedError

    def frozen(self) -> bool:
        """Whether this cgroup is frozen, or on the way there."""
        raise NotImplementedError

    def kill_all(self) -> None:
        """Kill every process in this cgroup and below, however fast they fork."""
        raise NotImplementedError

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        raise NotImplementedError

    def usage(self) -> dict[str, int]:
        """What it uses now: memory_bytes, memory_inactive_file_bytes, pids, cpu_ns, cpu_user_ns,
        cpu_system_ns, and what it may use: memory_limit_bytes, pids_limit (-1: no limit)."""
        raise NotImplementedError

    def block_bytes(self) -> tuple[int, int]:
        """Bytes that it has read from block devices, and written to them."""
        raise NotImplementedError

    def _create_once(self) -> None:
        raise NotImplementedError

    # What they share.

    def directories(self) -> list[str]:
        """Every directory of this cgroup, one per tree."""
        return list(dict.fromkeys(self.paths().values()))

    def freeze(self) -> None:
        """Stop every process in this cgroup and below; returns once all of them stand still."""
        if not self._stand_still(_PATIENCE_SECONDS):
            self.thaw()
            raise MinidockError(
                f"cgroup {self.path}: its processes do not stand still",
                hint="a process in an uninterruptible sleep (state D) cannot be frozen",
            )

    def exists(self) -> bool:
        """Whether this cgroup has a directory in any tree."""
        return any(os.path.isdir(directory) for directory in self.directories())

    def create(self) -> None:
        """Make this cgroup in every tree, and its parents where they are missing.

        An empty one of the same name that a crash left behind is made anew, so no old limit
        stays. Raises Conflict where processes live in it.
        """
        while_parents_vanish(self._create_once)

    def add(self, pid: int) -> None:
        """Move another process, with all its threads, into this cgroup (5 to 15 ms: see above)."""
        for directory in self.directories():
            write_file(f"{directory}/cgroup.procs", str(pid))

    def pids(self) -> list[int]:
        """The processes in this cgroup and in those below it, in whichever tree they are."""
        found: dict[int, None] = {}
        for top in self.directories():
            for directory in walk(top):
                found.update(dict.fromkeys(pids_of(directory)))
        return list(found)

    def remove(self) -> None:
        """Remove this cgroup and those below it; nothing to do where they are gone.

        Waits for processes that are dying. Raises KernelError EBUSY where some live on.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for top in self.directories():
            while not _remove_tree(top):
                if time.monotonic() > deadline:
                    hint = f"processes {self.pids()} are still in it"
                    raise KernelError("rmdir(2)", top, EBUSY, hint=hint)
                time.sleep(_PAUSE_SECONDS)

    def _freeze_and_kill(self) -> None:
        """Freeze, SIGKILL, thaw, until empty: what is frozen cannot fork, so none escapes."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.pids():
            self._stand_still(0.2)
            kill_processes(self.pids())
            self.thaw()
            if time.monotonic() > deadline:
                raise MinidockError(
                    f"cgroup {self.path}: processes {self.pids()} do not die",
                    hint="a process in an uninterruptible sleep (state D) cannot be killed",
                )
            self.wait_empty(0.05)

    def wait_empty(self, timeout_seconds: float) -> bool:
        """Wait until no process is left; returns whether that came true in time."""
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
    """Make a cgroup, by making its directory.

    Without it: limits could be written nowhere, and nothing would list all that the container has
    started, so that it could not be killed as a whole.

    Raises KernelError: EEXIST, ENOENT (no parent), EAGAIN (cgroup.max.descendants reached).
    """
    try:
        os.mkdir(path, 0o755)
    except OSError as error:
        hint = ""
        if error.errno == EROFS:
            hint = "mount -o remount,rw /sys/fs/cgroup; a container that shall hold others needs "
            hint += "--privileged"
        raise KernelError("mkdir(2)", path, error.errno or 0, hint=hint) from None


def _remove_directory_sh(path: str) -> str:
    return f"rmdir {quote(path)}"


@op("rmdir(2)", twin=_remove_directory_sh)
def remove_directory(path: str) -> None:
    """Remove an empty cgroup, by removing its directory.

    Without it: the kernel keeps the cgroup and its counters until the next reboot; a thousand runs
    leave a thousand of them.

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
    """Write one value into a file of a cgroup: a limit, a switch, or a process that enters.

    Without it: no limit holds: one container may take all memory, all processors and all process
    ids of the host.

    The kernel takes a value whole, from one write(2). Pid 0 is the writer itself.
    Raises KernelError that names file and value.
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
    """Kill the processes that a frozen cgroup holds; they die when it thaws.

    Without it: what forks faster than it is killed is never gone; frozen, it cannot fork.

    pids: a process that has ended meanwhile is not an error.
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
    """The text of a cgroup file, without the newline at its end."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read().decode().rstrip("\n")
    except OSError as error:
        raise KernelError("read(2)", path, error.errno or 0) from None


def read_table(path: str) -> dict[str, int]:
    """A flat-keyed cgroup file ("name value" lines) as a dict."""
    lines = [line.split() for line in read_file(path).splitlines()]
    return {words[0]: int(words[1]) for words in lines if len(words) == 2}


def walk(top: str) -> Iterator[str]:
    """A cgroup's directory and all below it, the deepest first; none where it is gone."""
    try:
        if os.stat(top).st_nlink > 2:  # each directory below is a link, by its ".."
            with os.scandir(top) as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            for path in below:
                yield from walk(path)
        yield top
    except FileNotFoundError:
        return


def parent_of(name: str) -> str | None:
    """The parent of the cgroup of this name, wherever in this machine's trees it is, or None.

    name: one that nothing else has, such as a container's id.
    """
    for root in (ROOT, *(f"{ROOT}/{tree}" for tree in os.listdir(ROOT))):
        if os.path.isdir(root) and (root == ROOT) == is_v2():
            for directory in walk(root):
                if os.path.basename(directory) == name:
                    return os.path.dirname(directory).removeprefix(root).strip("/")
    return None


def make_ancestors(mount_point: str, path: str) -> list[str]:
    """Make the directories above <mount_point>/<path>; returns them, from the top down."""
    made = [mount_point]
    for part in path.split("/")[:-1]:
        made.append(f"{made[-1]}/{part}")
        if not os.path.isdir(made[-1]):
            create_or_find(made[-1])
    return made


def make_empty(directory: str) -> None:
    """Make a cgroup's own directory; an empty one that is there is made anew."""
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
    """Make a cgroup, again if another container's end removed its parent between two steps."""
    for _ in range(_CREATE_ATTEMPTS):
        try:
            return make()
        except KernelError as error:
            if error.errno not in (ENOENT, ENODEV):
                raise
            missing = error
    raise missing


def create_or_find(directory: str) -> None:
    """Make a cgroup's directory, unless it is there."""
    try:
        create_directory(directory)
    except KernelError as error:
        if error.errno != EEXIST:  # EEXIST: a run beside us was faster
            raise


def _remove_tree(top: str) -> bool:
    left = [directory for directory in walk(top) if not try_remove(directory)]
    return not left


def try_remove(directory: str) -> bool:
    """Remove one directory; False where something still lives in it."""
    try:
        remove_directory(directory)
    except KernelError as error:
        if error.errno == EBUSY:
            return False
        if error.errno != ENOENT:
            raise
    return True


def pids_of(directory: str) -> list[int]:
    """The processes in this cgroup itself that can be named here; none where it is gone.

    Those outside of our PID namespace are left out: kill(2) takes their 0 for the whole process
    group of who calls it.
    """
    return [pid for pid in listed_in(directory) if pid]


def listed_in(directory: str) -> list[int]:
    """What a cgroup's file lists: a 0 for each process that is outside of our PID namespace."""
    try:
        return [int(word) for word in read_file(f"{directory}/cgroup.procs").split()]
    except KernelError as error:
        # Removed meanwhile; or a threaded cgroup, whose processes its domain's file lists.
        if error.errno in (ENOENT, ENODEV, EOPNOTSUPP):
            return []
        raise


def _write_hint(path: str, number: int) -> str:
    """What to do about a refused write, where the kernel's word alone does not say it."""
    file = os.path.basename(path)
    if number == ENOENT:
        if "memsw" in file or file == "memory.swap.max":
            return "this kernel does not account for swap: boot it with swapaccount=1"
        controller = file.partition(".")[0]
        return f"this kernel, or this cgroup, has no {file}: is the {controller} controller on?"
    if number == ESRCH:
        return "the process has ended"
    if number == EBUSY and file == "cgroup.subtree_control":
        return "processes live in that cgroup itself; cgroup v2 wants them in leaves"
    if number == EINVAL and file.startswith("memory."):
        return "memory may never exceed memory+swap: set both at once"
    if number == EBUSY and file.startswith("memory."):
        return "it uses more than that already"
    return ""
