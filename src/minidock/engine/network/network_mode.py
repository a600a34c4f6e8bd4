"""Parse the value of --network: a network's name, or host, none, container:NAME.

Source: Docker Engine API 1.45, HostConfig.NetworkMode.
"""

from __future__ import annotations

from minidock.errors import UsageError

DEFAULT = "bridge"  # the network of a container without --network


class NetworkMode:
    """A parsed --network.

    kind: "bridge", "host", "none" or "container". target: the network's name, or the container
    whose network namespace is shared.
    """

    def __init__(self, kind: str, target: str = "") -> None:
        self.kind = kind
        self.target = target


def parse_network_mode(network_mode: str) -> NetworkMode:
    """Parse a HostConfig.NetworkMode; does not check that the network or container exists.

    Raises UsageError for "container:" without a container.
    """
    if network_mode in ("", "default", DEFAULT):
        return NetworkMode("bridge", DEFAULT)
    if network_mode in ("host", "none"):
        return NetworkMode(network_mode)
    kind, colon, target = network_mode.partition(":")
    if kind == "container" and colon:
        if not target:
            raise UsageError(
                "invalid network mode: invalid container format container:<name|id>",
                hint="name the container whose network to share: --network container:web",
            )
        return NetworkMode("container", target)
    return NetworkMode("bridge", network_mode)
