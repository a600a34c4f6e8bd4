"""Terminals of the runtime's command: a master that goes out, or one that is looked after here.

With --console-socket the caller takes the terminal's master, and the runtime ends. Without, `run`
and `exec -t` pass the bytes between that master and the caller's own terminal, which is raw
meanwhile: every key travels, and Ctrl-C is a byte that the container's terminal makes a signal of.

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
    """Send a terminal's master to whoever listens on a Unix socket.

    Raises KernelError where nobody does.
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
    """Connect; a path that is too long for an address is reached through its directory."""
    if len(os.fsencode(path)) < _SUN_PATH_BYTES:
        socket.connect(path)
        return
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        socket.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    finally:
        os.close(folder)


class HostTerminal:
    """The caller's terminal: raw until restored. None of ours is closed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._before = termios.tcgetattr(descriptor)

    @classmethod
    def find(cls) -> HostTerminal:
        """The terminal that stands behind one of our streams, or else /dev/tty.

        Raises KernelError where there is none.
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
                hint="a container with a terminal wants one here, or --detach --console-socket",
            ) from None

    def make_raw(self) -> None:
        """No echo, no lines, no signals by key, no changed bytes."""
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
        """Give the terminal back as it was."""
        termios.tcsetattr(self.descriptor, termios.TCSANOW, self._before)

    def size(self) -> tuple[int, int]:
        """Its rows and columns; 0 and 0 where nobody has said."""
        return get_size(self.descriptor)

    def copy_size_to(self, master: int) -> None:
        """Give another terminal this one's size."""
        rows, columns = self.size()
        set_size(master, rows=rows, columns=columns)
