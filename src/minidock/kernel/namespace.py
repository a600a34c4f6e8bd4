"""Namespaces: private copies of what the kernel otherwise shares between all processes.

A process enters fresh ones when it is born (clone3), gives itself more (unshare), or joins those of
another (setns). Three of them need care:

* a PID namespace takes only children: the process that asks stays where it is;
* a cgroup namespace is rooted where its maker stands, so it is made after joining the cgroup;
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

# The raw call must not let go of Python's lock: the child has one thread, and takes the lock along.
_holding_lock = ctypes.PyDLL(None, use_errno=True).syscall
_holding_lock.restype = ctypes.c_long


def flags_of(kinds: list[str]) -> int:
    """CLONE_NEW* of OCI's namespace names, or-ed."""
    flags = 0
    for kind in kinds:
        flags |= KINDS[kind][0]
    return flags


def _options(kinds: list[str]) -> str:
    return " ".join(KINDS[kind][2] for kind in kinds)


def _clone_process_sh(
    namespaces: list[str], run_child: str, *, cgroup_fd: str | None, as_sibling: bool
) -> str:
    """A shell in the new namespaces takes the child's part, and has no job control (+m).

    With that it would lead a process group, and could not become the leader of a session. unshare
    makes mounts private unless it is told not to, clone3 does not.
    """
    propagation = "--propagation unchanged " if "mount" in namespaces else ""
    shell = f"unshare {propagation}{_options(namespaces)} sh" if namespaces else "sh"
    if cgroup_fd is None:
        return f"{shell} +m"
    enter = f"echo 0 > {quote(cgroup_fd + '/cgroup.procs')} && exec sh +m"
    return f"{shell} -c {quote(enter)}"


def _name_of(run_child: object) -> str:
    """How the journal names what a child does: by the function."""
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
    """Bear the process that becomes the container, with its own namespaces from its first breath.

    Without it: the command is a process of the host like all others: it sees them, signals them,
    and shares their mounts, network and host name.

    namespaces: OCI's names. run_child: what the child does; it ends in execve or os._exit.
    cgroup_fd: the child is born inside this cgroup v2 directory. as_sibling: the child's parent is
    this process's parent (CLONE_PARENT), as a process needs that enters a PID namespace by setns.
    Returns the child's pid, as seen from here.
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
    """Leave a namespace that is shared with the host for a fresh one.

    Without it: the process goes on seeing, and changing, what is the host's. Init calls it for the
    cgroup namespace, once it is in its cgroup: else /proc/self/cgroup tells where on the host that
    lies.

    namespaces: OCI's names.
    Raises KernelError: EPERM without CAP_SYS_ADMIN, EINVAL from a program with threads.
    """
    syscall("unshare", flags_of(namespaces), subject=" ".join(namespaces))


def _setns_sh(fd: str, namespaces: list[str], *, place: str) -> str:
    """A shell goes in by a shell in the namespace, and comes back by leaving that."""
    if not place:
        return "exit"
    kinds = [KINDS[kind][2].removesuffix(" --fork") for kind in namespaces]
    if is_decimal(place):
        return f"nsenter --target {place} {' '.join(kinds)} sh +m"
    return f"nsenter {kinds[0]}={quote(place)} sh +m"


@op("setns(2)", twin=_setns_sh, shown={"fd": of_descriptor})
def setns(fd: int, namespaces: list[str], *, place: str) -> None:
    """Join namespaces that exist: another container's, or those of a container for exec.

    Without it: `exec` starts its program on the host, and `--network container:NAME` gives a
    network of its own.

    fd: of a /proc/PID/ns file (one kind), or a pidfd (any number of kinds at once). place: for the
    journal: that file's path, or the pid; "" for the way back to one's own.
    Joining a PID namespace counts for children only.
    Raises KernelError: EPERM, ESRCH where the pidfd's process has ended.
    """
    syscall("setns", fd, flags_of(namespaces), subject=" ".join(namespaces))


def inode(pid: int, kind: str) -> str:
    """What the kernel calls a process's namespace, such as "pid:[4026532281]".

    Raises FileNotFoundError where the process has ended.
    """
    return os.readlink(f"/proc/{pid}/ns/{KINDS[kind][1]}")


def _set_hostname_sh(name: str) -> str:
    return f"hostname {quote(name)}"


@op("sethostname(2)", twin=_set_hostname_sh)
def set_hostname(name: str) -> None:
    """Name the container; only its own UTS namespace hears of it.

    Without it: the container has the host's name: in its prompt, in its logs, and to its peers.

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
