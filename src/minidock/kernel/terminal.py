"""Pseudo-terminals: the slave is in the container's own devpts, and its monitor has the master.

A terminal of the host's devpts would be an escape path; so a process in the container creates the
pair, from the devpts instance mounted there, and passes the master to the monitor over a socket.

Sources: pty(7), devpts in Documentation/filesystems/devpts.rst, ioctl_tty(2), unix(7) SCM_RIGHTS.
"""

from __future__ import annotations

import fcntl
import os

from minidock.errors import KernelError
from minidock.kernel.op import op

TIOCSCTTY = 0x540E
TIOCGWINSZ = 0x5413
TIOCSWINSZ = 0x5414
TIOCSPTLCK = 0x40045431
TIOCGPTPEER = 0x5441


def _open_terminal_sh() -> str:
    return "exec script -qefc 'sh +m' /dev/null"


@op("pty(7)", twin=_open_terminal_sh)
def open_terminal() -> int:
    """Create a terminal in the container's own /dev/pts; returns its master.

    Without it: `-t` gives no terminal: no line editing, no Ctrl-C, no colours, and editors do not
    work.

    Returns the master's descriptor. The first terminal of a devpts instance is /dev/pts/0.
    Raises KernelError: ENOENT if no devpts is mounted at /dev/pts.
    """
    try:
        master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(master, TIOCSPTLCK, (0).to_bytes(4, "little"))
    except OSError as error:
        raise KernelError(
            "open(2)",
            "/dev/pts/ptmx",
            error.errno or 0,
            hint="a container with a terminal needs devpts mounted at /dev/pts",
        ) from None
    return master


def _take_terminal_sh(master: int) -> str:
    return "exec setsid -w --ctty sh +m"


@op("ioctl_tty(2)", twin=_take_terminal_sh)
def take_terminal(master: int) -> None:
    """Make the terminal the controlling terminal of this session, so that Ctrl-C works.

    Without it: the shell prints "can't access tty; job control turned off", and Ctrl-C has no
    effect.

    Its slave becomes stdin, stdout and stderr. It is opened through the master (TIOCGPTPEER), so
    that no path in the container's /dev is used.
    """
    try:
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(slave, TIOCSCTTY, 0)
        for number in (0, 1, 2):
            os.dup2(slave, number)
    except OSError as error:
        raise KernelError("ioctl(2)", "TIOCSCTTY", error.errno or 0) from None
    os.close(slave)


def _set_size_sh(fd: int, *, rows: int, columns: int) -> str:
    return f"stty rows {rows} cols {columns}"


@op("ioctl_tty(2)", twin=_set_size_sh)
def set_size(fd: int, *, rows: int, columns: int) -> None:
    """Set the size of a terminal; the kernel sends SIGWINCH to its foreground processes.

    Without it: programs see 0 rows and 0 columns, and assume 80 by 24.
    """
    packed = b"".join(n.to_bytes(2, "little") for n in (rows & 0xFFFF, columns & 0xFFFF, 0, 0))
    fcntl.ioctl(fd, TIOCSWINSZ, packed)


def get_size(fd: int) -> tuple[int, int]:
    """Return a terminal's rows and columns."""
    packed = fcntl.ioctl(fd, TIOCGWINSZ, bytes(8))
    return int.from_bytes(packed[0:2], "little"), int.from_bytes(packed[2:4], "little")
