"""`exec` in an unfinished container, for `run --step`: a process beside init, before its command.

The process gets init's namespaces, root and working directory as they are at this moment, so that
it sees what init sees. Its privileges depend on where its program comes from:

| init's root | the program is | it runs as |
|---|---|---|
| the host's, until pivot_root(2) | the host's, found by the host's PATH | init: root |
| the image's, and init has more privileges than the command will have | the image's | nobody |
| the image's, and init has dropped its extra privileges | the image's | init |

The image is not trusted: its `sh` must not run as root while the host's tree is stacked on the new
root (reachable by "/..", until it is unmounted), nor while /proc/sys is writable and no capability
is dropped.

Source: proc(5) /proc/PID/status; capabilities(7); pivot_root(2).
"""

from __future__ import annotations

import os

from minidock.engine.container.bundle import bundle_config
from minidock.errors import Conflict, NotFound
from minidock.kernel import capability, seccomp
from minidock.kernel.mountinfo import mount_table
from minidock.oci.runtime_config import process_config
from minidock.runtime import state
from minidock.runtime.exec import ExecStart
from minidock.runtime.process_config import DEFAULT_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ExecConfig
    from minidock.document_types.runtime_spec import Process, RuntimeConfig, Seccomp, User
    from minidock.engine.container.containers import Container

_FILTERED = "2"  # SECCOMP_MODE_FILTER
_NOBODY = 65534  # the kernel's overflow uid and gid: owner of nothing


def start_step_exec(
    container: Container,
    request: ExecConfig,
    stdio: tuple[int, int, int] | None,
    *,
    size: list[int] | None,
) -> ExecStart:
    """Start a process beside a container's init, without blocking.

    request: {"Cmd", "Tty"}. size: [rows, columns] of its terminal.
    Raises Conflict if init does not exist yet, and what runtime.exec.ExecStart raises.
    """
    known = _load_state(container)
    config = bundle_config(container)
    spec, profile = _process_beside_init(known.pid, config, request)
    if size:
        spec["consoleSize"] = {"height": size[0], "width": size[1]}
    return ExecStart(
        known,
        config,
        spec,
        stdio=stdio,
        filter_program=seccomp.compile(profile, container.store.seccomp) if profile else None,
        beside_init=True,
    )


def _process_beside_init(
    pid: int, config: RuntimeConfig, request: ExecConfig
) -> tuple[Process, Seccomp | None]:
    """OCI's process object with the privileges of the table above, and its seccomp profile."""
    status = _status(pid)
    profile = config["linux"].get("seccomp")
    user, permitted = _as_init(status), _names(status["CapPrm"])
    environment = config["process"]["env"]
    bounding, no_new_privileges = _names(status["CapBnd"]), status.get("NoNewPrivs") == "1"
    if has_root_of_host(pid):
        environment = [f"PATH={DEFAULT_PATH}"]  # the image's PATH does not fit the host
        profile = None
    elif not _has_given_up(pid, status, config):
        user, permitted, bounding = {"uid": _NOBODY, "gid": _NOBODY, "additionalGids": []}, [], []
        no_new_privileges = True  # no setuid program either
    spec = process_config(
        terminal=bool(request.get("Tty")),
        user=user,
        args=request["Cmd"],
        environment=[*environment, "TERM=xterm", "PS1=(half-made) \\w # "],
        cwd=".",
        capabilities=bounding,
        no_new_privileges=no_new_privileges,
    )
    spec["capabilities"].update({"effective": permitted, "permitted": permitted})
    return spec, profile


def has_root_of_host(pid: int) -> bool:
    """Whether a process's root is the host's, as init's is until pivot_root(2) or chroot(2)."""
    return os.path.samestat(os.stat(f"/proc/{pid}/root/"), os.stat("/"))


def has_host_on_root(pid: int) -> bool:
    """Whether the host's tree is stacked on a process's root, where "/.." leads.

    That is so between pivot_root(".", ".") and umount2(2).
    """
    return sum(line.split(" ", 5)[4] == "/" for line in mount_table(pid)) > 1


def runs_as_nobody(container: Container, pid: int) -> bool:
    """Whether a process beside this init would run without privileges."""
    if has_root_of_host(pid):
        return False
    return not _has_given_up(pid, _status(pid), bundle_config(container))


def _has_given_up(pid: int, status: dict[str, str], config: RuntimeConfig) -> bool:
    """Whether init has no more privileges than the container's command will have."""
    allowed = config["process"]["capabilities"]["bounding"]
    filtered = status.get("Seccomp") == _FILTERED or not config["linux"].get("seccomp")
    return filtered and not has_host_on_root(pid) and set(_names(status["CapBnd"])) <= set(allowed)


def _as_init(status: dict[str, str]) -> User:
    """Init's user, as OCI's "user"."""
    return {
        "uid": int(status["Uid"].split()[1]),
        "gid": int(status["Gid"].split()[1]),
        "additionalGids": [int(gid) for gid in status["Groups"].split()],
    }


def _names(capabilities: str) -> list[str]:
    return capability.names_of(int(capabilities, 16))


def _load_state(container: Container) -> state.State:
    try:
        known = state.load(container.store.run, container.id)
    except NotFound:
        known = None
    if known is None or not known.pid:
        raise Conflict(
            "the container has no process yet",
            hint="continue until namespace.clone_process is done",
        )
    if not os.path.exists(f"/proc/{known.pid}/root"):  # as for a zombie
        raise Conflict("the container's process has ended")
    return known


def _status(pid: int) -> dict[str, str]:
    """Read /proc/PID/status."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        lines = file.read().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
