"""The way into `run --step` beside its terminal: a socket, through which a page sends commands.

    page → run    ID COMMAND    if it waits before the operation with this id: COMMAND
                  (empty)       only the state
    run → page    JSON          State; answers both, at once

One packet and its answer per connection. The terminal and each page may answer a pause; the first
one counts. The id of the operation keeps a second answer from counting for the next one: so one
click is one operation, however many pages there are.

The socket is containers/<id>/step.sock, mode 0600: /run/minidock/<id>/ does not exist before the
first operations. It is gone when the command runs, or with the container after an abort.

A thread serves it, and a signal ends the main thread's wait for a line of the terminal: readline
cannot wait for anything else, but lets a signal's handler raise. SIGURG does no harm if it comes
too late: its default is to be ignored.

Sources: unix(7) SOCK_SEQPACKET; signal(7); Python's readline.c, readline_until_enter_or_signal.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from threading import Event, Lock, Thread, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import TextIO, TypedDict

    from minidock.paths import ContainerPaths

    class State(TypedDict):
        """before: the id of the operation that is waited before, or was last. open: whether a
        command would be taken now. taken: whether the one of this request was."""

        before: str
        open: bool
        taken: bool


COMMANDS = ("step", "next", "chapter", "continue", "abort")
ANSWER_SECONDS = 0.5
_REQUEST_BYTES, _ANSWER_BYTES = 256, 1024
_SIGNAL_SECONDS = 0.05  # a signal that came just before readline's select(2) does not end that


class _CommandCame(Exception):
    """Raised by the signal's handler in the main thread, while it waits for a line."""


class CommandSocket:
    """Lines for the debugger: from the terminal or the socket, whichever comes first.

    terminal: prompts and returns a line, None at end of file. out: shows the socket's commands.
    """

    def __init__(
        self, paths: ContainerPaths, terminal: Callable[[str], str | None], out: TextIO
    ) -> None:
        self._paths = paths
        self._terminal = terminal
        self._out = out
        self._main_thread = get_ident()
        self._is_reading = False
        self._lock = Lock()  # of the next four
        self._before = self._command = ""
        self._is_open = False
        self._was_read = Event()
        self._listening: socket.socket | None = None

    def __enter__(self) -> CommandSocket:
        self._listening = _listen(self._paths)
        self._handler = signal.signal(signal.SIGURG, self._on_signal)
        Thread(target=self._serve, args=[self._listening], daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the socket; commands are refused from here on."""
        if self._listening is None:
            return
        self._listening.shutdown(socket.SHUT_RDWR)  # accept(2) in the thread fails
        self._listening.close()
        self._listening = None
        signal.signal(signal.SIGURG, self._handler)
        try:
            os.unlink(self._paths.step_socket)
        except FileNotFoundError:
            pass  # the container was removed after an abort

    def read_line(self, prompt: str, before: str) -> str | None:
        """The next line, None at end of file of the terminal. before: the id of the operation."""
        with self._lock:
            self._before, self._command, self._is_open = before, "", True
            self._was_read.clear()
        try:
            line = self._read_terminal(prompt)
        finally:
            with self._lock:
                self._is_open = False
            self._was_read.set()
        if not self._command:
            return line
        self._out.write(f"\n{prompt}{self._command}   from the page\n")
        self._out.flush()
        return self._command

    def _read_terminal(self, prompt: str) -> str | None:
        """A line of the terminal; None also if the signal comes."""
        try:
            try:
                self._is_reading = True
                return self._terminal(prompt)
            finally:
                self._is_reading = False
        except _CommandCame:
            return None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_reading and self._command:  # not a late signal, of the pause before
            self._is_reading = False  # it raises once
            raise _CommandCame

    # In the thread

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return  # closed
            with connection:
                connection.settimeout(ANSWER_SECONDS)
                try:
                    request = connection.recv(_REQUEST_BYTES)
                    if not _has_gone(connection):
                        connection.send(json.dumps(self._state_after(request)).encode())
                except OSError:
                    pass  # the client has gone, or sends nothing
            self._interrupt_terminal()

    def _state_after(self, request: bytes) -> State:
        """Take the command of a request, if it is for the present pause."""
        before, _, command = request.decode("ascii", "replace").partition(" ")
        with self._lock:
            taken = self._is_open and before == self._before and command in COMMANDS
            if taken:
                self._command, self._is_open = command, False
            return {"before": self._before, "open": self._is_open, "taken": taken}

    def _interrupt_terminal(self) -> None:
        """If a command was taken, end the main thread's wait for a line."""
        while self._command and not self._was_read.is_set():
            signal.pthread_kill(self._main_thread, signal.SIGURG)
            self._was_read.wait(_SIGNAL_SECONDS)


def ask(paths: ContainerPaths, before: str = "", command: str = "") -> State | None:
    """The state of a container's `run --step`, after a command; None if there is none.

    Raises TimeoutError if it does not answer, such as after Ctrl-Z.
    """
    with _socket() as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            _at(paths, connection.connect)
            connection.send(f"{before} {command}".encode("ascii", "replace"))
            answer = connection.recv(_ANSWER_BYTES)
        except TimeoutError:
            raise
        except BlockingIOError:
            raise TimeoutError("too many wait for its answer") from None
        except OSError:
            return None  # there is no such file, or nobody listens any more
    try:
        state: State = json.loads(answer)
    except ValueError:
        return None  # it ended before its answer
    return state


def _has_gone(connection: socket.socket) -> bool:
    """Whether the client has given up: this process was stopped meanwhile."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))  # POLLHUP, which needs no asking


def _listen(paths: ContainerPaths) -> socket.socket:
    listening = _socket()
    try:
        _at(paths, listening.bind)
        os.chmod(paths.step_socket, 0o600)  # nobody connects before listen(2)
        listening.listen()
    except BaseException:
        listening.close()
        raise
    return listening


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _at(paths: ContainerPaths, act: Callable[[str], None]) -> None:
    """Bind or connect by a short path: sun_path holds 108 bytes only."""
    directory, name = os.path.split(paths.step_socket)
    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        act(f"/proc/self/fd/{parent}/{name}")
    finally:
        os.close(parent)
