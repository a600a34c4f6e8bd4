"""Capabilities: root's power in 41 pieces, of which a container's root gets 14.

A thread has five sets of them, and each is set by a call of its own, in this order:

    bounding      what execve(2) may ever give again    prctl PR_CAPBSET_DROP, one by one
    (keep)        or the change of user clears them     prctl PR_SET_KEEPCAPS
    permitted     what it may switch on                 capset(2)
    effective     what is switched on                   capset(2)
    inheritable   what a program file may take over     capset(2)
    ambient       what a program without root keeps     prctl PR_CAP_AMBIENT

Dropping from the bounding set needs CAP_SETPCAP, so it comes before capset takes that away.
`resolve` is Docker's arithmetic of --cap-add, --cap-drop and --privileged. What the kernel or our
own bounding set does not have cannot be given on: such are left out, as OCI wants, and named in
what `set_capabilities` returns.

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
"""Every capability; a name's place is its number."""

NUMBERS = {name: number for number, name in enumerate(NAMES)}

DOCKER_DEFAULT = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
"""What a container's root has unless it is told otherwise."""


def resolve(cap_add: list[str], cap_drop: list[str], *, privileged: bool = False) -> list[str]:
    """A container's capabilities from --cap-add, --cap-drop and --privileged, as Docker reckons.

    Names in any case, with or without CAP_, or ALL. ALL added means all but the dropped; ALL
    dropped means only the added; a privileged container has all, whatever is dropped.
    Raises UsageError for a name that is unknown, or that this machine cannot give.
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
    """The capabilities that this process could hand on: those of its own bounding set."""
    return [name for number, name in enumerate(NAMES) if _in_bounding_set(number)]


def mask_of(names: list[str]) -> int:
    """The capabilities as a bit mask, as /proc/PID/status shows it.

    Raises UsageError for an unknown name.
    """
    mask = 0
    for name in names:
        if name not in NUMBERS:
            raise UsageError(f"unknown capability {name!r}", hint="see capabilities(7)")
        mask |= 1 << NUMBERS[name]
    return mask


def names_of(mask: int) -> list[str]:
    """The names in a bit mask, such as CapEff's in /proc/PID/status."""
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
    """Drop from the bounding set what no program of the container may ever get, setuid or not.

    Without it: root's next execve(2) would give all of them back: the kernel fills root's
    capabilities from this set.

    keep: names such as "CAP_CHOWN"; one that is not in our own set cannot be added.
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
    return "# setpriv keeps the capabilities over its change of user"


@op("prctl(2)", twin=_keep_capabilities_sh)
def keep_capabilities() -> None:
    """Keep the permitted capabilities when root becomes another user; execve ends this.

    Without it: setresuid(2) to a user that is not root empties the permitted set, and what the
    config grants is gone.
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

    Without it: root inside mounts file systems, loads kernel modules and sets the host's clock,
    like root outside.

    Returns which of them could not be given, because we have them not ("not granted: ...").
    Raises UsageError for an unknown name, KernelError: EPERM where effective exceeds permitted.
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
    """Choose what a program keeps that is neither root's nor marked with capabilities of its own.

    Without it: a command whose user is not root starts without what its config grants: execve(2)
    takes it away.

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
    """From here on no program gains privileges by being executed: setuid bits do nothing.

    Without it: a setuid program of the image makes the container's root out of an ordinary user.
    """
    syscall("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, subject="PR_SET_NO_NEW_PRIVS")


def _setpriv_list(names: list[str]) -> str:
    """Names in setpriv's way: take all away, then add these."""
    return ",".join(["-all", *("+" + name[4:].lower() for name in names)])
