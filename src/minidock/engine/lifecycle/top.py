"""top: a container's processes, as the host's ps sees them."""

from __future__ import annotations

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.events import emit_container
from minidock.engine.lifecycle.running import find_running
from minidock.errors import Conflict
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store


def top(store: Store, reference: str, ps_arguments: list[str]) -> tuple[list[str], list[list[str]]]:
    """List a container's processes by the host's ps: column titles and rows.

    Raises Conflict if it does not run, or ps rejects its arguments.
    """
    import subprocess  # seldom needed

    container = find_running(store, reference)
    pids = set(cgroup_of(store, container.id).pids())
    arguments = ps_arguments or ["-ef"]
    result = subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Conflict(f"ps: {result.stderr.strip() or result.stdout.strip()}")
    titles, *lines = result.stdout.splitlines()
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
