"""attach, on the command's side: relay a terminal or pipes to the container's monitor.

    stdin ──STDIN──► monitor        stdout ◄──STDOUT── monitor        stderr ◄──STDERR──
    SIGWINCH ──RESIZE──►            signals ──SIGNAL──►               exit code ◄──EXITED──

Each side always reads the connection and sends no more data than the other has room for
(protocol.py, "Flow control"). If our stdout is not read, the container's output waits and its input
goes on; if the container does not read its stdin, ours waits and signals still arrive.

With a terminal, ours is put into raw mode, so that every key travels: Ctrl-C is a byte, and the
container's own terminal turns it into a signal. Without one, received signals are
forwarded.
The detach keys (detach_keys.py) end the connection, and the container goes on.

Sources: termios(3) cfmakeraw; Docker's documentation of attach.
"""

from __future__ import annotations

import os
import select
from _socket import MSG_DONTWAIT
from errno import EPIPE

from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import find
from minidock.engine.monitor import protocol
from minidock.engine.monitor.client_stdio import Input, Output
from minidock.engine.monitor.client_terminal import ENDING, SIGWINCH, RawTerminal, Signals
from minidock.engine.monitor.detach_keys import DetachKeys, parse_detach_keys
from minidock.errors import Conflict, MinidockError, NotFound, OutputLost
from minidock.kernel.terminal import get_size
from minidock.runtime.channel import rebuild_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from minidock.document_types.message import Streams
    from minidock.paths import Store

DETACHED_CODE = 0


class Attachment:
    """The streams to attach, and how to detach.

    detach_keys: such as "ctrl-p,ctrl-q". sig_proxy: forward signals (never with a terminal).
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

    def streams(self) -> Streams:
        """The "attach" property of a message."""
        return {"stdin": self.stdin, "stdout": self.stdout, "stderr": self.stderr}


def attach(store: Store, reference: str, attachment: Attachment) -> int:
    """Attach to a running container; returns its exit code.

    Raises Detached after the detach keys, and Conflict if it is not running, or paused.
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
    socket.send(protocol.message(protocol.ATTACH, {"attach": attachment.streams()}))
    connection = MonitorConnection(socket, attachment, terminal=bool(container.config.get("Tty")))
    connection.redraws = True
    return connection.relay_or_detach()


def connect(container: Container) -> _socket.socket:
    """Connect to a running container's monitor.

    Retries while the container starts and its monitor does not listen yet.
    Raises Conflict if it has ended meanwhile.
    """
    try:
        return protocol.connect(container.paths.run)
    except OSError:
        from minidock.engine.monitor.connection import connect_when_ready  # seldom needed
    try:
        socket = connect_when_ready(container)
    except NotFound:  # it was run with --rm
        socket = None
    if socket is None:
        raise Conflict(f"container {container.name} is not running")
    return socket


class Detached(MinidockError):
    """The detach keys were typed; the process continues."""

    exit_code = 1

    def __init__(self) -> None:
        super().__init__("read escape sequence")


