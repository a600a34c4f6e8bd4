"""The container that the questions are about, and the process that sees it gone.

    sh -c "sleep 100000 & exec httpd -f -h /etc"     32 MiB of memory, a published port,
    a tmpfs on /home, a named volume on /data

Whatever ends the quiz (the last answer, Ctrl-C, a closed terminal, kill -9), a child of it, the
keeper, reads the end of a pipe whose other end the quiz holds, and takes away what the quiz made.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from minidock.engine.container import volumes
from minidock.engine.container.containers import Container
from minidock.engine.container.create import create
from minidock.engine.container.lookup import find
from minidock.engine.lifecycle.remove import remove
from minidock.engine.lifecycle.restart import restart
from minidock.engine.lifecycle.start import start
from minidock.engine.monitor import protocol
from minidock.engine.monitor.attach import MonitorConnection, connect
from minidock.errors import MinidockError, NotFound
from minidock.teach.lab.quiz.kernel import cgroup_directory, status, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minidock.paths import Store

IMAGE = "busybox"
MEMORY_BYTES = 32 * 1024 * 1024
LABEL = "minidock.quiz"
_PATIENCE_SECONDS = 30.0
_COMMAND = "sleep 100000 & exec httpd -f -h /etc"


class Scene:
    """The quiz's container, as long as the block runs: `with Scene(store) as scene:`.

    name: of the container. Raises NotFound where the image is missing.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.name = f"quiz-{os.urandom(3).hex()}"
        self.second = f"{self.name}-2"  # of the question that removes one
        self.volume = f"{self.name}-data"

    def __enter__(self) -> Scene:
        self._keeper = _Keeper(self)
        try:
            self.make(self.name, _COMMAND, published=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.unmake()
        finally:
            self._keeper.let_go()

    def make(self, name: str, command: str, *, published: bool = False) -> None:
        """Run a container like the quiz's, in the place of one of that name."""
        self._remove(name)
        host: dict[str, Any] = {
            "Memory": MEMORY_BYTES,
            "Tmpfs": {"/home": ""},
            "Binds": [f"{self.volume}:/data"],
            "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}]} if published else {},
        }
        body = {
            "Image": IMAGE,
            "Cmd": ["sh", "-c", command],
            "Labels": {LABEL: self.name},
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": host,
        }
        container = create(self.store, body, name=name)
        start(self.store, container.id, attach=None)

    def unmake(self) -> None:
        """Take away whatever the quiz has made; what is not there is no matter."""
        self._remove(self.name)
        self._remove(self.second)
        try:
            volumes.remove(self.store, self.volume)
        except NotFound:
            pass

    def _remove(self, name: str) -> None:
        try:
            remove(self.store, name, force=True, volumes=True)
        except NotFound:
            pass

    @property
    def container(self) -> Container:
        """The container as it is now."""
        return find(self.store, self.name)

    @property
    def pid(self) -> int:
        """The host's pid of the container's PID 1, as the kernel counts it inside."""
        return self._await(
            lambda pid: status(pid, "NSpid").split()[-1] == "1", f"no PID 1 is in {self.name}"
        )

    def pids(self, *, name: str = "") -> list[int]:
        """The host's pids of all processes in the container's cgroup."""
        first = find(self.store, name or self.name).state["Pid"]
        directory = cgroup_directory(int(first), "pids")
        return [int(line) for line in text_of(f"{directory}/cgroup.procs").split()]

    def process(self, arguments: str, *, name: str = "") -> int:
        """The host's pid of a process in it by its command line; it may just be about to begin.

        Raises MinidockError where there is none.
        """
        wanted = arguments.replace(" ", "\0") + "\0"
        return self._await(
            lambda pid: text_of(f"/proc/{pid}/cmdline") == wanted,
            f"no process `{arguments}` came up in {name or self.name}",
            name=name,
        )

    def _await(self, is_it: Callable[[int], bool], error: str, *, name: str = "") -> int:
        """The pid of a process in a container, as soon as there is such a one."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for pid in self.pids(name=name):
                with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
                    if is_it(pid):
                        return pid
            time.sleep(0.005)
        raise MinidockError(error)

    def await_end(self, pid: int) -> None:
        """Wait until a process has ended: it is a zombie, or gone."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with suppress(FileNotFoundError, ProcessLookupError):  # gone
            while not status(pid, "State").startswith("Z"):
                if time.monotonic() > deadline:
                    raise MinidockError(f"process {pid} of {self.name} does not end")
                time.sleep(0.005)

    @property
    def monitor(self) -> int:
        return self.container.monitor_pid

    @property
    def upper(self) -> str:
        return self.container.paths.upper

    @property
    def layers(self) -> list[str]:
        """The directories of its image's layers, topmost first."""
        return str(self.container.document["GraphDriver"]["Data"]["LowerDir"]).split(":")

    @property
    def port(self) -> int:
        """The port of this host that is published."""
        bound = self.container.document["NetworkSettings"]["Ports"]["80/tcp"]
        return int(bound[0]["HostPort"])

    def restart(self) -> None:
        """Stop the container and start it again."""
        restart(self.store, self.name, timeout_seconds=0)

    def inside(self, *words: str, name: str = "") -> Said:
        """Run a command in the container, as `minidock exec` does."""
        container = find(self.store, name or self.name)
        request = {
            "AttachStdin": False, "AttachStdout": True, "AttachStderr": True, "Cmd": list(words),
            "Env": [], "Privileged": False, "Tty": False, "User": "", "WorkingDir": "",
        }  # fmt: skip
        streams = {"stdin": False, "stdout": True, "stderr": True}
        socket = connect(container)
        try:
            socket.send(
                protocol.message(
                    protocol.EXEC, {"request": request, "attach": streams, "size": None}
                )
            )
            return _Listening(socket, None, terminal=False).until_end()
        finally:
            socket.close()


class Said:
    """What a command in the container said.

    code: its exit code. output: of stdout and stderr, without the last line break.
    """

    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = output


class _Listening(MonitorConnection):
    """A connection to the monitor that keeps the output."""

    _heard = b""

    def say(self, stream: int, data: bytes) -> None:
        del stream
        self._heard += data

    def until_end(self) -> Said:
        self.wait_until_started()
        return Said(self.wait_until_ended(), self._heard.decode("utf-8", "replace").rstrip("\n"))


class _Keeper:
    """A child that unmakes a scene when its parent lets go of it, or is no more."""

    def __init__(self, scene: Scene) -> None:
        reading, self._writing = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._writing)
            _keep(scene, reading)
        os.close(reading)

    def let_go(self) -> None:
        """Have it look that nothing is left, and wait for it."""
        os.close(self._writing)
        os.waitpid(self._pid, 0)


def _keep(scene: Scene, reading: int) -> None:
    """The child's life: wait, unmake, end. It never returns."""
    code = 1
    try:
        os.setsid()  # a terminal's Ctrl-C and hang-up are for the quiz
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # whoever reads the quiz's output sees its end
            os.dup2(nothing, descriptor)
        os.read(reading, 1)
        scene.unmake()
        code = 0
    finally:
        os._exit(code)
