"""Capabilities: root's privileges in 41 pieces, of which a container's root gets 14.

A thread has five sets of them. Each is set by its own call, in this order:

    bounding      what execve(2) can ever grant         prctl PR_CAPBSET_DROP, one by one
    (keep)        else a change of user clears them     prctl PR_SET_KEEPCAPS
    permitted     what it may enable                    capset(2)
    effective     what is enabled now                   capset(2)
    inheritable   what a program file may gain          capset(2)
    ambient       what a non-root program keeps         prctl PR_CAP_AMBIENT

Dropping from the bounding set needs CAP_SETPCAP, so it comes before capset removes that one.
`resolve` combines --cap-add, --cap-drop and --privileged as Docker does. A capability that the
kernel or our own bounding set lacks cannot be granted: it is left out, as OCI requires, and
`set_capabilities` returns its name.

python-prctl knows neither the ambient set nor CAP_CHECKPOINT_RESTORE, so the calls go through libc.

Sources: capabilities(7), capset(2), prctl(2); OCI runtime-spec config.md "capabilities";
include/uapi/linux/capability.h.
"""

from __future__ import annotations

import ctypes
from _struct import pack, unpack
from errno import EINVAL

from minidock.errors import KernelError, UsageError
from minidock.kernel.libc import syscall
from minidock.kernel.op import op

PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

NAMES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
    "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
    "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
    "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
"""Every capability; its index is its number."""

NUMBERS = {name: number for number, name in enumerate(NAMES)}

DOCKER_DEFAULT = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
"""The capabilities of a container's root by default."""


def resolve(cap_add: list[str], cap_drop: list[str], *, privileged: bool = False) -> list[str]:
    """Compute a container's capabilities from --cap-add, --cap-drop and --privileged, like Docker.

    Names are in any case, with or without CAP_, or ALL. Adding ALL means all but the dropped ones;
    dropping ALL means only the added ones; a privileged container has all, whatever is dropped.
    Raises UsageError for a name that is unknown, or that this machine cannot grant.
    """
    add = _normalized(cap_add, "invalid CapAdd")
    drop = _normalized(cap_drop, "invalid CapDrop")
    if privileged:
        return available()
    if "ALL" in add:
        return [name for name in available() if name not in drop]
    if "ALL" in drop:
        return add
    kept = [name for name in DOCKER_DEFAULT if name not in drop]
    return kept + [name for name in add if name not in kept]


def _normalized(names: list[str], problem: str) -> list[str]:
    found: dict[str, None] = {}
    for given in names:
        name = given.upper()
        if name != "ALL":
            name = name if name.startswith("CAP_") else f"CAP_{name}"
            if name not in NUMBERS:
                raise UsageError(f'{problem}: unknown capability: "{name}"')
            if name not in available():
                raise UsageError(
                    f"{problem}: capability not supported by your kernel or not available in the "
                    f'current environment: "{name}"'
                )
        found[name] = None
    return list(found)


def available() -> list[str]:
    """Return the capabilities that this process can pass on: those in its own bounding set."""
    return [name for number, name in enumerate(NAMES) if _in_bounding_set(number)]


def mask_of(names: list[str]) -> int:
    """Convert capabilities to a bit mask, as in /proc/PID/status.

    Raises UsageError for an unknown name.
    """
    mask = 0
    for name in names:
        if name not in NUMBERS:
            raise UsageError(f"unknown capability {name!r}", hint="see capabilities(7)")
        mask |= 1 << NUMBERS[name]
    return mask


def names_of(mask: int) -> list[str]:
    """Convert a bit mask, such as CapEff in /proc/PID/status, to names."""
    return [name for number, name in enumerate(NAMES) if mask >> number & 1]


def _in_bounding_set(number: int) -> bool:
    try:
        return syscall("prctl", PR_CAPBSET_READ, number, 0, 0, 0) == 1
    except KernelError as error:
        if error.errno != EINVAL:  # EINVAL: this kernel does not know that capability
            raise
        return False


# Ops ---------------------------------------------------------------------------------------------


def _set_bounding_sh(keep: list[str]) -> str:
    return f"exec setpriv --bounding-set {_setpriv_list(keep)} sh +m"


