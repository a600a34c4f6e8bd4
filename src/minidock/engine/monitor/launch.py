"""Launching: a stopped container becomes a running one. This is the screen to project.

It runs in the container's monitor, which holds all that is made here until the container ends.
If a step fails, `take_down` unmakes whatever the steps before it made; the same function ends each
normal run, and repairs after a crash.
"""

from __future__ import annotations

import os

from minidock import jsontext
from minidock.engine.container.bundle import write_bundle
from minidock.engine.container.containers import Container
from minidock.engine.container.mounts import (
    fill_volumes,
    hold_volumes,
    make_bind_sources,
    reach_subpaths,
)
from minidock.engine.container.network_files import write_network_files
from minidock.engine.container.overlay_directories import layers_of
from minidock.engine.container.teardown import take_down
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
    """A running container, as its monitor holds it.

    runtime: its init and terminal. wiring: its networks, and the host's ports that lead to it.
    """

    def __init__(self, runtime: lifecycle.Container, wiring: NetworkSandbox) -> None:
        self.runtime = runtime
        self.wiring = wiring

    def let_go(self) -> None:
        """Close what is held of a run that has ended: others may have its ports until the next."""
        os.close(self.runtime.pidfd)
        self.wiring.let_go()


def launch(
    container: Container,
    stdio: tuple[int, int, int] | None,
    look_on: Callable[[lifecycle.Container], None] | None = None,
) -> RunResources:
    """Start a container: its layers, its bundle, its namespaces, its network, its command.

    stdio: the command's ends of its pipes; None for a terminal, which is made inside. look_on: is
    called when all is made, and only the command is missing.
    Raises MinidockError of many kinds; nothing of the run is left then.
    """
    store = container.store
    with JoinTargets(container) as joined, UndoOnError() as undo:
        undo.callback(_unmake, container)
        wiring = NetworkSandbox(container)
        wiring.hold_ports()
        addresses = wiring.reserve()
        mount_layers(container)
        write_network_files(container, addresses, network=wiring.gateway_network)
        write_bundle(container)
        created = lifecycle.create(
            container.paths.bundle,
            container.id,
            root=store.run,
            stdio=stdio,
            filter_cache=store.seccomp,
        )
        joined.require_alive()
        wiring.connect(created.pid)
        if look_on is not None:
            look_on(created)
        lifecycle.start(created.state)
        created.await_exec()
    return RunResources(created, wiring)


def _unmake(container: Container) -> None:
    """Take down what was made; a lock that the launch has waited for is not waited for again."""
    with flock.limits(stopped=1, busy=20):
        take_down(container.store, container.id)


def mount_layers(container: Container) -> None:
    """Mount the image's layers and the container's own on top, as one tree."""
    paths = container.paths
    if container.host_config.get("StorageOpt"):
        from minidock.engine.container.quota import mount_space

        mount_space(container)
    make_bind_sources(container.document)
    hold_volumes(container)
    reach_subpaths(container)
    layers, upper, work = layers_of(container)
    mount_overlay(list(reversed(layers)), upper, work, paths.merged)
    fill_volumes(container.store, container.document, paths.merged)
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
