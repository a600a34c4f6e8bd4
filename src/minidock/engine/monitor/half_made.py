"""A process in a container that is only half made: with what its init has by now, and no more.

exec (enter.py) gives a process what the container's command has. Here there is no command yet, and
the walls are not all up: the process gets the namespaces, the user, the capabilities and the filter
that init has at this moment, so that it sees what init would see.

Source: proc(5) /proc/PID/status; capabilities(7).
"""

from __future__ import annotations

from minidock.engine.monitor.launch import bundle_config
from minidock.errors import Conflict, NotFound
from minidock.kernel import capability, seccomp
from minidock.oci.runtime_config import process_config
from minidock.runtime import state
from minidock.runtime.exec import Entered, execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.engine.container.containers import Container

_FILTERED = "2"  # SECCOMP_MODE_FILTER


def enter_half_made(
    container: Container,
    request: dict[str, Any],
    stdio: tuple[int, int, int] | None,
    *,
    size: list[int] | None,
) -> Entered:
    """Run a process beside a container's init.

    request: {"Cmd", "Tty"}. size: [rows, columns] of its terminal.
    Raises Conflict where there is no init yet, and what runtime.exec.execute raises.
    """
    known = _made_so_far(container)
    config = bundle_config(container)
    status = _status(known.pid)
    spec = process_config(
        terminal=bool(request.get("Tty")),
        user={
            "uid": int(status["Uid"].split()[1]),
            "gid": int(status["Gid"].split()[1]),
            "additionalGids": [int(gid) for gid in status["Groups"].split()],
        },
        args=request["Cmd"],
        environment=[*config["process"]["env"], "TERM=xterm", "PS1=(half-made) \\w # "],
        cwd="/",
        capabilities=capability.names_of(int(status["CapBnd"], 16)),
        no_new_privileges=status.get("NoNewPrivs") == "1",
    )
    held = capability.names_of(int(status["CapPrm"], 16))
    spec["capabilities"].update(effective=held, permitted=held)
    if size:
        spec["consoleSize"] = {"height": size[0], "width": size[1]}
    profile = config["linux"].get("seccomp") if status.get("Seccomp") == _FILTERED else None
    return execute(
        known,
        config,
        spec,
        stdio=stdio,
        filter_program=seccomp.compile(profile, container.store.seccomp) if profile else None,
    )


def _made_so_far(container: Container) -> state.State:
    try:
        known = state.load(container.store.run, container.id)
    except NotFound:
        known = None
    if known is None or not known.pid:
        raise Conflict(
            "the container has no process yet: there is no inside",
            hint="go on until namespace.clone_process is done",
        )
    return known


def _status(pid: int) -> dict[str, str]:
    """/proc/PID/status, by its names."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        lines = file.read().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
