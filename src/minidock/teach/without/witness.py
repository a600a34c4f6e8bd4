"""The host's side of the probes: facts to compare with, and what only the host can see.

It runs in the container's monitor, when the container is created and not yet started. The canaries
that it opens on the host (a port on 127.0.0.1, an abstract Unix socket, a shared memory segment)
are gone with the monitor at the latest.
"""

from __future__ import annotations

import _socket
import os
from signal import SIGKILL

from minidock import jsontext
from minidock.errors import MinidockError
from minidock.kernel import seccomp
from minidock.kernel.mountinfo import mount_points
from minidock.kernel.process import start_time
from minidock.kernel.shared_memory import create_segment, release_segment
from minidock.numerals import is_decimal
from minidock.runtime import children
from minidock.runtime.exec import execute
from minidock.teach.without.probes import Host, run_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.engine.container.containers import Container
    from minidock.runtime import lifecycle
    from minidock.teach.without.finding import CanaryFacts, Finding, HostFacts

SILENT_SECONDS = 60.0  # longer than any probe takes
_DEATH_SECONDS = 5.0
_MESSAGE_BYTES = 64 * 1024


def inspect(
    container: Container, created: lifecycle.Container, tell: Callable[[str], None]
) -> None:
    """Run all probes in a created container; tell each finding as a JSON line.

    Raises MinidockError if they cannot run or do not finish.
    """
    with _Canaries() as canaries:
        host = Host(**canaries.facts(), **_facts(created.pid))
        for found in _run_inside(container, created, host):
            tell(jsontext.dumps({"view": "without", **found}))
    tell(jsontext.dumps({"view": "without", **see_mounts(container.paths.merged)}))
    tell(jsontext.dumps({"view": "without", "end": True}))


def see_mounts(rootfs: str) -> Finding:
    """Which of a container's mounts are in the host's mount table."""
    below = [point for point in mount_points() if point.startswith(f"{rootfs}/")]
    return {"probe": "mounts on the host", "leaked": bool(below), "count": len(below),
            "examples": below[:3]}  # fmt: skip


def _run_inside(
    container: Container, created: lifecycle.Container, host: Host
) -> Iterator[Finding]:
    """Run the probes inside, and yield their findings."""
    config = created.config
    profile = config["linux"].get("seccomp")
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        entered = execute(
            created.state,
            config,
            {**config["process"], "terminal": False},
            stdio=(theirs.fileno(), theirs.fileno(), theirs.fileno()),
            filter_program=seccomp.compile(profile, container.store.seccomp) if profile else None,
            instead=lambda: run_all(host),
        )
        theirs.close()
        try:
            yield from _findings(ours)
        finally:  # it has finished, or it does not answer
            os.kill(entered.pid, SIGKILL)
            if children.reap(entered.pid, seconds=_DEATH_SECONDS) is None:
                children.reap_eventually(entered.pid)
    finally:
        ours.close()
        theirs.close()


def _findings(socket: _socket.socket) -> Iterator[Finding]:
    while packet := _receive(socket):
        message = jsontext.loads(packet.decode())
        if "ask" in message:
            socket.send(jsontext.dumps(os.uname().nodename).encode())
        elif "end" in message:
            if message["end"]:
                raise MinidockError(f"the probes failed: {message['end']}")
            return
        else:
            yield message
    raise MinidockError("the probing process was killed")


def _receive(socket: _socket.socket) -> bytes:
    """The next message; b"" if the process has exited. Raises MinidockError after a timeout."""
    socket.settimeout(SILENT_SECONDS)
    try:
        return socket.recv(_MESSAGE_BYTES)
    except TimeoutError:
        raise MinidockError(
            f"the probing process sent nothing for {SILENT_SECONDS:g} s",
            hint="is it stopped? `ps -eo pid,stat,args` shows T for a process that is",
        ) from None


def _facts(init: int) -> HostFacts:
    """Read the facts about the host."""
    pids = [int(name) for name in os.listdir("/proc") if is_decimal(name) and int(name) != init]
    with open("/proc/self/net/dev", encoding="ascii") as file:
        interfaces = [line.partition(":")[0].strip() for line in file.readlines()[2:]]
    return {
        "processes": {pid: start for pid in pids if (start := start_time(pid))},
        "monitor": os.getpid(),
        "interfaces": interfaces,
        "network": os.stat("/proc/self/ns/net").st_ino,
        "hostname": os.uname().nodename,
        "names": os.stat("/proc/self/ns/uts").st_ino,
        "root": _identity("/"),
        "shared_memory": _identity("/dev/shm"),
    }


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


class _Canaries:
    """Listeners and shared memory on the host, for the probes to find."""

    def __enter__(self) -> _Canaries:
        self._loopback = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self._loopback.bind(("127.0.0.1", 0))
        self._loopback.listen(4)
        self._name = f"minidock-probe-{os.urandom(4).hex()}"
        self._abstract = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._abstract.bind("\0" + self._name)
        self._abstract.listen(4)
        self._segment = create_segment()
        return self

    def facts(self) -> CanaryFacts:
        return {
            "port": self._loopback.getsockname()[1],
            "socket": self._name,
            "segment": self._segment[0],
        }

    def __exit__(self, *error: object) -> None:
        self._loopback.close()
        self._abstract.close()
        release_segment(*self._segment)
