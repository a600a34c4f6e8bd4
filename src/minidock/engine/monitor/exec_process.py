"""exec, on the monitor's side: convert Docker's ExecConfig to an OCI process, and start it."""

from __future__ import annotations

from minidock.engine.container.bundle import bundle_config
from minidock.engine.container.user import resolve_user
from minidock.kernel import capability, seccomp
from minidock.oci.runtime_config import process_config
from minidock.runtime import state
from minidock.runtime.exec import ExecStart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ExecConfig
    from minidock.document_types.runtime_spec import Process
    from minidock.engine.container.containers import Container


def enter(
    container: Container,
    request: ExecConfig,
    stdio: tuple[int, int, int] | None,
    *,
    size: list[int] | None,
) -> ExecStart:
    """Start a process in the monitor's container, without blocking.

    request: Docker's ExecConfig (Cmd, Env, User, WorkingDir, Tty, Privileged).
    size: [rows, columns] of the terminal.
    Raises UsageError for an unknown user, and what runtime.exec.ExecStart raises.
    """
    config = bundle_config(container)
    spec = _process(container, config["process"], request)
    if size:
        spec["consoleSize"] = {"height": size[0], "width": size[1]}
    profile = config["linux"].get("seccomp")
    return ExecStart(
        state.load(container.store.run, container.id),
        config,
        spec,
        stdio=stdio,
        filter_program=seccomp.compile(profile, container.store.seccomp) if profile else None,
    )


def _process(container: Container, first: Process, request: ExecConfig) -> Process:
    """OCI's process object: what the request leaves open is as in the container's first process."""
    user, environment = first["user"], list(first["env"])
    if request.get("User"):
        groups = container.host_config.get("GroupAdd") or []
        user, home = resolve_user(container.paths.merged, request["User"], groups)
        environment = [entry for entry in environment if not entry.startswith("HOME=")]
        environment.append(f"HOME={home}")
    asked = request.get("Env") or []
    names = {entry.partition("=")[0] for entry in asked}
    environment = [entry for entry in environment if entry.partition("=")[0] not in names] + asked
    if request.get("Tty") and not any(entry.startswith("TERM=") for entry in environment):
        environment.append("TERM=xterm")
    capabilities = first["capabilities"]["bounding"]
    if request.get("Privileged"):
        capabilities = capability.resolve([], [], privileged=True)
    spec = process_config(
        terminal=bool(request.get("Tty")),
        user=user,
        args=request["Cmd"],
        environment=environment,
        cwd=request.get("WorkingDir") or first["cwd"],
        capabilities=capabilities,
        no_new_privileges=first["noNewPrivileges"],
    )
    spec["rlimits"] = first["rlimits"]
    return spec
