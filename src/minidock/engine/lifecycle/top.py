"""top: a container's processes, as the host's ps sees them."""

from __future__ import annotations

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.events import emit_container
from minidock.engine.lifecycle.running import running
from minidock.errors import Conflict
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store


def top(store: Store, reference: str, ps_arguments: list[str]) -> tuple[list[str], list[list[str]]]:
    """The host's ps of a container's processes: column titles, and a row each.

    Raises Conflict where it does not run, or ps refuses its arguments.
    """
    import subprocess  # off the hot path: top is ps's own output anyway

    container = running(store, reference)
    pids = set(cgroup_of(store, container.id).pids())
    arguments = ps_arguments or ["-ef"]
    done = subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Conflict(f"ps: {done.stderr.strip() or done.stdout.strip()}")
    titles, *lines = done.stdout.splitlines()
    emit_container(container, "top")
    columns = titles.split()
    if "PID" not in columns:
        raise Conflict(
            "Couldn't find PID field in ps output", hint="ask ps for the pid: -o pid,cmd"
        )
    at = columns.index("PID")
    rows = []
    for line in lines:
        fields = line.split(None, len(columns) - 1)
        if len(fields) > at and is_decimal(fields[at]) and int(fields[at]) in pids:
            rows.append(fields)
    return columns, rows
