"""Create a sandbox: first its files, then its first process, in new namespaces.

    grader                 child                          the sandbox's PID 1
      | fork ---------------> | unshare mounts, build the tree
      |                       | clone, with namespaces -----> | (waits)
      | <------- its pid -----| exit                          |
      | uid_map ------------------------------------ GO ----> | join the cgroup, cgroup namespace
      |                                                       | become the sandbox's root
      |                                                       | /proc /sys /dev/pts, pivot_root
      | <------------------------------------------- READY -- | hostname, loopback, shared mounts
      | controllers for its cgroups ---------------- GO ----> | from here on it reaps orphans

    READY or "! message" comes in the pipe `ready`, GO in the pipe `go`

The tree is built outside the user namespace, so its mounts are locked inside. It is then bind
mounted once more inside, because pivot_root does not take a locked mount as the new root.

PID 1 stays a fork of the grader that only waits: non-dumpable, so that not even the sandbox's root
can trace it. The kernel kills it when the grader ends (PR_SET_PDEATHSIG), and with it every process
in its PID namespace.

Sources: user_namespaces(7), mount_namespaces(7) "Restrictions", pid_namespaces(7), prctl(2).
"""

from __future__ import annotations

import os
import signal

from minidock.errors import MinidockError
from minidock.kernel import cgroup, link, mount, namespace, process
from minidock.kernel.netlink import Netlink
from minidock.kernel.pivot_root import pivot_root
from minidock.teach.lab import adopted_children, sandbox_tree
from minidock.teach.lab.enter_sandbox import clone_by_child
from minidock.teach.lab.sandbox_cgroup import SandboxCgroup, mount_points
from minidock.teach.lab.sandbox_tree import IDS, ROOT_ID
from minidock.teach.lab.submission_files import Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

NAMESPACES = ["user", "mount", "pid", "network", "uts", "ipc"]
_GO, _READY, _ERROR = b"g", b"ready", b"! "
_TOP = "/tmp"  # where the tree is built: it covers the host's, in that mount namespace only
_NO_SUID_DEV_EXEC = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC


def create_init(group: SandboxCgroup, lab: Files, *, hostname: str, size_mib: int) -> int:
    """Create a sandbox; returns the pid of its first process, which the caller kills and reaps.

    Raises MinidockError if the kernel refuses.
    """
    go, ready = os.pipe(), os.pipe()
    trees = mount_points()

    def run_init() -> NoReturn:
        try:
            os.close(go[1])
            os.close(ready[0])
            _init(group, hostname, trees, go=go[0], ready=ready[1])
        except BaseException as error:
            os.write(ready[1], _ERROR + f"{error or type(error).__name__}".encode()[:4000])
        finally:
            os._exit(1)

    def clone_init() -> int:
        """Build the file tree, and clone PID 1 into new namespaces."""
        process.set_not_dumpable()
        process.restore_signals()
        namespace.unshare(["mount"])
        mount.set_propagation("/", "rprivate")
        sandbox_tree.build(_TOP, lab, size_mib=size_mib)
        fd = group.root.fd_for_clone()
        return namespace.clone_process(NAMESPACES, run_init, cgroup_fd=fd, as_sibling=True)

    pid = clone_by_child(clone_init)
    adopted_children.STARTED_PIDS.add(pid)
    os.close(go[0])
    os.close(ready[1])
    try:
        _complete_init(pid, group, go=go[1], ready=ready[0])
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        adopted_children.wait_for_init(pid)
        raise
    finally:
        os.close(go[1])
        os.close(ready[0])
    return pid


def _complete_init(pid: int, group: SandboxCgroup, *, go: int, ready: int) -> None:
    """The grader's side of the dialogue above, until PID 1 has set the sandbox up.

    go, ready: the grader's ends of the pipes. Raises MinidockError if PID 1 has failed.
    """
    for kind in ("uid_map", "gid_map"):
        process.write_proc(f"/proc/{pid}/{kind}", f"0 {ROOT_ID} {IDS}")
    os.write(go, _GO)
    answer = os.read(ready, 4000)
    if answer != _READY:
        message = answer.removeprefix(_ERROR).decode(errors="replace")
        raise MinidockError(f"the lab's sandbox cannot be created: {message or 'PID 1 has ended'}")
    group.enable_controllers()
    os.write(go, _GO)


def _init(
    group: SandboxCgroup, hostname: str, trees: dict[str, str], *, go: int, ready: int
) -> NoReturn:
    """PID 1: set the sandbox up from inside, then reap."""
    process.die_with_parent()
    if not os.read(go, 1):
        os._exit(1)
    os.setsid()
    cloned_inside = True  # with cgroup v2, clone3 put it there
    group.root.join(cloned_inside=cloned_inside)
    namespace.unshare(["cgroup"])
    group.leaf.join()
    process.set_groups([])
    process.set_user(0, 0)
    process.die_with_parent()
    os.umask(0o022)
    mount.bind_mount(_TOP, "/", _TOP, recursive=True)
    _mount_own_filesystems(trees)
    os.chdir(_TOP)
    pivot_root(".", ".")
    mount.unmount(".", mount.MNT_DETACH)
    os.chdir("/")
    mount.set_propagation("/", "rshared")
    namespace.set_hostname(hostname)
    with Netlink() as here:
        link.set_up(here, "lo")
    os.write(ready, _READY)
    os.close(ready)
    if not os.read(go, 1):
        os._exit(1)
    process.close_all_but([])
    _reap()


def _mount_own_filesystems(trees: dict[str, str]) -> None:
    """Mount /proc, /sys, devpts and the cgroup file systems of these namespaces.

    Before pivot_root: in a user namespace the kernel permits a new proc or sysfs only while another
    one is fully visible (user_namespaces(7)).
    """
    for kind in ("proc", "sysfs"):
        target = f"{_TOP}/{kind.removesuffix('fs')}"
        mount.mount_filesystem(kind, "/", target, kind, flags=_NO_SUID_DEV_EXEC, data="")
    pts = "newinstance,ptmxmode=0666,mode=620"
    mount.mount_filesystem("devpts", "/", f"{_TOP}/dev/pts", "devpts", flags=0, data=pts)
    root = f"{_TOP}/sys/fs/cgroup"
    flags = _NO_SUID_DEV_EXEC
    if cgroup.is_v2():
        mount.mount_filesystem("cgroup2", "/", root, "cgroup2", flags=flags, data="")
        return
    mount.mount_filesystem("tmpfs", "/", root, "tmpfs", flags=flags, data="mode=755")
    for name, controllers in trees.items():
        os.mkdir(f"{root}/{name}")
        kind = "cgroup" if controllers else "cgroup2"
        mount.mount_filesystem(kind, "/", f"{root}/{name}", kind, flags=flags, data=controllers)


def _reap() -> NoReturn:
    """Reap every orphan for ever, as an init does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            pass
        signal.sigwait([signal.SIGCHLD])
