"""What a resolver in a container reads before it queries a server: resolv.conf and hosts.

The files are opened by path resolution in the container's root, and read here; no program of the
container is executed.

Sources: resolv.conf(5), hosts(5).
"""

from __future__ import annotations

import os
import stat

from minidock.addresses import is_address
from minidock.engine.container.containers import Container
from minidock.errors import KernelError
from minidock.kernel.path import open_in_root

_MAX_BYTES = 1 << 20


def servers(container: Container) -> list[str] | None:
    """The nameservers in a container's /etc/resolv.conf; None if it cannot be read.

    A link-local address keeps its zone: "fe80::1%eth0".
    """
    text = _read_inside(container, "/etc/resolv.conf")
    if text is None:
        return None
    lines = [line.split() for line in text.splitlines()]
    named = [line[1] for line in lines if line[:1] == ["nameserver"] and line[1:]]
    return [each for each in named if is_address(each.partition("%")[0])]


def is_in_hosts(container: Container, name: str) -> bool:
    """Whether the container's /etc/hosts has a name: most programs then do not query a server."""
    text = _read_inside(container, "/etc/hosts") or ""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return any(name.lower() in (each.lower() for each in line[1:]) for line in lines)


def _read_inside(container: Container, path: str) -> str | None:
    """Read a regular file in the container's root; None if there is none."""
    try:
        root = f"/proc/{container.state['Pid']}/root"
        fd = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (KernelError, OSError):
        return None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return file.read(_MAX_BYTES).decode(errors="replace")
