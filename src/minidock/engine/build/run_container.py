"""RUN: run a command in an ordinary container on top of the layers so far.

The container is created and started as by `run`, with the build attached to it: `ps` lists it, and
its network is the default bridge. Its upperdir lies in the build's entry of staging/, and stays
when the monitor removes the container. If the build is killed, the monitor sees the connection
close, kills the container and removes it.

Sources: docs.docker.com/reference/dockerfile "RUN"; BuildKit's environment of a command.
"""

from __future__ import annotations

import os

from minidock.engine.build import run_mounts
from minidock.engine.build.run_step import PROXIES, Cancelled, CommandFailed
from minidock.engine.build.stubs import missing_mount_points, remove_stubs
from minidock.engine.container.create import BuildBase, create
from minidock.engine.lifecycle.remove import remove
from minidock.engine.lifecycle.start import send_launch
from minidock.engine.monitor.attach import Attachment, MonitorConnection
from minidock.errors import CommandNotFound, CommandNotRunnable, MinidockError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from minidock.document_types.container import CreateBody
    from minidock.document_types.host_config import HostConfig
    from minidock.engine.build.options import Options
    from minidock.engine.build.run_mount_flag import Mount
    from minidock.engine.build.run_step import Command, RunningCommands
    from minidock.engine.build.stage_state import State
    from minidock.engine.build.step_layer import StepOverlay
    from minidock.engine.container.containers import Container
    from minidock.paths import Store

HOSTNAME = "buildkitsandbox"


def run(
    store: Store,
    options: Options,
    state: State,
    command: Command,
    mounts: list[Mount],
    overlay: StepOverlay,
    *,
    home: str,
    running: RunningCommands,
    output: Callable[[bytes], None],
) -> None:
    """Run a command on the layers so far; its changes go to the upperdir of `overlay`.

    home: the build's entry of staging/. mounts: prepared by StepSources.prepare_mounts.
    Raises CommandFailed, Cancelled, and the errors of create and start.
    """
    mount_points = _missing_mount_points(options, mounts, overlay)
    step = BuildBase(
        state.base_id,
        overlay.lowers or [_empty_lower(overlay)],
        overlay.upper,
        overlay.workdir,
        home,
    )
    container = create(store, _body(options, state, command, mounts), name=None, step=step)
    try:
        run_mounts.mount_all(container, mounts)
        code = _start_and_wait(container, running, output)
    except (CommandNotFound, CommandNotRunnable) as error:
        _discard(store, container.id)
        output(f"{error}\n".encode())
        code = error.exit_code
    except BaseException:
        _discard(store, container.id)
        raise
    remove_stubs(overlay.upper, mount_points)
    if code:
        shown = " ".join(command.arguments)
        raise CommandFailed(f'process "{shown}" did not complete successfully: exit code: {code}')


def _missing_mount_points(options: Options, mounts: list[Mount], overlay: StepOverlay) -> list[str]:
    """The mount points that the start of the container will make."""
    targets = [mount.target for mount in mounts]
    targets += [bind.split(":")[1] for bind in options.binds]
    if not targets:
        return []
    root = overlay.open()
    try:
        return missing_mount_points(root, targets)
    finally:
        os.close(root)


def _empty_lower(overlay: StepOverlay) -> str:
    path = f"{overlay.path}/nothing"
    os.makedirs(path, exist_ok=True)
    return path


def _body(options: Options, state: State, command: Command, mounts: list[Mount]) -> CreateBody:
    """The ContainerCreate body of a RUN step."""
    host: HostConfig = {
        "AutoRemove": True,
        "NetworkMode": command.network,
        "ExtraHosts": options.extra_hosts or None,
        "Binds": options.binds or None,
        "LogConfig": {"Type": "none"},
        "CgroupParent": options.cgroup_parent,
        "Ulimits": options.ulimits,
        **run_mounts.host_config(mounts),
    }
    if options.shm_size_bytes:
        host["ShmSize"] = options.shm_size_bytes
    return {
        "Image": state.base_name,
        "Hostname": "" if command.network == "host" else HOSTNAME,
        "Entrypoint": [""],
        "Cmd": command.arguments,
        "Env": ["HOSTNAME", *state.environment, *proxies(options)],
        "User": state.config.get("User") or "",
        "WorkingDir": state.working_directory,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": host,
    }


def proxies(options: Options) -> list[str]:
    """The proxy variables of --build-arg: set for every RUN, absent from history and cache keys."""
    return [
        f"{name}={value}" for name, value in options.build_args.items() if name.upper() in PROXIES
    ]


def _start_and_wait(
    container: Container, running: RunningCommands, output: Callable[[bytes], None]
) -> int:
    """Start a container, pass its output on, wait for its end; returns its exit code."""
    socket = send_launch(container, Attachment(stdin=False))
    running.add(socket)
    try:
        return _OutputReader(socket, output).wait_until_end()
    except MinidockError:
        if running.cancelled:
            raise Cancelled("cancelled") from None
        raise
    finally:
        running.remove(socket)


class _OutputReader(MonitorConnection):
    """The client of a RUN step's monitor: no stdin, and output passed to a callback."""

    def __init__(self, socket: _socket.socket, output: Callable[[bytes], None]) -> None:
        super().__init__(socket, None, terminal=False)
        self._output = output

    def write_output(self, stream: int, data: bytes) -> None:
        del stream
        self._output(data)

    def wait_until_end(self) -> int:
        """Wait for the container's start and its end; returns its exit code."""
        self.wait_until_started()
        return self.wait_until_ended()


def _discard(store: Store, container_id: str) -> None:
    """Remove a step's container that failed to start or was cancelled."""
    try:
        remove(store, container_id, force=True, volumes=True)
    except NotFound:
        pass
