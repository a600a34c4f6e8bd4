"""The links, addresses and default route that a process's network namespace has, asked in there.

A child enters the namespaces and asks; it imports nothing of the container's and executes nothing.
Sources: setns(2), rtnetlink(7).
"""

from __future__ import annotations

import json
import os

from minidock.kernel import namespace, process
from minidock.kernel.interfaces import default_gateway, interfaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def query_network(pid: int) -> dict[str, Any]:
    """What a process in init's network and UTS namespaces hears: {"hostname", "links", "gateway"}.

    A child of ours goes there; it stays in our own mount and PID namespaces.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _write_network(pid, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else {"hostname": "?", "links": [], "gateway": ""}


def _write_network(pid: int, writing: int) -> NoReturn:
    try:
        process.set_not_dumpable()
        for kind, name in (("network", "net"), ("uts", "uts")):
            place = f"/proc/{pid}/ns/{name}"
            namespace.setns(os.open(place, os.O_RDONLY), [kind], place=place)
        told = {
            "hostname": os.uname().nodename,
            "links": interfaces(),
            "gateway": default_gateway(),
        }
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    finally:
        os._exit(1)
