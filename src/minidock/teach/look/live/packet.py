"""A packet for the page: one run of `minidock packet --json`, and what the reader can choose.

    way         what is run
    host        minidock packet --from=host -- DESTINATION
    outside     minidock packet --from=outside -- DESTINATION
    container   minidock packet --from=CONTAINER -- DESTINATION     a published port
    between     minidock packet -- CONTAINER DESTINATION            a container[:port]
    dns         minidock packet --dns=DESTINATION -- CONTAINER

A process, and not a call: a probe joins other network namespaces, which a thread of a server must
not do, and a process can be killed when it takes too long; the kernel then removes all that it
made (docs/packet.md, "Nothing remains"). No shell reads the
arguments, the command checks them, and none can be a flag. One packet at a time. The server itself
reads counters only.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from threading import Lock

from minidock.engine.container.lookup import find, list_containers
from minidock.engine.network import network_json
from minidock.errors import Conflict, MinidockError, UsageError
from minidock.runtime import seal
from minidock.teach.packet.counters import read_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from minidock.document_types.network import Binding
    from minidock.paths import Store
    from minidock.teach.look.document import Document

    class Place(TypedDict):
        """A running container. ports: what it publishes, as the command takes it."""

        id: str
        name: str
        ports: list[str]


WAYS = ("host", "outside", "container", "between", "dns")
LIMIT_SECONDS = 40.0  # a name: two queries of 5 seconds, and one of 2 for each other server
_TEXT_MAX = 300
_ERROR_MAX = 4000
_EVERY_ADDRESS = ("", "0.0.0.0", "::")


class Packets:
    """Sends packets for one page, one at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._number = 0
        self._container = ""
        self._rules: list[tuple[str, str, str]] = []

    def places(self) -> list[Place]:
        """The running containers of the store."""
        networks = network_json.read_all(self._store)
        bindings = [each for network in networks for each in network_json.list_bindings(network)]
        return [
            {"id": container.id, "name": container.name, "ports": sorted({
                _port(each) for each in bindings if each["Container"] == container.id})}
            for container in list_containers(self._store)
            if container.running
        ]  # fmt: skip

    def send(self, asked: dict[str, str]) -> Document:
        """Send one packet. asked: "way", "container", "destination".

        Returns {command, answer, number}: the command as a shell takes it, what it printed, and
        the number of this packet, for `counters`.
        Raises UsageError, Conflict, and MinidockError with the command's own words.
        """
        arguments = _arguments(asked)
        if not self._lock.acquire(blocking=False):
            raise Conflict("another packet is on its way: wait for its answer")
        try:
            answer = json.loads(self._run(arguments))
            self._number += 1
            self._container = answer["container"]
            self._rules = _rules(answer)
            command = shlex.join(["minidock", "packet", *arguments])
            return {"command": command, "answer": answer, "number": self._number}
        finally:
            self._lock.release()

    def counters(self, number: str) -> list[tuple[int, int] | None]:
        """What the rules of the last packet have counted by now, hop by hop: (packets, bytes).

        None for a rule that is gone, or that iptables does not list. number: of the packet.
        Raises Conflict if another one was sent since; NotFound, KernelError.
        """
        if number != str(self._number):
            raise Conflict("another packet was sent since")
        rules = self._rules
        netns = {each for each, _, _ in rules}
        pid = int(find(self._store, self._container).state["Pid"]) if "container" in netns else 0
        found = read_now(pid, netns)
        return [found.get(rule) for rule in rules]

    def _run(self, arguments: list[str]) -> str:
        """The output of the command; its exit code 1 is an answer too."""
        words = ["packet", "--json", *arguments]
        program = seal.command(sys.executable, "minidock.__main__", *words)
        try:
            done = subprocess.run(
                program,
                env={**os.environ, "MINIDOCK_ROOT": self._store.root},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Conflict(f"no answer within {LIMIT_SECONDS:.0f} seconds") from None
        if not done.stdout or done.returncode not in (0, 1):
            raise MinidockError(done.stderr[:_ERROR_MAX].strip().removeprefix("minidock: "))
        return done.stdout


def _rules(answer: Document) -> list[tuple[str, str, str]]:
    """(network namespace, table, rule) of each rule that a hop names."""
    return [
        (hop["netns"], rule["table"], rule["rule"])
        for hop in answer["hops"]
        for rule in hop["rules"]
    ]


def _arguments(asked: dict[str, str]) -> list[str]:
    """The arguments of the command. Raises UsageError."""
    way, container, destination = (
        asked.get(key, "") for key in ("way", "container", "destination")
    )
    for text in (container, destination):
        if "\0" in text or len(text) > _TEXT_MAX:
            raise UsageError(f"a name or port has at most {_TEXT_MAX} characters, and no NUL")
    if not destination or not (container or way in ("host", "outside")):
        raise UsageError("a packet needs a place to start from, and a destination")
    if way in ("host", "outside"):
        return [f"--from={way}", "--", destination]
    if way == "container":
        return [f"--from={container}", "--", destination]
    if way == "between":
        return ["--", container, destination]
    if way == "dns":
        return [f"--dns={destination}", "--", container]
    raise UsageError(f"way {way!r}: one of {', '.join(WAYS)}")


def _port(binding: Binding) -> str:
    """A published port, as the command takes it: "8090", "127.0.0.1:8090", "5353/udp"."""
    address, number = binding["HostIp"], str(binding["HostPort"])
    if address not in _EVERY_ADDRESS:
        number = f"[{address}]:{number}" if ":" in address else f"{address}:{number}"
    return number if binding["Proto"] == "tcp" else f"{number}/{binding['Proto']}"
