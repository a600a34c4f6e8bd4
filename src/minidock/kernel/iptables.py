"""The firewall: iptables' two batch programs, which handle any number of rules in one process.

    iptables-save                      every table as text
    iptables-restore --noflush         changes the tables in a text, each in one atomic step

The programs exist for the kernel's old tables ("legacy") and for nftables ("nft"). Both read and
write the same text; Docker, too, uses the machine's `iptables` alternative. The rules are in
engine/network/firewall.py.

Sources: iptables-save(8), iptables-restore(8), iptables-extensions(8), xtables-nft(8).
"""

from __future__ import annotations

import os
import select

from minidock.errors import MinidockError
from minidock.kernel.op import op, quote
from minidock.kernel.process import die_with_parent
from minidock.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal  # without the enums, whose import costs 5 ms

_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin")
_LIMIT_SECONDS = 60  # for a program that has the lock
_LOCK_SECONDS = 10  # wait for another program that holds the legacy tables' lock
# The signal state that a child expects: no signal blocked, and none ignored.
_ALL_SIGNALS = [number for number in range(1, 32) if number not in (9, 19)]


class TooSlow(MinidockError):
    """A program did not end in time, and was killed."""


class _Helper:
    """A program with stdin, stdout and stderr in memory files, so that none can block.

    It dies with this process: a stopped one that continued later would change the firewall after
    another process has cleaned up behind a killed one.
    """

    def __init__(self, name: str, arguments: list[str], given: str = "") -> None:
        self._name = name
        self._pid = 0
        self._late = False
        files = [os.memfd_create(f"{name}-{role}") for role in ("input", "output", "errors")]
        self._input, self._output, self._errors = files
        try:
            os.write(self._input, given.encode())
            os.lseek(self._input, 0, os.SEEK_SET)
            path, parent = find(name), os.getpid()
            # No signal handler may run in the child: it would unwind our own stack there.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
            try:
                self._pid = os.fork()
                if self._pid == 0:
                    _become(path, [name, *arguments], files, parent)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            self._close()
            raise

    def journal_text(self) -> str:
        """How the journal names it."""
        return f"process {self._pid}"

    def output(self) -> str:
        """Wait for the program and return its output.

        Raises MinidockError if it failed.
        """
        try:
            status = self._await_end()
            if self._late:
                raise TooSlow(
                    f"{self._name} did not end within {_LIMIT_SECONDS:g} s and was killed",
                    hint="was it stopped (SIGSTOP)? else the firewall, or the machine, is too slow",
                )
            if status != 0:
                said = _contents(self._errors).strip().replace("\n", "; ")
                raise MinidockError(
                    f"{self._name} failed: {said or f'status {status}'}",
                    hint="does this kernel have iptables' nat, filter and raw tables? "
                    "`minidock doctor` tries them",
                )
            return _contents(self._output)
        finally:
            self._close()

    def _await_end(self) -> int:
        """Return its wait status. It is killed after the limit: it may have been stopped (SIGSTOP),
        and a monitor must not wait for ever."""
        pidfd = os.pidfd_open(self._pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(_LIMIT_SECONDS * 1000):
                self._late = True
                os.kill(self._pid, SIGKILL)
        finally:
            os.close(pidfd)
        return os.waitpid(self._pid, 0)[1]

    def abandon(self) -> None:
        """Discard the output; leave neither a zombie nor an open file."""
        if self._pid:
            self._await_end()
            self._close()

    def _close(self) -> None:
        self._pid = 0
        for descriptor in (self._input, self._output, self._errors):
            os.close(descriptor)


def _become(path: str, argv: list[str], files: list[int], parent: int) -> NoReturn:
    """Execute the program in the child. posix_spawn(3) has no parent-death signal."""
    try:
        die_with_parent(parent)
        for number, file in enumerate(files):
            os.dup2(file, number)
        for number in _ALL_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execve(path, argv, {"PATH": ":".join(_DIRECTORIES), "LC_ALL": "C"})
    finally:
        os._exit(127)


class Listing:
    """A running iptables-save: it works in parallel with its parent until `text` is called."""

    def __init__(self) -> None:
        self._helper = save()

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *exception: object) -> None:
        self._helper.abandon()

    def text(self) -> str:
        """Return the output of iptables-save; may be called once.

        Raises MinidockError with its error message if it failed.
        """
        return self._helper.output()


def _save_sh() -> str:
    return "iptables-save > rules"


@op("iptables-save(8)", twin=_save_sh)
def save() -> _Helper:
    """Start listing all firewall rules, to see which of ours are missing.

    Without it: each start would write all rules again, or assume that the firewall has not been
    reloaded since.

    Returns the running program, which is read later.
    Raises MinidockError if it is not installed.
    """
    return _Helper("iptables-save", [])


def _restore_sh(rules: str, place: str = "") -> str:
    inside = f"nsenter --net={quote(place)} " if place else ""
    return f"{inside}iptables-restore --wait {_LOCK_SECONDS} --noflush <<'RULES'\n{rules}RULES"


@op("iptables-restore(8)", twin=_restore_sh)
def restore(rules: str, place: str = "") -> None:
    """Change the firewall, all rules of a table in one step, so that no packet sees half of them.

    Without it: no reply reaches a container, no port is published, and where dockerd forbids
    forwarding, no packet leaves the bridge.

    rules: the text form of iptables-save(8); chains that it does not name stay unchanged.
    place: the network namespace that the caller has joined, for the journal; "" for its own.
    Raises MinidockError with the error message of iptables-restore.
    """
    _Helper("iptables-restore", ["--wait", str(_LOCK_SECONDS), "--noflush"], rules).output()


def _contents(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode(errors="replace")


def find(name: str) -> str:
    for directory in (*_DIRECTORIES, *os.environ.get("PATH", "").split(":")):
        path = f"{directory}/{name}"
        if directory.startswith("/") and os.access(path, os.X_OK):
            return path
    raise MinidockError(
        f"{name} is not installed; a container's network needs it",
        hint="apt-get install iptables; or use --network host or none, which need no firewall",
    )
