"""Namespaces: private instances of resources that all processes otherwise share.

A process gets new ones when it is created (clone3) or later (unshare), or joins those of another
process (setns). Three kinds need care:

* a PID namespace applies only to children: the calling process stays in its own;
* the root of a cgroup namespace is its creator's cgroup, so it is created after joining that;
* a mount namespace starts as a copy of the host's, which runtime/rootfs.py then replaces.

Sources: namespaces(7), pid_namespaces(7), cgroup_namespaces(7), clone(2), unshare(2), setns(2).
"""

from __future__ import annotations

import ctypes
import os

from minidock.errors import KernelError
from minidock.kernel.libc import NUMBERS, path_bytes, syscall
from minidock.kernel.op import of_descriptor, op, quote
from minidock.numerals import is_decimal
from minidock.signals import SIGCHLD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

CLONE_NEWTIME = 0x80
CLONE_PARENT = 0x8000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

# OCI's name -> the flag, the name in /proc/PID/ns, and unshare(1)'s option.
KINDS = {
    "mount": (CLONE_NEWNS, "mnt", "--mount"),
    "uts": (CLONE_NEWUTS, "uts", "--uts"),
    "ipc": (CLONE_NEWIPC, "ipc", "--ipc"),
    "network": (CLONE_NEWNET, "net", "--net"),
    "pid": (CLONE_NEWPID, "pid", "--pid --fork"),
    "cgroup": (CLONE_NEWCGROUP, "cgroup", "--cgroup"),
    "user": (CLONE_NEWUSER, "user", "--user"),
}

# The raw call must not release Python's GIL: the child has one thread, and inherits the held GIL.
_holding_lock = ctypes.PyDLL(None, use_errno=True).syscall
_holding_lock.restype = ctypes.c_long


def flags_of(kinds: list[str]) -> int:
    """Combine the CLONE_NEW* flags of OCI's namespace names."""
    flags = 0
    for kind in kinds:
        flags |= KINDS[kind][0]
    return flags


def _options(kinds: list[str]) -> str:
    return " ".join(KINDS[kind][2] for kind in kinds)


def _clone_process_sh(
    namespaces: list[str], run_child: str, *, cgroup_fd: str | None, as_sibling: bool
) -> str:
    """The child is a shell in the new namespaces, without job control (+m).

    With job control it would lead a process group, and could not become a session leader.
    unshare(1) makes mounts private by default, clone3 does not.
    """
    propagation = "--propagation unchanged " if "mount" in namespaces else ""
    shell = f"unshare {propagation}{_options(namespaces)} sh" if namespaces else "sh"
    if cgroup_fd is None:
        return f"{shell} +m"
    enter = f"echo 0 > {quote(cgroup_fd + '/cgroup.procs')} && exec sh +m"
    return f"{shell} -c {quote(enter)}"


def _name_of(run_child: object) -> str:
    """Return the name of the child's function, for the journal."""
    return str(getattr(run_child, "__name__", run_child))


@op(
    "clone3(2)",
    twin=_clone_process_sh,
    shown={"run_child": _name_of, "cgroup_fd": of_descriptor},
)
def clone_process(
    namespaces: list[str],
    run_child: Callable[[], NoReturn],
    *,
    cgroup_fd: int | None,
    as_sibling: bool,
) -> int:
    """Create the process that becomes the container, in its own namespaces from the start.

    Without it: the command is an ordinary process of the host: it sees and can signal the others,
    and shares their mounts, network and host name.

    namespaces: OCI's names. run_child: runs in the child; it ends in execve or os._exit.
    cgroup_fd: the child is created in this cgroup v2 directory (CLONE_INTO_CGROUP). as_sibling: the
    child gets this process's parent as its parent (CLONE_PARENT), as needed after joining a PID
    namespace by setns.
    Returns the child's pid in our PID namespace.
    Raises KernelError: EPERM without CAP_SYS_ADMIN, ENOSPC at the limit of nested namespaces.
    """
    flags = flags_of(namespaces)
    if as_sibling:
        flags |= CLONE_PARENT
    if cgroup_fd is not None:
        flags |= CLONE_INTO_CGROUP
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
    # set_tid, set_tid_size, cgroup. With CLONE_PARENT the exit signal is the parent's own: 0 here.
    fields = (flags, 0, 0, 0, 0 if as_sibling else SIGCHLD, 0, 0, 0, 0, 0, cgroup_fd or 0)
    clone_args = b"".join(field.to_bytes(8, "little") for field in fields)
    pid: int = _holding_lock(
        ctypes.c_long(NUMBERS["clone3"]), clone_args, ctypes.c_long(len(clone_args))
    )
    if pid < 0:
        raise KernelError("clone3(2)", " ".join(namespaces) or "process", ctypes.get_errno())
    if pid == 0:
        try:
            run_child()
        finally:
            os._exit(255)
    return pid


