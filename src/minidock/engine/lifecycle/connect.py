"""`network connect` and `disconnect`: connect a container to a network, running or stopped.

The monitor of a running container does it, since it holds the ports and DNS sockets. For a stopped
one only the document changes; its next start does the rest.

Source: Docker Engine API 1.45 NetworkConnect; what dockerd 26.1 answers.
"""

from __future__ import annotations

from minidock.engine.container.containers import Container, restarting_error
from minidock.engine.container.endpoints import (
    requested_endpoint,
    require_connected,
    require_not_connected,
)
from minidock.engine.container.lookup import wait_until_settled
from minidock.engine.monitor import protocol
from minidock.engine.monitor.connection import connect_when_ready
from minidock.engine.network import networks
from minidock.engine.network.lookup import find
from minidock.engine.network.network_mode import DEFAULT
from minidock.engine.store.event_log import emit
from minidock.errors import Conflict, UsageError
from minidock.runtime.channel import rebuild_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.message import NetworkChange
    from minidock.document_types.network import EndpointRequest
    from minidock.paths import Store


def connect(store: Store, network: str, reference: str, asked: EndpointRequest) -> None:
    """Connect a container to one more network.

    asked: {"IPAMConfig": {"IPv4Address"}, "Aliases"}, each of which may be missing.
    Raises NotFound, Conflict if it is connected already or its address is taken, UsageError.
    """
    container = wait_until_settled(store, reference)
    found = find(store, network)
    name = str(found["Name"])
    _check_mode(container, name)
    check_endpoint(store, name, asked)
    if container.running:
        _request_change(container, {"network": name, "asked": asked})
        emit(store, "network", "connect", found["Id"], **_event_attributes(container, name))
        return
    with container.editing():
        container.reload()
        require_not_connected(container, name)
        container.document["NetworkSettings"]["Networks"][name] = requested_endpoint(asked)
        container.save()


def disconnect(store: Store, network: str, reference: str) -> None:
    """Disconnect a container from a network.

    Raises NotFound, and Conflict if it is not connected.
    """
    found = find(store, network)
    name = str(found["Name"])
    container = wait_until_settled(store, reference)
    if name in ("host", "none"):
        raise Conflict(
            f"container cannot be disconnected from {name} network or connected to {name} network",
            hint="create another container with another --network",
        )
    require_connected(container, name)
    if container.running:
        _request_change(container, {"network": name, "asked": None})
        emit(store, "network", "disconnect", found["Id"], **_event_attributes(container, name))
        return
    with container.editing():
        container.reload()
        require_connected(container, name)
        del container.document["NetworkSettings"]["Networks"][name]
        container.save()


def check_endpoint(store: Store, network: str, asked: EndpointRequest) -> None:
    """Raise UsageError if the network does not support a chosen address, or aliases."""
    address = (asked.get("IPAMConfig") or {}).get("IPv4Address")
    if asked.get("Aliases") and network == DEFAULT:
        raise UsageError("network-scoped aliases are only supported for user-defined networks")
    if address:
        networks.check_may_choose(find(store, network))


def _event_attributes(container: Container, network: str) -> dict[str, str]:
    return {"container": container.id, "name": network, "type": "bridge"}


def _check_mode(container: Container, network: str) -> None:
    mode = container.host_config.get("NetworkMode") or ""
    if mode.startswith("container:"):
        raise Conflict(
            "container sharing network namespace with another container or host cannot be "
            "connected to any other network",
            hint="connect the container that owns the network namespace",
        )
    if network == "host" or mode == "host":
        raise Conflict(
            "container cannot be disconnected from host network or connected to host network"
        )
    if network == "none" or mode == "none":
        raise Conflict(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )


def _request_change(container: Container, change: NetworkChange) -> None:
    if change["asked"] is not None:
        require_not_connected(container, change["network"])
    if container.restarting:
        raise restarting_error(container)
    socket = connect_when_ready(container)
    if socket is None:
        raise Conflict(f"container {container.id} has just ended", hint="try again")
    socket.send(protocol.message(protocol.NETWORK_CHANGE, change))
    answer = protocol.receive(socket)
    socket.close()
    if answer[:1] == protocol.FAILED:
        raise rebuild_error(protocol.content_of(answer))
    if answer[:1] != protocol.STARTED:
        raise Conflict(f"container {container.id} has just ended", hint="try again")
