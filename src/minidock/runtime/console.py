"""The terminal of `minidock-runtime`: its master is sent away, or relayed here.

With --console-socket the runtime sends the terminal's master to the caller and exits. Without it,
`run` and `exec -t` relay bytes between the master and the caller's terminal, which is in raw mode:
Ctrl-C is a byte, and the container's own line discipline turns it into a signal.

Source: unix(7) SCM_RIGHTS; termios(3) cfmakeraw; runc's docs/terminals.md.
"""

from __future__ import annotations

import _socket
import os
import termios

from minidock.errors import KernelError
from minidock.kernel.terminal import get_size, set_size
from minidock.runtime.channel import send_descriptor

_SUN_PATH_BYTES = 108


def send_console(path: str, master: int) -> None:
    """Send a terminal's master to the listener of a Unix socket.

    Raises KernelError if there is no listener.
    """
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        _connect(socket, path)
        send_descriptor(socket, b"/dev/ptmx", master)
    except OSError as error:
        raise KernelError("connect(2)", path, error.errno or 0) from None
    finally:
        socket.close()


def _connect(socket: _socket.socket, path: str) -> None:
    """Connect; a path longer than sun_path goes through a descriptor of its directory."""
    if len(os.fsencode(path)) < _SUN_PATH_BYTES:
        socket.connect(path)
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        socket.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    finally:
        os.close(folder)


class HostTerminal:
    """The caller's terminal: raw from `make_raw` to `restore`. Its descriptor stays open."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._before = termios.tcgetattr(descriptor)

    @classmethod
    def find(cls) -> HostTerminal:
        """The terminal of stdin, stdout or stderr, or else /dev/tty.

        Raises KernelError without a terminal.
        """
        for descriptor in (0, 1, 2):
            if os.isatty(descriptor):
                return cls(descriptor)
        try:
            return cls(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError as error:
            raise KernelError(
                "open(2)",
                "/dev/tty",
                error.errno or 0,
                hint="run it from a terminal, or give --detach --console-socket",
            ) from None

    def make_raw(self) -> None:
        """Enter raw mode, as cfmakeraw(3): no echo, line editing, signals or translation."""
        mode = termios.tcgetattr(self.descriptor)
        mode[0] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(self.descriptor, termios.TCSANOW, mode)

    def restore(self) -> None:
        """Restore the terminal's settings."""
        termios.tcsetattr(self.descriptor, termios.TCSANOW, self._before)

    def size(self) -> tuple[int, int]:
        """Rows and columns; 0 and 0 if unset."""
        return get_size(self.descriptor)

    def copy_size_to(self, master: int) -> None:
        """Set the master's size to that of this terminal."""
        rows, columns = self.size()
        set_size(master, rows=rows, columns=columns)