def _unshare_sh(namespaces: list[str]) -> str:
    return f"exec unshare {_options(namespaces)} sh +m"


@op("unshare(2)", twin=_unshare_sh)
def unshare(namespaces: list[str]) -> None:
    """Leave namespaces that are shared with the host for new ones.

    Without it: the process still sees, and can change, the host's resources. Init calls it for the
    cgroup namespace, once it is in its cgroup: otherwise /proc/self/cgroup shows that cgroup's path
    on the host.

    namespaces: OCI's names.
    Raises KernelError: EPERM without CAP_SYS_ADMIN, EINVAL in a multithreaded process.
    """
    syscall("unshare", flags_of(namespaces), subject=" ".join(namespaces))


def _setns_sh(fd: str, namespaces: list[str], *, place: str) -> str:
    """A shell joins by starting a shell in the namespace, and returns by leaving that."""
    if not place:
        return "exit"
    kinds = [KINDS[kind][2].removesuffix(" --fork") for kind in namespaces]
    if is_decimal(place):
        return f"nsenter --target {place} {' '.join(kinds)} sh +m"
    return f"nsenter {kinds[0]}={quote(place)} sh +m"


@op("setns(2)", twin=_setns_sh, shown={"fd": of_descriptor})
def setns(fd: int, namespaces: list[str], *, place: str) -> None:
    """Join existing namespaces: another container's, or those of a container for exec.

    Without it: `exec` starts its program on the host, and `--network container:NAME` creates a
    network of its own.

    fd: of a /proc/PID/ns file (one kind), or a pidfd (any number of kinds at once). place: for the
    journal: that file's path, or the pid; "" when returning to the process's own.
    Joining a PID namespace applies only to children.
    Raises KernelError: EPERM, ESRCH if the pidfd's process has ended.
    """
    syscall("setns", fd, flags_of(namespaces), subject=" ".join(namespaces))


def inode(pid: int, kind: str) -> str:
    """Return the kernel's identifier of a process's namespace, such as "pid:[4026532281]".

    Raises FileNotFoundError if the process has ended.
    """
    return os.readlink(f"/proc/{pid}/ns/{KINDS[kind][1]}")


def _set_hostname_sh(name: str) -> str:
    return f"hostname {quote(name)}"


@op("sethostname(2)", twin=_set_hostname_sh)
def set_hostname(name: str) -> None:
    """Set the container's host name, in its own UTS namespace.

    Without it: the container has the host's name: in its prompt, its logs, and for its peers.

    name: 64 bytes at most (HOST_NAME_MAX).
    """
    encoded = path_bytes(name)
    syscall("sethostname", encoded, len(encoded), subject=name)


def _set_domainname_sh(name: str) -> str:
    return f"domainname {quote(name)}"


@op("setdomainname(2)", twin=_set_domainname_sh)
def set_domainname(name: str) -> None:
    """Set the NIS domain name of the container's UTS namespace.

    Without it: the container has the host's NIS domain, which few programs read.

    name: 64 bytes at most.
    """
    encoded = path_bytes(name)
    syscall("setdomainname", encoded, len(encoded), subject=name)