@op("prctl(2)", twin=_set_bounding_sh)
def set_bounding(keep: list[str]) -> None:
    """Drop from the bounding set what no program of the container may ever gain, setuid or not.

    Without it: root's next execve(2) would grant all of them again: the kernel takes root's
    capabilities from this set.

    keep: names such as "CAP_CHOWN"; a name that is missing in our own set cannot be added.
    Raises UsageError for an unknown name, KernelError: EPERM without CAP_SETPCAP.
    """
    kept = mask_of(keep)
    for number in range(64):
        if kept >> number & 1:
            continue
        try:
            syscall("prctl", PR_CAPBSET_DROP, number, 0, 0, 0, subject="PR_CAPBSET_DROP")
        except KernelError as error:
            if error.errno == EINVAL:  # past this kernel's last capability
                return
            raise


def _keep_capabilities_sh() -> str:
    return "# setpriv keeps the capabilities when it changes the user"


@op("prctl(2)", twin=_keep_capabilities_sh)
def keep_capabilities() -> None:
    """Keep the permitted capabilities when root becomes another user; execve ends this.

    Without it: setresuid(2) to a non-root user clears the permitted set, and the capabilities that
    the config grants are lost.
    """
    syscall("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0, subject="PR_SET_KEEPCAPS")


def _set_capabilities_sh(
    *, effective: list[str], permitted: list[str], inheritable: list[str]
) -> str:
    return f"exec setpriv --inh-caps {_setpriv_list(inheritable)} sh +m"


@op("capset(2)", twin=_set_capabilities_sh)
def set_capabilities(
    *, effective: list[str], permitted: list[str], inheritable: list[str]
) -> str | None:
    """Keep only these capabilities: root inside the container is less than root.

    Without it: root in the container can mount file systems, load kernel modules and set the host's
    clock, like root on the host.

    Returns those that could not be granted because we lack them ("not granted: ...").
    Raises UsageError for an unknown name, KernelError: EPERM if effective exceeds permitted.
    """
    ours = _permitted_mask()
    masks = [mask_of(names) for names in (effective, permitted, inheritable)]
    given = [mask & ours for mask in masks]
    low, high = ([mask >> shift & 0xFFFFFFFF for mask in given] for shift in (0, 32))
    header = pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    syscall("capset", header, pack("=6I", *low, *high), subject=f"{given[1]:#x}")
    missing = names_of((masks[0] | masks[1] | masks[2]) & ~ours)
    return f"not granted: {' '.join(missing)}" if missing else None


def _permitted_mask() -> int:
    data = ctypes.create_string_buffer(24)
    syscall("capget", pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0), data)
    _, low, _, _, high, _ = unpack("=6I", data.raw)
    return int(high << 32 | low)


def _set_ambient_sh(names: list[str]) -> str:
    return f"exec setpriv --ambient-caps {_setpriv_list(names)} sh +m"


@op("prctl(2)", twin=_set_ambient_sh)
def set_ambient(names: list[str]) -> None:
    """Set what a program keeps that runs as a non-root user and has no file capabilities.

    Without it: a command of a non-root user starts without the capabilities that its config grants:
    execve(2) clears them.

    names: each must be permitted and inheritable; empty clears the set.
    Raises UsageError for an unknown name, KernelError: EPERM.
    """
    chosen = names_of(mask_of(names))
    syscall("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, subject="clear")
    for name in chosen:
        syscall("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, NUMBERS[name], 0, 0, subject=name)


def _set_no_new_privs_sh() -> str:
    return "exec setpriv --no-new-privs sh +m"


@op("prctl(2)", twin=_set_no_new_privs_sh)
def set_no_new_privs() -> None:
    """Forbid programs to gain privileges by execve: from here on setuid bits have no effect.

    Without it: a setuid program of the image turns an ordinary user into the container's root.
    """
    syscall("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, subject="PR_SET_NO_NEW_PRIVS")


def _setpriv_list(names: list[str]) -> str:
    """Format names for setpriv: remove all, then add these."""
    return ",".join(["-all", *("+" + name[4:].lower() for name in names)])
