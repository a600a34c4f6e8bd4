"""What --network asks for: a network by its name, or another kind of place.

Source: Docker Engine API 1.45, HostConfig.NetworkMode.
"""

from __future__ import annotations

from minidock.engine.network.endpoint import DEFAULT
from minidock.errors import UsageError


class Mode:
    """What --network asks for.

    kind: "bridge", "host", "none" or "container". target: the container whose network is joined;
    of the kind "bridge", the network's name.
    """

    def __init__(self, kind: str, target: str = "") -> None:
        self.kind = kind
        self.target = target


def mode(network_mode: str) -> Mode:
    """What kind of network a HostConfig.NetworkMode means; whether there is one is not asked.

    Raises UsageError for container: without a container.
    """
    if network_mode in ("", "default", DEFAULT):
        return Mode("bridge", DEFAULT)
    if network_mode in ("host", "none"):
        return Mode(network_mode)
    kind, colon, target = network_mode.partition(":")
    if kind == "container" and colon:
        if not target:
            raise UsageError(
                "invalid network mode: invalid container format container:<name|id>",
                hint="name the container whose network to join: --network container:web",
            )
        return Mode("container", target)
    return Mode("bridge", network_mode)
