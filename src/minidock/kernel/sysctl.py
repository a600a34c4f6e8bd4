"""Kernel settings that are files under /proc/sys.

Network settings belong to a network namespace: a process reads and sets those of its own namespace,
whatever /proc is mounted. Sources: sysctl(8), proc_sys(5), Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

import os

from minidock.errors import KernelError
from minidock.kernel.op import op, quote
from minidock.kernel.procfs import open_procfs


def read(name: str) -> str | None:
    """Read a setting's value; None if this kernel does not have it.

    name: with slashes, such as "net/ipv4/ip_forward", since device names may contain dots.
    """
    try:
        descriptor = os.open(f"/proc/sys/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, 4096).decode().strip()
    finally:
        os.close(descriptor)


def _write_sh(name: str, value: str) -> str:
    return f"sysctl -w {quote(f'{name}={value}')}"


@op("proc_sys(5)", twin=_write_sh)
def write(name: str, value: str) -> None:
    """Change a kernel setting, for the network namespace of this process.

    Without it: the kernel forwards nothing between the bridge and other networks (ip_forward), a
    port published on loopback is unreachable (route_localnet), and a container that sends router
    advertisements can give the host an address and a default route (accept_ra).

    name: with slashes. Raises KernelError: ENOENT (no such setting), EINVAL (invalid value), EROFS
    if /proc/sys is read-only, as in a container.
    """
    try:
        descriptor = open_procfs(f"/proc/sys/{name}", os.O_WRONLY)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        number = error.errno or 0
        raise KernelError("proc_sys(5)", f"{name} = {value}", number) from None
