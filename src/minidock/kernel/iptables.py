"""The firewall: iptables' two batch programs, one process for any number of rules.

    iptables-save                      every table as text
    iptables-restore --noflush         the tables named in a text, each changed in one atomic step

The programs come in two kinds, for the kernel's old tables ("legacy") and for nftables ("nft");
they read and write the same text, and the machine's `iptables` alternative is the one that Docker
uses too. Which rules there are is engine/network/firewall.py's.

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
_LIMIT_SECONDS = 60  # how long a program may take that has the lock
_LOCK_SECONDS = 10  # how long to wait for another program that holds the legacy tables' lock
# What a well-behaved parent gives its child: no signal blocked, and none ignored by inheritance.
_ALL_SIGNALS = [number for number in range(1, 32) if number not in (9, 19)]


class TooSlow(MinidockError):
    """A program did not end within its limit, and was ended."""


class _Helper:
    """A program with its input, output and complaints in memory files, so that none can block.

    It ends with this process: a stopped one that went on later would change the firewall behind
    the back of whoever has repaired what a killed process had left.
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
            # No signal's handler may run in the child: it would unwind our own stack there.
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
        """What the program wrote, once it has ended.

        Raises MinidockError where it did not end well.
        """
        try:
            status = self._await_end()
            if self._late:
                raise TooSlow(
                    f"{self._name} did not end within {_LIMIT_SECONDS:g} s, and was killed",
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
        """Its wait status. One that takes longer than any lock of the kernel's is ended: somebody
        may have stopped it (SIGSTOP), and a monitor has more to do than to wait for it."""
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
        """Do without the output, and leave neither a zombie nor an open file."""
        if self._pid:
            self._await_end()
            self._close()

    def _close(self) -> None:
        self._pid = 0
        for descriptor in (self._input, self._output, self._errors):
            os.close(descriptor)


def _become(path: str, argv: list[str], files: list[int], parent: int) -> NoReturn:
    """What the child does: it becomes the program. posix_spawn(3) cannot tie it to its parent."""
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
    """iptables-save, started: it runs beside what its parent does until `text` asks for it."""

    def __init__(self) -> None:
        self._helper = save()

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *exception: object) -> None:
        self._helper.abandon()

    def text(self) -> str:
        """What iptables-save printed; may be asked for once.

        Raises MinidockError where it failed, with what it said.
        """
        return self._helper.output()


def _save_sh() -> str:
    return "iptables-save > rules"


@op("iptables-save(8)", twin=_save_sh)
def save() -> _Helper:
    """Ask for all rules of the firewall, to see which of ours are missing; the answer comes later.

    Without it: each start would write all rules again, or trust that nobody has reloaded the
    firewall since.

    Returns the running program.
    Raises MinidockError where it is not installed.
    """
    return _Helper("iptables-save", [])


def _restore_sh(rules: str, place: str = "") -> str:
    inside = f"nsenter --net={quote(place)} " if place else ""
    return f"{inside}iptables-restore --wait {_LOCK_SECONDS} --noflush <<'RULES'\n{rules}RULES"


@op("iptables-restore(8)", twin=_restore_sh)
def restore(rules: str, place: str = "") -> None:
    """Change the firewall, all rules of a table in one step, so that no packet sees half of them.

    Without it: no answer finds the way back to a container, no port is published, and where dockerd
    forbids forwarding, no packet leaves the bridge.

    rules: the text form of iptables-save(8); chains that it does not name stay as they are.
    place: the network namespace that the caller has entered, for the journal; "" for its own.
    Raises MinidockError with what iptables-restore said.
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
        hint="apt-get install iptables; or do without a network of its own: --network host, none",
    )
