"""Request a delegated part of the cgroup tree from systemd.

Where systemd is PID 1, it owns the cgroup tree. It may rewrite the limits of its units at any time,
and disables controllers that none of them needs. It leaves alone only what is *below* a unit with
Delegate=yes; so containers are below such a unit.

    we       → systemd   StartTransientUnit(name, properties)   a unit without a file
    systemd  → we        the path of the job that starts it
    systemd  → we        JobRemoved(path, result)               "done": its cgroup exists

We use systemd's own socket, /run/systemd/private, as systemctl does when root calls it: the message
bus need not run.

Sources: org.freedesktop.systemd1(5); systemd.resource-control(5) "Delegate="; systemd.service(5)
"OOMPolicy="; systemd's docs/CGROUP_DELEGATION.md; sd_booted(3).
"""

from __future__ import annotations

import os

from minidock.errors import MinidockError, UsageError
from minidock.kernel.op import op, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.kernel.dbus import Connection, Value

    Property = tuple[str, str, Value]  # name, D-Bus type, value

RUNNING = "/run/systemd/system"
PRIVATE_SOCKET = "/run/systemd/private"

_PATIENCE_SECONDS = 30.0  # a busy systemd answers late
_OBJECT = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_EXISTS = "org.freedesktop.systemd1.UnitExists"

_UNIT_LETTERS = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\"
)  # systemd.unit(5), "Description"

KEEPER = ["/bin/sleep", "infinity"]
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
    words += ["--property=TimeoutStopSec=10", *KEEPER]
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
    from minidock.kernel.dbus import Connection  # once a boot

    connection = Connection(PRIVATE_SOCKET, timeout_seconds=_PATIENCE_SECONDS)
    try:
        result = _await_job(connection, _start(connection, name, slice_name))
    finally:
        connection.close()
    if result != "done":
        raise MinidockError(
            f"systemd has not started {name}: its job ended with {result!r}",
            hint=f"systemctl status {name}",
        )


def _start(connection: Connection, name: str, slice_name: str) -> str:
    """Request the unit; returns the path of the job that starts it."""
    from minidock.kernel.dbus import Refused

    properties: list[Property] = [
        ("Description", "s", "Containers of minidock"),
        ("Slice", "s", slice_name),
        *_PROPERTIES,
        ("ExecStart", "a(sasb)", [(KEEPER[0], KEEPER, False)]),
    ]
    variants = [(key, (kind, value)) for key, kind, value in properties]
    try:
        (job,) = connection.call(
            _OBJECT, f"{_MANAGER}.StartTransientUnit", "ssa(sv)a(sa(sv))",
            [name, "fail", variants, []],
        )  # fmt: skip
    except Refused as refused:
        if refused.name != _EXISTS:  # a concurrent run was faster, or it has a file
            raise
        (job,) = connection.call(_OBJECT, f"{_MANAGER}.StartUnit", "ss", [name, "replace"])
    return str(job)


def _await_job(connection: Connection, job: str) -> str:
    """Wait until a job has ended; returns its result, "done" on success."""
    for _, path, _, result in connection.signals("JobRemoved"):
        if path == job:
            return str(result)
    raise AssertionError("signals() has no end")


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
