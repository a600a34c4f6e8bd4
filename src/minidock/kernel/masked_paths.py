"""Masked paths: files of /proc and /sys that a container must not read.

oci/runtime_config.py lists them. Read-only paths stay readable: each is bind mounted on itself, and
that mount becomes read-only (mount.py).

Sources: OCI runtime-spec config-linux "Masked Paths"; mount(2).
"""

from __future__ import annotations

import os

from minidock.errors import KernelError, MinidockError
from minidock.kernel.mount import MS_BIND, MS_RDONLY, plain_mount
from minidock.kernel.op import op, quote
from minidock.kernel.path import open_in_root


def _mask_path_sh(path: str) -> str:
    p = quote(path)
    return (
        f"if [ -d {p} ]; then mount -t tmpfs -o ro tmpfs {p}; else mount --bind /dev/null {p}; fi"
    )


@op("mount(2)", twin=_mask_path_sh, family="mount")
def mask_path(path: str) -> str | None:
    """Mask a file of /proc or /sys that reveals data of the host, or allows changing it.

    Without it: the container can read the host's keys in /proc/keys, its timers, its firmware, and
    its power meter, which has revealed secrets of other processes (CVE-2020-8694).

    A directory is covered by an empty read-only tmpfs, a file by /dev/null.
    Returns "absent" where there is no such path, and then makes no call.
    Source: OCI runtime-spec config-linux "Masked Paths".
    """
    try:
        fd = open_in_root("/", path)
    except KernelError:
        return "absent"
    try:
        name = b"/proc/self/fd/%d" % fd
        if os.path.isdir(name):
            plain_mount(b"tmpfs", name, b"tmpfs", MS_RDONLY, None, subject=path)
        else:
            _cover_with_null(name, path)
    finally:
        os.close(fd)
    return None


def _cover_with_null(name: bytes, path: str) -> None:
    """Bind mount /dev/null, if it is not a link, which could lead anywhere (CVE-2025-31133)."""
    null = open_in_root("/", "/dev/null", os.O_PATH | os.O_NOFOLLOW)
    try:
        if os.fstat(null).st_rdev != os.makedev(1, 3):
            raise MinidockError(
                f"{path} cannot be masked: /dev/null of the container is not the null device",
                hint="leave /dev to minidock, or mount a complete one there",
            )
        plain_mount(b"/proc/self/fd/%d" % null, name, None, MS_BIND, None, subject=path)
    finally:
        os.close(null)
