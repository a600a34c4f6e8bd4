"""Request a delegated part of the cgroup tree from systemd.

Where systemd is PID 1, it owns the cgroup tree. It may rewrite the limits of its units at any time,
and disables controllers that none of them needs. It leaves alone only what is *below* a unit with
Delegate=yes; so containers are below such a unit.

    we       → systemd   StartTransientUnit(name, properties)   a unit without a file
    systemd  → we        the path of the job that starts it
    systemd  → we        JobRemoved(path, result)               "done": its cgroup exists

We use systemd's own socket, /run/systemd/private, as systemctl does when root calls it: the message
bus need not run. jeepney encodes and decodes the D-Bus messages. Its connections send Hello to a
bus, which systemd's socket does not answer, so `_Connection` sends and receives the bytes.

Sources: org.freedesktop.systemd1(5); systemd.resource-control(5) "Delegate="; systemd.service(5)
"OOMPolicy="; systemd's docs/CGROUP_DELEGATION.md; sd_booted(3).
"""

from __future__ import annotations

import os
import time
from _socket import AF_UNIX, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_STREAM, socket
from errno import ECONNRESET, ETIMEDOUT

from minidock.errors import KernelError, MinidockError, UsageError
from minidock.kernel.op import op, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jeepney import DBusErrorResponse, Message

    Property = tuple[str, str, object]  # name, D-Bus type, value

RUNNING = "/run/systemd/system"
PRIVATE_SOCKET = "/run/systemd/private"

_LIMIT_SECONDS = 30.0  # a busy systemd answers late
_OBJECT = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_EXISTS = "org.freedesktop.systemd1.UnitExists"

_UNIT_LETTERS = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\"
)  # systemd.unit(5), "Description"

MAIN_PROCESS = ["/bin/sleep", "infinity"]
"""The main process of the unit, which does nothing: systemd removes the cgroup of a unit after its
last process, and containers come and go."""

_PROPERTIES: list[Property] = [
    ("Delegate", "b", True),
    # Type=exec: the job is done once this process is executed. Before that it has yet to join the
    # cgroup, and could not if we had already enabled controllers there.
    ("Type", "s", "exec"),
    # One container that is out of memory must not stop the others.
    ("OOMPolicy", "s", "continue"),
    ("OOMScoreAdjust", "i", -900),
    ("TasksMax", "t", 2**64 - 1),
    # At shutdown, containers get SIGTERM, and this time to end.
    ("TimeoutStopUSec", "t", 10_000_000),
]


def is_running() -> bool:
    """Whether systemd is PID 1 in our PID namespace, and its socket is accessible."""
    return os.path.isdir(RUNNING) and os.path.exists(PRIVATE_SOCKET)


def _start_delegated_unit_sh(name: str, *, slice_name: str) -> str:
    words = ["systemd-run", "--quiet", f"--unit={name}", f"--slice={slice_name}"]
    words += ["--property=Delegate=yes", "--property=Type=exec"]
    words += ["--property=OOMPolicy=continue"]
    words += ["--property=OOMScoreAdjust=-900", "--property=TasksMax=infinity"]
    words += ["--property=TimeoutStopSec=10", *MAIN_PROCESS]
    return " ".join(quote(word) for word in words)


@op("systemd-run(1)", twin=_start_delegated_unit_sh)
def start_delegated_unit(name: str, *, slice_name: str) -> None:
    """Start a systemd unit with a delegated cgroup, unless it is running.

    Without it: systemd treats the whole tree as its own, and may move our processes or undo our
    settings at its next reload.

    name: such as "minidock-containers.service". slice_name: the slice that it belongs to, such as
    "minidock.slice"; systemd creates it too. Returns once the unit's cgroup exists.
    Raises KernelError if systemd does not answer, MinidockError with its message if it refuses.
    """
    from jeepney import DBusErrorResponse  # 25 ms, once a boot

    deadline = time.monotonic() + _LIMIT_SECONDS
    with _Connection(PRIVATE_SOCKET, deadline) as connection:
        try:
            job = _start(connection, name, slice_name)
        except DBusErrorResponse as refused:
            raise MinidockError(f"{_text(refused)} ({refused.name})") from None
        result = _await_job(connection, job)
    if result != "done":
        raise MinidockError(
            f"systemd has not started {name}: its job ended with {result!r}",
            hint=f"systemctl status {name}",
        )


