"""Parse the ports of EXPOSE: "80", "53/udp", "8000-8010"; "[IP:][host port:]port[/protocol]".

All parts are checked; only the container's ports are used.

Source: docker/go-connections nat (ParsePortSpecs), whose messages the errors quote.
"""

from __future__ import annotations

from minidock.addresses import is_address
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.numerals import is_decimal

_PORT_MAX = 65535
_PROTOCOLS = ("sctp", "tcp", "udp")


def exposed_ports(text: str) -> list[str]:
    """Expand one port specification: "80-81/TCP" -> ["80/tcp", "81/tcp"].

    Raises DockerfileError with Docker's message.
    """
    before, _, port_and_protocol = text.rpartition(":")
    address, _, host_ports = before.rpartition(":")
    ports, _, protocol = port_and_protocol.partition("/")
    protocol = protocol.partition("/")[0] or "tcp"
    if address and not is_address(address.removeprefix("[").removesuffix("]")):
        raise DockerfileError(f"Invalid ip address: {address}")
    if not ports:
        raise DockerfileError(f"No port specified: {text}<empty>")
    first, last = _range(ports, "containerPort")
    if host_ports:
        host_first, host_last = _range(host_ports, "hostPort")
        if last - first != host_last - host_first and first != last:
            raise DockerfileError(
                f"Invalid ranges specified for container and host Ports: {ports} and {host_ports}"
            )
    if protocol.lower() not in _PROTOCOLS:
        raise DockerfileError(f"Invalid proto: {protocol}")
    return [f"{port}/{protocol.lower()}" for port in range(first, last + 1)]


def _range(text: str, what: str) -> tuple[int, int]:
    start, dash, end = text.partition("-")
    for number in (start, end if dash else start):
        if not (is_decimal(number) and int(number) <= _PORT_MAX):
            raise DockerfileError(f"Invalid {what}: {text}")
    first, last = int(start), int(end if dash else start)
    if last < first:
        raise DockerfileError(f"Invalid {what}: {text}")
    return first, last
