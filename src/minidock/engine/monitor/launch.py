"""Launch: start a stopped container. Project this module in a lecture.

It runs in the container's monitor, which holds the results until the run ends. If a step fails,
`tear_down` releases what the steps before it created; the same function ends each normal run, and
repairs after a crash.
"""

from __future__ import annotations

import os

from minidock.engine.container.bundle import write_bundle
from minidock.engine.container.containers import Container
from minidock.engine.container.mounts import bind_subpaths, make_bind_sources, mount_volumes
from minidock.engine.container.network_files import write_network_files
from minidock.engine.container.own_layer import layers_of, mount_own_layer
from minidock.engine.container.populate_volumes import populate_volumes
from minidock.engine.container.teardown import tear_down
from minidock.engine.monitor.joined_namespaces import JoinTargets
from minidock.engine.monitor.networking import NetworkSandbox
from minidock.kernel import flock
from minidock.kernel.mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount_filesystem
from minidock.kernel.overlay import mount_overlay
from minidock.oci.runtime_config import DEFAULT_SHM_BYTES
from minidock.runtime import lifecycle
from minidock.undo import UndoOnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class RunResources:
    """What the monitor holds of a running container.

    runtime: init and the terminal. network: the network sandbox with the published ports.
    """

    def __init__(self, runtime: lifecycle.Container, network: NetworkSandbox) -> None:
        self.runtime = runtime
        self.network = network

    def release(self) -> None:
        """Close the pidfd and the published ports after a run."""
        os.close(self.runtime.pidfd)
        self.network.release()


def launch(
    container: Container,
    stdio: tuple[int, int, int] | None,
    inspect: Callable[[lifecycle.Container], None] | None = None,
) -> RunResources:
    """Start a container: ports, layers, bundle, namespaces, network, command, in this order.

    stdio: the command's ends of its pipes; None for a terminal, which init opens. inspect: called
    just before the command starts.
    Raises MinidockError; everything is undone then.
    """
    store = container.store
    with JoinTargets(container) as joined, UndoOnError() as undo:
        undo.callback(_undo_launch, container)
        network = NetworkSandbox(container)
        network.hold_ports()  # first: a port in use fails before anything is mounted
        addresses = network.reserve()
        mount_layers(container)
        write_network_files(container, addresses, network=network.gateway_network)
        write_bundle(container)
        created = lifecycle.create(
            container.paths.bundle,
            container.id,
            root=store.run,
            stdio=stdio,
            filter_cache=store.seccomp,
        )
        # Here init waits in its namespaces, isolated; the command does not run yet.
        joined.require_alive()
        network.connect(created.pid)
        if inspect is not None:
            inspect(created)
        lifecycle.start(created.state)
        created.await_exec()  # raises init's error if the command cannot be executed
    return RunResources(created, network)


def _undo_launch(container: Container) -> None:
    """Undo the launch; wait 1 s for a lock whose holder is stopped, 20 s for any other."""
    with flock.limits(stopped=1, busy=20):
        tear_down(container.store, container.id)


def mount_layers(container: Container) -> None:
    """Mount the image's layers and the container's own on top, as one tree."""
    mount_own_layer(container)
    make_bind_sources(container.document)
    mount_volumes(container)
    bind_subpaths(container)
    layers, upper, work = layers_of(container)
    mount_overlay(list(reversed(layers)), upper, work, container.paths.merged)
    populate_volumes(container.store, container.document, container.paths.merged)
    if container.host_config.get("IpcMode") == "shareable":
        keep_shared_memory(container)


def keep_shared_memory(container: Container) -> None:
    """Mount the container's /dev/shm where containers that join its IPC namespace get it too."""
    os.makedirs(container.paths.shm, exist_ok=True)
    size = container.host_config.get("ShmSize") or DEFAULT_SHM_BYTES
    mount_filesystem(
        "shm", container.paths.home, "/shm", "tmpfs",
        flags=MS_NOSUID | MS_NODEV | MS_NOEXEC, data=f"mode=1777,size={size}",
    )  # fmt: skip
