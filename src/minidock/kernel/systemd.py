"""systemd, asked for a piece of the cgroup tree that we may divide as we like.

Where systemd is PID 1 the cgroup tree is its own. It writes the limits of its units again whenever
it likes, and takes controllers back that none of them needs. What it promises to leave alone is
what lies *below* a unit with Delegate=yes; so containers live below such a unit.

    we       → systemd   StartTransientUnit(name, properties)   a unit that has no file
    systemd  → we        the path of the job that starts it
    systemd  → we        JobRemoved(path, result)               "done": its cgroup is there

We speak to systemd's own socket, /run/systemd/private, as systemctl does when root calls it: the
message bus need not run, or not yet.

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
"""What runs in the unit, and does nothing: systemd takes the cgroup of a unit away with its last
process, and containers come and go."""

_PROPERTIES: list[Property] = [
    ("Delegate", "b", True),
    # The job is done once the keeper is executed: until then it has still to enter the cgroup, and
    # could not if controllers were handed down there by us already.
    ("Type", "s", "exec"),
    # One container's want of memory is no reason to stop the others.
    ("OOMPolicy", "s", "continue"),
    ("OOMScoreAdjust", "i", -900),
    ("TasksMax", "t", 2**64 - 1),
    # At a shutdown containers get the signal by which they are asked to end, and this long for it.
    ("TimeoutStopUSec", "t", 10_000_000),
]


def is_running() -> bool:
    """Whether systemd is PID 1 of what we see, and we may speak to it."""
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
    """Have systemd make a unit whose cgroup is ours to divide; one that runs already will do.

    Without it: systemd takes the whole tree for its own, and may move our processes or undo our
    settings at its next reload.

    name: such as "minidock-containers.service". slice_name: the slice that it belongs to, such as
    "minidock.slice"; systemd makes it too. Returns once the unit's cgroup is there.
    Raises KernelError where systemd does not answer, MinidockError with its words where it refuses.
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
    """Ask for the unit; returns the path of the job that starts it."""
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
        if refused.name != _EXISTS:  # another run was faster, or it has a file
            raise
        (job,) = connection.call(_OBJECT, f"{_MANAGER}.StartUnit", "ss", [name, "replace"])
    return str(job)


def _await_job(connection: Connection, job: str) -> str:
    """Wait until a job has ended; returns its result, "done" if all is well."""
    for _, path, _, result in connection.signals("JobRemoved"):
        if path == job:
            return str(result)
    raise AssertionError("signals() has no end")


def slice_path(slice_name: str) -> str:
    """A slice's place in the cgroup tree: "a-b.slice" is "a.slice/a-b.slice" (systemd.slice(5)).

    Raises UsageError for a name that is no slice's, in the words of Docker's systemd driver.
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
