"""Launch: start a stopped container. Project this module in a lecture.

It runs in the container's monitor, which holds the results until the run ends. If a step fails,
`tear_down` releases what the steps before it created; the same function ends each normal run, and
repairs after a crash.
"""

from __future__ import annotations

import os

from minidock import jsontext
from minidock.engine.container.bundle import write_bundle
from minidock.engine.container.containers import Container
from minidock.engine.container.mounts import (
    bind_subpaths,
    make_bind_sources,
    mount_volumes,
    populate_volumes,
)
from minidock.engine.container.network_files import write_network_files
from minidock.engine.container.overlay_directories import layers_of
from minidock.engine.container.teardown import tear_down
from minidock.engine.monitor.joined_namespaces import JoinTargets
from minidock.engine.monitor.networking import NetworkSandbox
from minidock.engine.store.timestamps import NEVER, timestamp
from minidock.kernel import flock
from minidock.kernel.mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount_filesystem
from minidock.kernel.overlay import mount_overlay
from minidock.oci.runtime_config import DEFAULT_SHM_BYTES
from minidock.runtime import lifecycle
from minidock.undo import UndoOnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


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
    """Start a container: its layers, its bundle, its namespaces, its network, its command.

    stdio: the command's ends of its pipes; None for a terminal, which init opens. inspect: called
    just before the command starts.
    Raises MinidockError; everything is undone then.
    """
    store = container.store
    with JoinTargets(container) as joined, UndoOnError() as undo:
        undo.callback(_undo_launch, container)
        network = NetworkSandbox(container)
        network.hold_ports()
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
        joined.require_alive()
        network.connect(created.pid)
        if inspect is not None:
            inspect(created)
        lifecycle.start(created.state)
        created.await_exec()
    return RunResources(created, network)


def _undo_launch(container: Container) -> None:
    """Undo the launch, with a short limit for locks."""
    with flock.limits(stopped=1, busy=20):
        tear_down(container.store, container.id)


def mount_layers(container: Container) -> None:
    """Mount the image's layers and the container's own on top, as one tree."""
    paths = container.paths
    if container.host_config.get("StorageOpt"):
        from minidock.engine.container.quota import mount_quota_disk

        mount_quota_disk(container)
    make_bind_sources(container.document)
    mount_volumes(container)
    bind_subpaths(container)
    layers, upper, work = layers_of(container)
    mount_overlay(list(reversed(layers)), upper, work, paths.merged)
    populate_volumes(container.store, container.document, paths.merged)
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


def set_running(container: Container, pid: int) -> None:
    """Have the document say that it runs; `save_running` writes it down."""
    container.state.update(
        Status="running", Running=True, Paused=False, Restarting=False, Pid=pid,
        ExitCode=0, Error="", OOMKilled=False,
        StartedAt=timestamp(), FinishedAt=container.state["FinishedAt"] or NEVER,
    )  # fmt: skip
    checks = (container.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if checks[0] != "NONE":
        known = container.state.get("Health") or {"Log": []}
        container.state["Health"] = {**known, "Status": "starting", "FailingStreak": 0}


def save_running(container: Container) -> None:
    """Write down that it runs."""
    with container.editing():
        container.take_over_edits()  # a rename or update while it was launched
        container.save()


def bundle_config(container: Container) -> dict[str, Any]:
    """The config.json of the container's last start."""
    with open(container.paths.config, encoding="utf-8") as file:
        return jsontext.loads(file.read())  # type: ignore[no-any-return]