class MonitorConnection:
    """A connection to a monitor, after the first message.

    terminal: whether the process has one. on_record: called with each journal record. on_step:
    answers STEP with protocol.CONTINUE or protocol.ABORT.
    """

    def __init__(
        self,
        socket: _socket.socket,
        attachment: Attachment | None,
        *,
        terminal: bool,
        on_record: Callable[[str], None] | None = None,
        on_started: Callable[[], None] | None = None,
        on_step: Callable[[_socket.socket], bytes] | None = None,
    ) -> None:
        self.socket = socket
        self.attachment = attachment
        self.terminal = terminal
        self.on_record = on_record
        self.on_started = on_started
        self.on_step = on_step
        self._started = False
        self._code: int | None = None
        self.redraws = False  # resize twice, so that a full-screen program redraws
        self._detach_keys = DetachKeys(attachment.detach_keys if attachment else b"")
        self._stdin_open = False
        self._own_output = Output()
        self._outbox: list[bytes] = []
        self._credit = protocol.WINDOW_BYTES  # the room left in the monitor's window
        self._received_bytes = self._acknowledged_bytes = 0

    def wait_until_started(self) -> None:
        """Wait for STARTED; returns at once if it has arrived.

        Raises the error of a failed start.
        """
        while not self._started:
            self._hear(protocol.receive(self.socket))

    def wait_until_ended(self) -> int:
        """Wait for EXITED without sending anything; returns the exit code."""
        while self._code is None:
            self._hear(protocol.receive(self.socket))
        return self._code

    def write_output(self, stream: int, data: bytes) -> None:
        """Write the container's output to our stdout (1) or stderr (2)."""
        self._own_output.add(stream, data)

    def relay(self) -> int:
        """Relay both directions until it exits or the user detaches; returns its exit code."""
        assert self.attachment is not None
        raw = RawTerminal() if self.terminal and self.attachment.stdin and os.isatty(0) else None
        proxy = self.attachment.sig_proxy and not self.terminal
        try:
            with Signals(forward_all=proxy) as signals:
                return self._relay(signals, stdin=self.attachment.stdin, proxy=proxy)
        except OutputLost as error:
            if error.errno == EPIPE and not proxy:  # as a filter in a pipeline
                raise BrokenPipeError from None
            raise
        finally:
            self._own_output.close()
            if raw is not None:
                raw.restore()

    def relay_or_detach(self) -> int:
        """As `relay`, but raises Detached after the detach keys."""
        code = self.relay()
        if self._detach_keys.typed:
            raise Detached
        return code

    def _relay(self, signals: Signals, *, stdin: bool, proxy: bool) -> int:
        while not self._started:
            self._poll_once(signals, None, proxy=proxy)
        if self.redraws:
            self._resize(more=1)
        self._resize()
        source = Input() if stdin else None
        self._stdin_open = stdin
        try:
            while self._code is None or self._own_output.waiting_bytes:
                self._poll_once(signals, source, proxy=proxy)
                if self._detach_keys.typed and not self._outbox:
                    return DETACHED_CODE
            return self._code
        finally:
            if source is not None:
                source.close()

    def _poll_once(self, signals: Signals, source: Input | None, *, proxy: bool) -> None:
        """Poll once, and serve the ready descriptors."""
        sink = self._own_output.descriptor
        for fd, events in self._poll(signals, source, sink).poll():
            if fd == signals.descriptor:
                self._handle_signals(signals.read(), proxy=proxy)
            elif fd == self.socket.fileno():
                self._serve_socket(events)
            elif fd == sink:
                self._own_output.flush(ready=True)
                self._acknowledge()
            elif source is not None and self._stdin_open:
                self._read_stdin(source)

    def _poll(self, signals: Signals, source: Input | None, sink: int) -> select.poll:
        """What to wait for. Stdin only while the monitor can take more."""
        poll = select.poll()
        poll.register(signals.descriptor, select.POLLIN)
        if self._code is None:
            poll.register(self.socket, select.POLLIN | (select.POLLOUT if self._outbox else 0))
        if sink >= 0:
            poll.register(sink, select.POLLOUT)
        if source is not None and self._stdin_open and self._credit and not self._outbox:
            poll.register(source.descriptor, select.POLLIN)
        return poll

    def _serve_socket(self, events: int) -> None:
        if events & select.POLLOUT:
            self._flush()
        if events & ~select.POLLOUT:
            self._receive_all()

    def _handle_signals(self, numbers: bytes, *, proxy: bool) -> None:
        """Handle received signals: resize, forward, or exit."""
        for number in numbers:
            if number == SIGWINCH:
                self._resize()
            elif proxy and self._code is None:
                self._send(protocol.message(protocol.SIGNAL, {"signal": number}))
            elif number in ENDING:
                raise SystemExit(128 + number)  # runs the code that restores the terminal

    # Receive

    def _receive_all(self) -> None:
        """Receive all messages: the monitor sends no more data than we have room for."""
        while self._code is None:
            try:
                packet = protocol.receive(self.socket, wait=False)
            except BlockingIOError:
                return
            self._hear(packet)

    def _hear(self, packet: bytes) -> None:
        kind = packet[:1]
        if kind in (protocol.STDOUT, protocol.STDERR):
            self._received_bytes += len(packet) - 1
            self.write_output(1 if kind == protocol.STDOUT else 2, packet[1:])
            self._acknowledge()
        elif kind == protocol.ACK:
            self._credit += protocol.acked_bytes(packet)
        elif kind == protocol.EXITED:
            self._code = int(protocol.content_of(packet)["code"])
        elif kind == protocol.STARTED and not self._started:
            self._started = True
            if self.on_started is not None:
                self.on_started()
        elif kind == protocol.RECORD and self.on_record is not None:
            self.on_record(packet[1:].decode())
        elif kind == protocol.STEP and self.on_step is not None:
            self._send(self.on_step(self.socket))
        elif kind == protocol.FAILED:
            raise rebuild_error(protocol.content_of(packet))
        elif not kind:
            raise Conflict(
                "the container's monitor has died", hint="`minidock ps -a` shows its container"
            )

    def _acknowledge(self) -> None:
        """Acknowledge the output written."""
        written = self._received_bytes - self._own_output.waiting_bytes
        if written - self._acknowledged_bytes >= protocol.ACK_BYTES:
            self._send(protocol.ack(written - self._acknowledged_bytes))
            self._acknowledged_bytes = written

    # Send

    def _read_stdin(self, source: Input) -> None:
        """Send data from stdin, or its end."""
        data = source.read(min(protocol.DATA_BYTES, self._credit))
        if data is None:
            return
        if not data:
            self._stdin_open = False
            self._send(protocol.STDIN_END)
            return
        if self.terminal:
            data = self._detach_keys.strip(data)
            self._stdin_open = not self._detach_keys.typed
        if data:
            self._credit -= len(data)
            self._send(protocol.STDIN + data)

    def _resize(self, *, more: int = 0) -> None:
        """Send the size of our terminal, plus `more`."""
        if self.terminal and os.isatty(1):
            rows, columns = get_size(1)
            if rows or columns:  # 0, 0: size unknown
                size = {"rows": rows + more, "columns": columns + more}
                self._send(protocol.message(protocol.RESIZE, size))

    def _send(self, packet: bytes) -> None:
        """Send a message, now or when the socket has room."""
        self._outbox.append(packet)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._outbox:
                self.socket.send(self._outbox[0], MSG_DONTWAIT)
                self._outbox.pop(0)
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._outbox.clear()
            self._stdin_open = False  # the monitor has closed; EXITED may still be unread


__all__ = ["Attachment", "MonitorConnection", "attach", "connect"]
