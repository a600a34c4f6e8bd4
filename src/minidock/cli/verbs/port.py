"""`port`: the published ports of a container."""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import running_containers
from minidock.errors import NotFound, UsageError
from minidock.numerals import is_decimal
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import PortBinding


@command(
    "CONTAINER [PRIVATE_PORT[/PROTO]]",
    at_least=1,
    at_most=2,
    complete=running_containers,
)
def port(arguments: tuple[str, ...]) -> None:
    """List the published ports of a container"""
    from minidock.engine.container.lookup import find

    container = find(Store(), arguments[0])
    published = container.document["NetworkSettings"].get("Ports") or {}
    if len(arguments) == 1:
        lines = [
            f"{name} -> {_address(binding)}"
            for name, bindings in published.items()
            for binding in bindings or ()
        ]
        print("".join(f"{line}\n" for line in sorted(lines, key=_port_order)), end="")
        return
    number, _, protocol = arguments[1].partition("/")
    if not (is_decimal(number) and int(number) < 65536):
        raise UsageError(f"invalid port '{arguments[1]}'")
    bindings = published.get(f"{number}/{protocol or 'tcp'}")
    if not bindings:
        raise NotFound(
            f"No public port '{arguments[1]}' published for {arguments[0]}",
            hint=f"minidock port {arguments[0]}",
        )
    for binding in bindings:
        print(_address(binding))


def _address(binding: PortBinding) -> str:
    host = binding["HostIp"]
    return f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}"


def _port_order(line: str) -> tuple[int, str]:
    return int(line.partition("/")[0]), line
