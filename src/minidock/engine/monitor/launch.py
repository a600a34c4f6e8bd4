"""Launching: a stopped container becomes a running one. This is the screen to project.

It runs in the container's monitor, which holds all that is made here until the container ends.
If a step fails, `take_down` unmakes whatever the steps before it made; the same function ends each
normal run, and repairs after a crash.
"""

from __future__ import annotations

import os

from minidock import jsontext
from minidock.engine.clock import NEVER, timestamp
from minidock.engine.container.bundle import write_bundle
from minidock.engine.container.containers import Container
from minidock.engine.container.layers import layers_of
from minidock.engine.container.mounts import fill_volumes, make_bind_sources
from minidock.engine.monitor.teardown import take_down
from minidock.engine.network import networks, ports
from minidock.engine.network.netfiles import write_network_files
from minidock.kernel.mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount_filesystem
from minidock.kernel.overlay import mount_overlay
from minidock.oci.runtime_config import DEFAULT_SHM_BYTES
from minidock.runtime import lifecycle
from minidock.undo import UndoOnError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Launched:
    """A running container, as its monitor holds it.

    runtime: its init and terminal. ports: the host's ports, held as long as it runs.
    """

    def __init__(self, runtime: lifecycle.Container, held: list[ports.Published]) -> None:
        self.runtime = runtime
        self.ports = held

    def let_go(self) -> None:
        """Close what is held of a run that has ended: others may have its ports until the next."""
        os.close(self.runtime.pidfd)
        for port in self.ports:
            port.close()


def launch(container: Container, stdio: tuple[int, int, int] | None) -> Launched:
    """Start a container: its layers, its bundle, its namespaces, its network, its command.

    stdio: the command's ends of its pipes; None for a terminal, which is made inside.
    Raises MinidockError of many kinds; nothing of the run is left then.
    """
    store = container.store
    with UndoOnError() as undo:
        undo.callback(take_down, store, container.id)
        held = hold_ports(container)
        address = reserve_address(container)
        mount_layers(container)
        write_network_files(container, address)
        write_bundle(container)
        created = lifecycle.create(
            container.paths.bundle,
            container.id,
            root=store.run,
            stdio=stdio,
            filter_cache=store.seccomp,
        )
        connect_network(container, created.pid, held)
        lifecycle.start(created.state)
        created.await_exec()
        note_running(container, created.pid)
    return Launched(created, held)


def hold_ports(container: Container) -> list[ports.Published]:
    """Take the host's ports before anything is made: a second server shall not get them."""
    host = container.host_config
    wanted = ports.requests(
        host.get("PortBindings") or {},
        list(container.config.get("ExposedPorts") or {}),
        publish_all=bool(host.get("PublishAllPorts")),
    )
    if networks.mode(host.get("NetworkMode") or "").kind != "bridge":
        return []  # such a container has no address of its own that a port could lead to
    return ports.bind(wanted, store=container.store)


def reserve_address(container: Container) -> str:
    """An address of the container's network, which nobody else gets until it is released."""
    if networks.mode(container.host_config.get("NetworkMode") or "").kind != "bridge":
        return ""
    return networks.reserve(container.store, container.id)


def mount_layers(container: Container) -> None:
    """Mount the image's layers and the container's own on top, as one tree."""
    paths = container.paths
    make_bind_sources(container.document)
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


def connect_network(container: Container, pid: int, held: list[ports.Published]) -> None:
    """Give the container's network namespace its end of a cable to the bridge."""
    settings, config = container.document["NetworkSettings"], container.config
    kind = networks.mode(container.host_config.get("NetworkMode") or "").kind
    if kind == "bridge":
        endpoint = networks.connect(
            container.store,
            container.id,
            netns_pid=pid,
            mac=config.get("MacAddress") or None,
            publish=ports.forwarded(held),
        )
        for key in ("IPAddress", "IPPrefixLen", "Gateway", "MacAddress", "EndpointID"):
            settings[key] = endpoint[key]
        settings["Networks"] = {"bridge": endpoint}
        settings["Ports"] = ports.port_map(held, list(config.get("ExposedPorts") or {}))
    elif kind == "none":
        networks.set_loopback_up(pid)
    if kind in ("host", "none"):
        settings["Networks"] = {kind: networks.bare_endpoint(container.store, kind)}
    settings["SandboxKey"] = f"/proc/{pid}/ns/net"


def note_running(container: Container, pid: int) -> None:
    """Write down that it runs."""
    container.state.update(
        Status="running", Running=True, Paused=False, Restarting=False, Pid=pid,
        ExitCode=0, Error="", OOMKilled=False,
        StartedAt=timestamp(), FinishedAt=container.state["FinishedAt"] or NEVER,
    )  # fmt: skip
    checks = (container.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if checks[0] != "NONE":
        known = container.state.get("Health") or {"Log": []}
        container.state["Health"] = {**known, "Status": "starting", "FailingStreak": 0}
    container.save()


def bundle_config(container: Container) -> dict[str, Any]:
    """The config.json of the container's last start."""
    with open(container.paths.config, encoding="utf-8") as file:
        return jsontext.loads(file.read())  # type: ignore[no-any-return]
