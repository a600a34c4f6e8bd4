"""Attached: the command at a terminal, or in a pipeline, on its side of the connection.

    my stdin ──i──► monitor        stdout ◄──o── monitor        stderr ◄──E──
    window size ──r──►             signals ──k──►               ended ◄──x──

With a terminal, ours is put into raw mode, so that every key travels: Ctrl-C is a byte, and the
container's own terminal turns it into a signal. Without one, signals that reach us are passed on.
The detach keys (Ctrl-P Ctrl-Q) end the connection, and the container goes on.

Sources: termios(3) cfmakeraw; Docker's documentation of attach.
"""

from __future__ import annotations

import os
import select
import termios

from minidock.engine.container.containers import Container, find
from minidock.engine.monitor import wire
from minidock.errors import Conflict, MinidockError, NotFound, UsageError
from minidock.kernel.terminal import get_size
from minidock.runtime.channel import rebuild_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import signal
    from collections.abc import Callable
    from typing import Any

    from minidock.paths import Store
else:
    import _signal as signal  # without the enums, whose import costs 5 ms

DETACHED_CODE = 0
_NOT_PASSED_ON = {
    signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH, signal.SIGTSTP, signal.SIGTTIN,
    signal.SIGTTOU, signal.SIGCONT, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS,
    signal.SIGFPE, signal.SIGILL, signal.SIGABRT,
}  # fmt: skip
_ENDING = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
_CONTROL_KEYS = "abcdefghijklmnopqrstuvwxyz@[\\]^_"


class Attachment:
    """What a command attaches to, and how it lets go again.

    detach_keys: such as "ctrl-p,ctrl-q". sig_proxy: pass signals on (never with a terminal).
    """

    def __init__(
        self,
        *,
        stdin: bool,
        stdout: bool = True,
        stderr: bool = True,
        detach_keys: str = "ctrl-p,ctrl-q",
        sig_proxy: bool = True,
    ) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.detach_keys = parse_detach_keys(detach_keys)
        self.sig_proxy = sig_proxy

    def streams(self) -> dict[str, bool]:
        """The "attach" of a message."""
        return {"stdin": self.stdin, "stdout": self.stdout, "stderr": self.stderr}


def parse_detach_keys(text: str) -> bytes:
    """The bytes of a key sequence, such as "ctrl-p,ctrl-q" or "a,b".

    Raises UsageError for what is no key.
    """
    keys = bytearray()
    for word in text.split(","):
        if len(word) == 1:
            keys += word.encode()
        elif (
            word.startswith("ctrl-")
            and len(word) == 6
            and word[5] in "abcdefghijklmnopqrstuvwxyz@[\\]^_"
        ):
            keys.append(ord(word[5].upper()) & 0x1F)
        else:
            raise UsageError(
                f"invalid detach keys: unknown character: '{word}'",
                hint="write them as ctrl-p,ctrl-q or as single characters: x,y",
            )
    return bytes(keys)


def attach(store: Store, reference: str, attachment: Attachment) -> int:
    """Attach to a running container; returns its exit code.

    Raises Detached when the keys were typed, and Conflict where it is not running, or paused.
    """
    container = find(store, reference)
    if not container.running:
        raise Conflict(
            "You cannot attach to a stopped container, start it first",
            hint=f"minidock start -a {container.name}",
        )
    if container.restarting:
        raise Conflict("You cannot attach to a restarting container, wait until it is running")
    if container.state["Paused"]:
        raise Conflict(
            "You cannot attach to a paused container, unpause it first",
            hint=f"minidock unpause {container.name}",
        )
    socket = connect(container)
    attachment.stdin = attachment.stdin and bool(container.config.get("OpenStdin"))
    socket.send(wire.message(b"A", {"attach": attachment.streams()}))
    conversation = Conversation(socket, attachment, terminal=bool(container.config.get("Tty")))
    conversation.redraws = True
    return conversation.hold_or_detach()


def connect(container: Container) -> _socket.socket:
    """A connection to a running container's monitor.

    One that has just begun to run is not listened for yet: that is waited for.
    Raises Conflict where it has ended meanwhile.
    """
    try:
        return wire.connect(container.paths.run)
    except OSError:
        from minidock.engine.monitor.reach import reach  # seldom needed
    try:
        socket = reach(container)
    except NotFound:  # it was run with --rm
        socket = None
    if socket is None:
        raise Conflict(f"container {container.name} is not running")
    return socket


class Detached(MinidockError):
    """The detach keys were typed: the process goes on, and its exit code is not known."""

    exit_code = 1

    def __init__(self) -> None:
        super().__init__("read escape sequence")


