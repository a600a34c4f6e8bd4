"""The links, addresses and default route that a process's network namespace has, asked in there.

A child enters the namespaces and asks; it imports nothing of the container's and executes nothing.
Sources: setns(2), rtnetlink(7), proc_pid_net(5).
"""

from __future__ import annotations

import json
import os
import socket
import sys

from minidock.kernel import link, namespace, process
from minidock.kernel.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def look_from_inside(pid: int) -> dict[str, Any]:
    """What a process in init's network and UTS namespaces hears: {"hostname", "links", "gateway"}.

    A child of ours goes there; it stays in our own mount and PID namespaces.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(pid, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else {"hostname": "?", "links": [], "gateway": ""}


def _answer(pid: int, writing: int) -> NoReturn:
    try:
        process.set_not_dumpable()
        for kind, name in (("network", "net"), ("uts", "uts")):
            place = f"/proc/{pid}/ns/{name}"
            namespace.setns(os.open(place, os.O_RDONLY), [kind], place=place)
        told = {"hostname": os.uname().nodename, "links": _links(), "gateway": _gateway()}
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    finally:
        os._exit(1)


def _links() -> list[dict[str, Any]]:
    """The links of this network namespace: {"name", "index", "up", "addresses", "far_end"}."""
    with Netlink() as kernel:
        addresses = {found.index: _addresses_v6(found.name) for found in link.every(kernel)}
        for index, address, prefix in reversed(link.every_address(kernel)):
            addresses[index].insert(0, f"{address}/{prefix}")
        return [
            {
                "name": found.name,
                "index": found.index,
                "up": bool(found.flags & link.IFF_UP),
                "addresses": addresses[found.index],
                "far_end": found.far_end if found.kind == "veth" else 0,
            }
            for found in link.every(kernel)
        ]


def _addresses_v6(name: str) -> list[str]:
    try:
        with open("/proc/self/net/if_inet6", encoding="ascii") as file:
            fields = [line.split() for line in file]
    except FileNotFoundError:  # a kernel without IPv6
        return []
    return [
        f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address))}/{int(prefix, 16)}"
        for address, _, prefix, _, _, device in fields
        if device == name
    ]


def _gateway() -> str:
    """Where the default route leads; "" for none."""
    with open("/proc/self/net/route", encoding="ascii") as file:
        routes = [line.split() for line in file.readlines()[1:]]
    found = [gateway for _, destination, gateway, *_ in routes if int(destination, 16) == 0]
    return socket.inet_ntoa(int(found[0], 16).to_bytes(4, sys.byteorder)) if found else ""
