"""Parse RUN, and cancel all running commands of a build.

run_container.py runs the container. It is imported when needed: a cached step needs none.

Source: docs.docker.com/reference/dockerfile "RUN".
"""

from __future__ import annotations

from _thread import allocate_lock

from minidock.engine.build.entitlements import run_network
from minidock.engine.dockerfile.config import with_shell
from minidock.engine.dockerfile.heredoc import heredoc_of
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from minidock.engine.build.options import Options
    from minidock.engine.build.stage_state import State
    from minidock.engine.dockerfile.instruction import Instruction

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


class CommandFailed(MinidockError):
    """The command of a RUN step exited with a nonzero code."""

    exit_code = 1


class Cancelled(MinidockError):
    """A step was cancelled by the user, or because another step failed."""

    exit_code = 1


class Command:
    """A parsed RUN.

    arguments: the argv. network: "default", "none" or "host". script: name and content of a
    here-document that is a script ("#!..."), or None.
    """

    def __init__(self, instruction: Instruction, state: State, options: Options) -> None:
        self.network = run_network(instruction, options)
        self.script: tuple[str, str] | None = None
        if instruction.json is not None:
            self.arguments = list(instruction.json)
            return
        self.arguments = with_shell(state.config, self._text(instruction))

    def _text(self, instruction: Instruction) -> str:
        """The text for the shell: that of RUN with its here-documents, or a here-document alone."""
        documents = instruction.heredocs
        if not documents:
            return instruction.text
        first = documents[0]
        if len(documents) == 1 and _is_single_heredoc(instruction.text):
            if first.content.startswith("#!"):
                self.script = (first.name, first.text)
                return f"/dev/pipes/{first.name}"
            return first.text
        return instruction.text + "".join(f"\n{d.content}{d.name}" for d in documents)


def _is_single_heredoc(text: str) -> bool:
    """Whether the text of a RUN is a single here-document."""
    return len(text.split()) == 1 and heredoc_of(text) is not None


def created_by(command: Command, build_args: list[tuple[str, str]]) -> str:
    """The "created_by" of its history entry: the ARGs so far, and the command line."""
    args = [f"{name}={value}" for name, value in build_args]
    arg_fields = [f"|{len(args)}", *args] if args else []
    return " ".join(["RUN", *arg_fields, *command.arguments, "# buildkit"])


class RunningCommands:
    """The running RUN commands of a build, for cancellation."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._sockets: set[_socket.socket] = set()
        self.cancelled = False

    def add(self, socket: _socket.socket) -> None:
        with self._lock:
            self._sockets.add(socket)
            if self.cancelled:
                _shut_down(socket)

    def remove(self, socket: _socket.socket) -> None:
        with self._lock:
            self._sockets.discard(socket)
        socket.close()

    def cancel(self) -> None:
        """Cancel all running and future commands: a monitor kills its container on hangup."""
        with self._lock:
            self.cancelled = True
            for socket in self._sockets:
                _shut_down(socket)


def _shut_down(socket: _socket.socket) -> None:
    try:
        socket.shutdown(2)
    except OSError:
        pass  # the command has ended already