class Conversation:
    """A connection to a monitor, from the first answer to the last.

    terminal: whether the process has one. on_record: gets the journal's records. on_turn: decides
    about the act told last, where the launch asked for that: wire.py's g or q.
    """

    def __init__(
        self,
        socket: _socket.socket,
        attachment: Attachment | None,
        *,
        terminal: bool,
        on_record: Callable[[str], None] | None = None,
        on_started: Callable[[], None] | None = None,
        on_turn: Callable[[_socket.socket], bytes] | None = None,
    ) -> None:
        self.socket = socket
        self.attachment = attachment
        self.terminal = terminal
        self.on_record = on_record
        self.on_started = on_started
        self.on_turn = on_turn
        self._started = False
        self.redraws = False  # as who attaches to an editor wants to see it
        self._matched = b""
        self._stdin_open = False
        self._detached = False

    def await_start(self) -> None:
        """Wait until it has started; returns at once where that was heard before.

        Raises what kept it from starting.
        """
        while not self._started:
            packet = wire.receive(self.socket)
            if packet[:1] == b"S":
                self._started = True
                if self.on_started is not None:
                    self.on_started()
            else:
                self._early(packet)

    def _early(self, packet: bytes) -> None:
        kind = packet[:1]
        if kind == b"j" and self.on_record is not None:
            self.on_record(packet[1:].decode())
        elif kind == b"t" and self.on_turn is not None:
            self._send(self.on_turn(self.socket))
        elif kind == b"f":
            raise rebuild_error(wire.content_of(packet))
        elif kind in (b"o", b"E"):
            self.say(1 if kind == b"o" else 2, packet[1:])
        elif not kind:
            raise Conflict(
                "the container's monitor has died", hint="`minidock ps -a` tells what is left"
            )

    def say(self, stream: int, data: bytes) -> None:
        """What the container said on its stdout (1) or stderr (2) goes to ours."""
        _write_all(stream, data)

    def hold(self) -> int:
        """Carry bytes both ways until it ends or the keys detach; returns its exit code."""
        assert self.attachment is not None
        raw = _RawTerminal() if self.terminal and self.attachment.stdin and os.isatty(0) else None
        try:
            proxy = self.attachment.sig_proxy and not self.terminal
            with _Signals(self._pass_on if proxy else None, self._resize) as wakeup:
                self.await_start()
                if self.redraws:
                    self._resize(more=1)
                self._resize()
                return self._carry(wakeup)
        finally:
            if raw is not None:
                raw.restore()

    def hold_or_detach(self) -> int:
        """The same for who came to a process that is not its own. Raises Detached."""
        code = self.hold()
        if self._detached:
            raise Detached
        return code

    def _carry(self, wakeup: int) -> int:
        assert self.attachment is not None
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        self._stdin_open = self.attachment.stdin
        if self._stdin_open:
            poll.register(0, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == wakeup:
                    os.read(wakeup, 64)
                elif fd == 0:
                    if not self._read_stdin():
                        poll.unregister(0)
                    if not self._stdin_open and self._matched == self.attachment.detach_keys:
                        self._detached = True
                        return DETACHED_CODE
                else:
                    code = self._receive()
                    if code is not None:
                        return code

    def _receive(self) -> int | None:
        packet = wire.receive(self.socket)
        if packet[:1] == b"x":
            return int(wire.content_of(packet)["code"])
        self._early(packet)
        return None

    def _read_stdin(self) -> bool:
        """Send on what was typed; returns whether there may be more."""
        assert self.attachment is not None
        data = os.read(0, wire.DATA_BYTES)
        if not data:
            self._stdin_open = False
            self._send(b"e")
            return False
        if self.terminal and self.attachment.detach_keys:
            data = self._without_detach_keys(data)
        if data:
            self._send(b"i" + data)
        return self._stdin_open

    def _without_detach_keys(self, data: bytes) -> bytes:
        """Hold back what may become the detach keys; they are typed one after the other."""
        assert self.attachment is not None
        keys, passed = self.attachment.detach_keys, bytearray()
        for byte in data:
            if byte == keys[len(self._matched)]:
                self._matched += bytes([byte])
                if self._matched == keys:
                    self._stdin_open = False
                    break
            else:
                passed += self._matched
                self._matched = b""
                if byte == keys[0]:
                    self._matched = bytes([byte])
                else:
                    passed.append(byte)
        return bytes(passed)

    def _resize(self, *, more: int = 0) -> None:
        """Tell the size of our terminal, or one that is `more` larger."""
        if self.terminal and os.isatty(1):
            rows, columns = get_size(1)
            if rows or columns:  # a terminal that knows its size
                size = {"rows": rows + more, "columns": columns + more}
                self._send(wire.message(b"r", size))

    def _pass_on(self, number: int) -> None:
        self._send(wire.message(b"k", {"signal": number}))

    def _send(self, packet: bytes) -> None:
        try:
            self.socket.send(packet)
        except (BrokenPipeError, ConnectionResetError):
            self._stdin_open = False  # it has ended; its exit code is on the way


class _RawTerminal:
    """Our own terminal, raw until restored: no echo, no lines, no signals by key."""

    def __init__(self) -> None:
        self._before = termios.tcgetattr(0)
        mode = termios.tcgetattr(0)
        mode[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(0, termios.TCSADRAIN, mode)

    def restore(self) -> None:
        termios.tcsetattr(0, termios.TCSADRAIN, self._before)


class _Signals:
    """While the block runs, signals go to the container, and a new window size to its terminal.

    pass_on: None where signals are for this command: those that end it do so, in good order.
    Entering gives a descriptor that is readable whenever a signal came in, so that poll wakes up.
    """

    def __init__(self, pass_on: Callable[[int], None] | None, resize: Callable[[], None]) -> None:
        self._pass_on = pass_on
        self._resize = resize
        self._before: dict[int, Any] = {}

    def __enter__(self) -> int:
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._previous = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        wanted = signal.valid_signals() if self._pass_on else _ENDING
        for number in wanted:
            if number in _NOT_PASSED_ON or 32 <= number <= 33:
                continue
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # a nohup's hang-up stays ignored
            self._before[number] = signal.signal(number, self._handle)
        self._before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._handle)
        return self._reading

    def _handle(self, number: int, frame: object) -> None:
        if number == signal.SIGWINCH:
            self._resize()
        elif self._pass_on is not None:
            self._pass_on(number)
        else:
            raise SystemExit(128 + number)  # past the code that restores the terminal

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._previous)
        os.close(self._reading)
        os.close(self._writing)


def _write_all(fd: int, data: bytes) -> None:
    """Write to our own stdout or stderr; where nobody reads it any more, end as a filter would."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


__all__ = ["Attachment", "Conversation", "attach", "connect", "parse_detach_keys"]
