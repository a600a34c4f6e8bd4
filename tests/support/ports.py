"""Ports of this machine for tests that have to name one."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port that nobody has, nor gets by asking for any: the kernel gives those from its range.

    Asked for as "any" and closed again, it would be the next one's who connects to somewhere.
    """
    first = int(_RANGE.read_text().split()[0])
    while True:
        port = random.randrange(first // 2, first)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        return port
