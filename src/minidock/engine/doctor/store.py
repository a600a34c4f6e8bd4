"""The store's file system: does it support an overlay's upper layer, and is there space?

Sources: Documentation/filesystems/overlayfs.rst "Non-standard behavior" and its list of upper file
systems; docs/decisions/0005 (lowerdir+).
"""

from __future__ import annotations

import re
import shlex

from minidock.engine.doctor import writable_paths
from minidock.engine.doctor.finding import (
    NEEDS_ROOT,
    OK,
    PROBLEM,
    UNKNOWN,
    WARNING,
    Finding,
    failed,
)
from minidock.engine.doctor.host import inside_container, wsl
from minidock.engine.doctor.kernel import NEEDS_STORE, fix_for, joined, try_in_store
from minidock.engine.doctor.machine import Machine
from minidock.paths import STORE_VERSION

TOPIC = "Store"

_LAYER_BY_LAYER = (6, 7)  # only explains a failure, since kernels are patched
_GIB = 1 << 30
_LITTLE_BYTES, _NO_BYTES = _GIB, 32 << 20
_FEW_INODES, _NO_INODES = 20_000, 500
# File systems that overlayfs refuses as an upper layer, or without whiteouts.
_NO_UPPER = ("overlay", "nfs", "nfs4", "vfat", "exfat", "msdos", "9p", "fuseblk", "drvfs", "cifs")


def findings(machine: Machine) -> list[Finding]:
    """Check the store."""
    return [
        *writable_paths.findings(machine),
        _overlay(machine),
        _version(machine),
        _space(machine),
        _inodes(machine),
    ]


def _overlay(machine: Machine) -> Finding:
    root, nearest = machine.tell("store")
    kind = writable_paths.mount_of(machine, nearest)[1]
    answer = try_in_store(machine, "overlay")
    if answer is None:
        return Finding(TOPIC, "overlay", UNKNOWN, NEEDS_STORE, can={"run": None})
    if not answer:
        if kind in _NO_UPPER:
            return _no_upper(machine, f"{root} is on {kind}")
        return Finding(TOPIC, "overlay", UNKNOWN, f"{kind}; {NEEDS_ROOT}", can={"run": None})
    reasons = failed(answer, ("mount", "write", "whiteout", "opaque"))
    if not reasons:
        return Finding(TOPIC, "overlay", OK, f"overlayfs works on {kind}, at {root}")
    said = joined(reasons)
    if [*reasons] == ["opaque"]:
        return _without_opaque(machine, kind, reasons["opaque"])
    if "EPERM" not in said and _version_of_kernel(machine) < _LAYER_BY_LAYER:
        fix = (
            "use Linux 6.7 or newer (overlayfs option lowerdir+), as in Debian 13 and Ubuntu 24.04"
        )
        if wsl(machine):
            fix = "in Windows: wsl --update (WSL 2.7 and newer has Linux 6.18)"
    elif kind in _NO_UPPER and "EINVAL" in said:
        return _no_upper(machine, f"{root} is on {kind}: {said}")
    else:
        fix = fix_for(
            machine, reasons, "overlayfs (modprobe overlay), and put the store on ext4 or xfs"
        )
    return Finding(TOPIC, "overlay", PROBLEM, f"on {kind}: {said}", fix, {"run": False})


def _without_opaque(machine: Machine, kind: str, reason: str) -> Finding:
    """Report a file system without extended attributes, such as ramfs; a tmpfs would do.

    The fix uses a bind mount, since a mount cannot be moved out of a shared one, such as "/".
    """
    root, nearest = machine.tell("store")
    why = reason.rpartition(": ")[2]
    seen = f"overlayfs works on {kind}, but cannot replace an image's directory with a new one"
    at = shlex.quote(root)
    make = "" if root == nearest else f"mkdir -p {at} && "
    copy = f"{make}mount -t tmpfs tmpfs /mnt && cp -a {at}/. /mnt"
    fix = f"{copy} && mount --bind /mnt {at} && umount /mnt"
    return Finding(TOPIC, "overlay", WARNING, f"{seen} ({why})", fix)


def _version_of_kernel(machine: Machine) -> tuple[int, ...]:
    release = machine.read("/proc/sys/kernel/osrelease") or ""
    numbers = re.match(r"([0-9]+)\.([0-9]+)", release)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def _no_upper(machine: Machine, seen: str) -> Finding:
    fix = "put the store on ext4, xfs, btrfs or tmpfs: MINIDOCK_ROOT=/path"
    if inside_container(machine):
        fix = "put the store on a volume: docker run -v minidock:/var/lib/minidock …"
    return Finding(
        TOPIC, "overlay", PROBLEM, f"{seen}; overlayfs refuses it as upperdir", fix, {"run": False}
    )


def _version(machine: Machine) -> Finding:
    root, _ = machine.tell("store")
    version = machine.read(f"{root}/version")
    if version is None:
        return Finding(TOPIC, "format", OK, "no store yet: the first command creates it")
    if version != str(STORE_VERSION):
        fix = (
            f"MINIDOCK_ROOT=/another/path, or a version of minidock that supports format {version}"
        )
        seen = f"format {version}; this minidock supports format {STORE_VERSION}"
        return Finding(TOPIC, "format", PROBLEM, seen, fix, {"run": False})
    return Finding(TOPIC, "format", OK, f"format {version}")


def _space(machine: Machine) -> Finding:
    free, size, _, _ = map(int, machine.tell("space"))
    if size == 0:  # ramfs
        return Finding(TOPIC, "space", OK, "limited by memory only")
    seen = f"{_gib(free)} free of {_gib(size)}"
    return _room("space", free, seen, none=_NO_BYTES, little=_LITTLE_BYTES, place="/a/bigger/disk")


def _inodes(machine: Machine) -> Finding:
    _, _, free, size = map(int, machine.tell("space"))
    if size == 0:  # btrfs creates them dynamically, ramfs in memory
        return Finding(TOPIC, "inodes", OK, "not limited: created as needed")
    seen = f"{free} free of {size}"
    return _room("inodes", free, seen, none=_NO_INODES, little=_FEW_INODES, place="/another/disk")


def _room(check: str, free: int, seen: str, *, none: int, little: int, place: str) -> Finding:
    """Check the free amount: below `none` no container starts, below `little` is a warning."""
    fix = f"remove unused containers and images (minidock system prune); or MINIDOCK_ROOT={place}"
    if free < none:
        return Finding(TOPIC, check, PROBLEM, seen, fix, {"run": False})
    if free < little:
        return Finding(TOPIC, check, WARNING, seen, fix)
    return Finding(TOPIC, check, OK, seen)


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count >> 20} MiB"