def _start(connection: _Connection, name: str, slice_name: str) -> str:
    """Ask for the unit; returns the path of the job that starts it. Raises DBusErrorResponse."""
    from jeepney import DBusErrorResponse

    properties: list[Property] = [
        ("Description", "s", "Containers of minidock"),
        ("Slice", "s", slice_name),
        *_PROPERTIES,
        ("ExecStart", "a(sasb)", [(MAIN_PROCESS[0], MAIN_PROCESS, False)]),
    ]
    variants = [(key, (kind, value)) for key, kind, value in properties]
    try:
        (job,) = connection.call(
            "StartTransientUnit", "ssa(sv)a(sa(sv))", (name, "fail", variants, [])
        )
    except DBusErrorResponse as refused:
        if refused.name != _EXISTS:  # another run was faster, or it has a file
            raise
        (job,) = connection.call("StartUnit", "ss", (name, "replace"))
    return str(job)


def _await_job(connection: _Connection, job: str) -> str:
    """Wait until a job has ended; returns its result, "done" if all is well."""
    while True:
        _, path, _, result = connection.next_signal("JobRemoved")
        if path == job:
            return str(result)


def _text(refused: DBusErrorResponse) -> str:
    """The error message of systemd, without the error's name."""
    return str(refused.data[0]) if refused.data else "systemd refused"


class _Connection:
    """A connection to systemd's own socket. deadline: by time.monotonic(), for all of it.

    Raises KernelError if no process listens there, or does not answer in time.
    """

    def __init__(self, path: str, deadline: float) -> None:
        from jeepney import Parser
        from jeepney.auth import BEGIN, Authenticator

        self._path = path
        self._deadline = deadline
        self._parser = Parser()
        self._serial = 0
        self._signals: list[Message] = []
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            self._socket.connect(path)
            authenticator = Authenticator()  # the kernel tells systemd our uid; this names the same
            for request in authenticator:
                self._send(request)
                authenticator.feed(self._receive())
            self._send(BEGIN)
        except OSError as error:
            self.close()
            raise KernelError("connect(2)", path, error.errno or 0) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def call(self, method: str, signature: str, body: tuple[object, ...]) -> tuple[object, ...]:
        """Call a method of the manager, and return what it answers. Raises DBusErrorResponse."""
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call
        from jeepney.wrappers import unwrap_msg

        self._serial += 1
        manager = DBusAddress(_OBJECT, "org.freedesktop.systemd1", _MANAGER)
        self._send(new_method_call(manager, method, signature, body).serialise(self._serial))
        while True:
            message = self._next_message()
            if message.header.message_type == MessageType.signal:
                self._signals.append(message)  # a job may have ended before its call is answered
            elif message.header.fields.get(HeaderFields.reply_serial) == self._serial:
                answer: tuple[object, ...] = unwrap_msg(message)
                return answer

    def next_signal(self, member: str) -> tuple[object, ...]:
        """The values of the next signal of this name, among those that have come already."""
        from jeepney import HeaderFields

        while True:
            message = self._signals.pop(0) if self._signals else self._next_message()
            if message.header.fields.get(HeaderFields.member) == member:
                body: tuple[object, ...] = message.body
                return body

    def _next_message(self) -> Message:
        while (message := self._parser.get_next_message()) is None:
            self._parser.add_data(self._receive())
        return message

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._seconds_left())
            self._socket.sendall(data, MSG_NOSIGNAL)
        except OSError as error:
            raise self._lost(error) from None

    def _receive(self) -> bytes:
        try:
            self._socket.settimeout(self._seconds_left())
            data = self._socket.recv(4096)
        except OSError as error:
            raise self._lost(error) from None
        if not data:
            raise KernelError("recv(2)", self._path, ECONNRESET)
        return data

    def _seconds_left(self) -> float:
        return max(0.001, self._deadline - time.monotonic())

    def _lost(self, error: OSError) -> KernelError:
        number = ETIMEDOUT if isinstance(error, TimeoutError) else error.errno or 0
        return KernelError("recv(2)", self._path, number)


def slice_path(slice_name: str) -> str:
    """Return a slice's cgroup path: "a-b.slice" is "a.slice/a-b.slice" (systemd.slice(5)).

    Raises UsageError for a name that is not a slice's, with the text of Docker's systemd driver.
    """
    stem = slice_name.removesuffix(".slice")
    if stem == "-" and stem != slice_name:
        return ""
    parts = stem.split("-")
    if stem == slice_name or "" in parts or not _UNIT_LETTERS.issuperset(stem):
        raise UsageError(
            'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"'
        )
    return "/".join("-".join(parts[: end + 1]) + ".slice" for end in range(len(parts)))
