"""The links, addresses and default route of a process's network namespace.

A child enters the namespaces and queries the kernel; it imports and executes nothing from the
container.
Sources: setns(2), rtnetlink(7).
"""

from __future__ import annotations

import json
import os

from minidock.kernel import namespace, process
from minidock.kernel.interfaces import default_gateway, interfaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, TypedDict

    from minidock.kernel.interfaces import Interface

    class NetworkView(TypedDict):
        """What a process sees. gateway: of its default route, "" if there is none."""

        hostname: str
        links: list[Interface]
        gateway: str


def query_network(pid: int) -> NetworkView:
    """Query a process's network and UTS namespaces.

    A child joins these two; it stays in our mount and PID namespaces.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _write_network(pid, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    if not answer:
        return {"hostname": "?", "links": [], "gateway": ""}
    found: NetworkView = json.loads(answer)
    return found


def _write_network(pid: int, writing: int) -> NoReturn:
    try:
        process.set_not_dumpable()
        for kind, name in (("network", "net"), ("uts", "uts")):
            path = f"/proc/{pid}/ns/{name}"
            namespace.setns(os.open(path, os.O_RDONLY), [kind], place=path)
        answer: NetworkView = {
            "hostname": os.uname().nodename,
            "links": interfaces(),
            "gateway": default_gateway(),
        }
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    finally:
        os._exit(1)
