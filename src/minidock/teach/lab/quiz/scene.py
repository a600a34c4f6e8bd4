"""The container that the questions are about, and the child process that removes it.

    sh -c "sleep 100000 & exec httpd -f -h /etc"     32 MiB of memory, a published port,
    a tmpfs on /home, a named volume on /data

However the quiz ends (the last answer, Ctrl-C, a closed terminal, kill -9), a child of it reads the
end of a pipe whose other end the quiz holds, and removes what the quiz created.
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

    from minidock.document_types.container import CreateBody
    from minidock.document_types.host_config import HostConfig
    from minidock.paths import Store

IMAGE = "busybox"
MEMORY_BYTES = 32 * 1024 * 1024
LABEL = "minidock.quiz"
_TIMEOUT_SECONDS = 30.0
_COMMAND = "sleep 100000 & exec httpd -f -h /etc"


class Scene:
    """The quiz's container, for the duration of a block: `with Scene(store) as scene:`.

    name: of the container. Raises NotFound if the image is missing.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.name = f"quiz-{os.urandom(3).hex()}"
        self.second = f"{self.name}-2"  # for the question that removes one
        self.volume = f"{self.name}-data"

    def __enter__(self) -> Scene:
        self._cleanup_child = _CleanupChild(self)
        try:
            self.make(self.name, _COMMAND, published=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.remove_all()
        finally:
            self._cleanup_child.finish()

    def make(self, name: str, command: str, *, published: bool = False) -> None:
        """Run a container like the quiz's; replace one of that name."""
        self._remove(name)
        host: HostConfig = {
            "Memory": MEMORY_BYTES,
            "Tmpfs": {"/home": ""},
            "Binds": [f"{self.volume}:/data"],
            "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}]} if published else {},
        }
        body: CreateBody = {
            "Image": IMAGE,
            "Cmd": ["sh", "-c", command],
            "Labels": {LABEL: self.name},
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": host,
        }
        container = create(self.store, body, name=name)
        start(self.store, container.id, attach=None)

    def remove_all(self) -> None:
        """Remove everything that the quiz created. Idempotent."""
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
        """The container in its current state."""
        return find(self.store, self.name)

    @property
    def pid(self) -> int:
        """The host's pid of the container's PID 1, by NSpid."""
        return self._wait_for_process(
            lambda pid: status(pid, "NSpid").split()[-1] == "1", f"no PID 1 is in {self.name}"
        )

    def pids(self, *, name: str = "") -> list[int]:
        """The host's pids of all processes in the container's cgroup."""
        first = find(self.store, name or self.name).state["Pid"]
        directory = cgroup_directory(int(first), "pids")
        return [int(line) for line in text_of(f"{directory}/cgroup.procs").split()]

    def process(self, arguments: str, *, name: str = "") -> int:
        """Wait for a process of this command line in the container; returns the host's pid.

        Raises MinidockError if it does not appear.
        """
        wanted = arguments.replace(" ", "\0") + "\0"
        return self._wait_for_process(
            lambda pid: text_of(f"/proc/{pid}/cmdline") == wanted,
            f"no process `{arguments}` appeared in {name or self.name}",
            name=name,
        )

    def _wait_for_process(
        self, condition: Callable[[int], bool], error: str, *, name: str = ""
    ) -> int:
        """Wait until a process of the container meets a condition; returns its pid."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            for pid in self.pids(name=name):
                with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
                    if condition(pid):
                        return pid
            time.sleep(0.005)
        raise MinidockError(error)

    def wait_until_exited(self, pid: int) -> None:
        """Wait until a process has ended: it is a zombie, or reaped."""
        deadline = time.monotonic() + _TIMEOUT_SECONDS
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
        """The published port on this host."""
        ports = self.container.document["NetworkSettings"]["Ports"] or {}
        bound = ports["80/tcp"] or []
        return int(bound[0]["HostPort"])

    def restart(self) -> None:
        """Stop the container and start it again."""
        restart(self.store, self.name, timeout_seconds=0)

    def exec(self, *words: str, name: str = "") -> CommandResult:
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
            return _OutputCollector(socket, None, terminal=False).collect_output()
        finally:
            socket.close()


class CommandResult:
    """The result of a command in the container.

    code: its exit code. output: stdout and stderr, without the last newline.
    """

    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = output


class _OutputCollector(MonitorConnection):
    """A connection to the monitor that collects the output."""

    _output = b""

    def write_output(self, stream: int, data: bytes) -> None:
        del stream
        self._output += data

    def collect_output(self) -> CommandResult:
        self.wait_until_started()
        code = self.wait_until_ended()
        return CommandResult(code, self._output.decode("utf-8", "replace").rstrip("\n"))


class _CleanupChild:
    """A child that removes a scene when its parent closes a pipe or ends."""

    def __init__(self, scene: Scene) -> None:
        reading, self._writing = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._writing)
            _run_cleanup_child(scene, reading)
        os.close(reading)

    def finish(self) -> None:
        """Have it remove what is left, and wait for it."""
        os.close(self._writing)
        os.waitpid(self._pid, 0)


def _run_cleanup_child(scene: Scene, reading: int) -> None:
    """In the child: wait, remove everything, exit. It never returns."""
    code = 1
    try:
        os.setsid()  # Ctrl-C and hang-up of the terminal are for the quiz
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # a reader of the quiz's output must see its end
            os.dup2(null, descriptor)
        os.read(reading, 1)
        scene.remove_all()
        code = 0
    finally:
        os._exit(code)
