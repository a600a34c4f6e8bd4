"""Networks that people make: `network create`, `rm` and `prune`.

Each has a bridge, a subnet and firewall rules of its own, like the default network; on these,
containers also find each other by name (use_dns_server.py). What was asked for is kept in the
network's file, so that after a reboot the first container that comes makes the same again.

Refused, and not ignored: drivers but bridge, IPv6, what belongs to swarms, and options of the
bridge driver that are not carried out here.

Sources: Docker Engine API 1.45 NetworkCreate; what dockerd 26.1 answers.
"""

from __future__ import annotations

import os

from minidock.engine.network import bridge, ipam, networks
from minidock.engine.network.endpoint import ICC_OPTION, MTU_OPTION
from minidock.engine.network.lookup import find
from minidock.engine.network.network_json import (
    DRIVERS,
    LockedNetworks,
    is_complete,
    list_names,
    read_all,
)
from minidock.engine.store.events import emit
from minidock.engine.store.stories import forget, telling
from minidock.engine.store.timestamps import timestamp
from minidock.errors import Conflict, MinidockError, NotFound, UsageError
from minidock.kernel.netlink import Netlink
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.paths import Store

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_SMALLEST_MTU, _LARGEST_MTU = 68, 65535  # RFC 791; what a bridge's port can have
_SWITCHES = (ICC_OPTION, networks.MASQUERADE_OPTION)


class Forbidden(MinidockError):
    """What Docker forbids with its networks."""

    exit_code = 1


def create(
    store: Store,
    name: str,
    *,
    driver: str,
    internal: bool,
    attachable: bool,
    asked: dict[str, Any],
    labels: dict[str, str],
    options: dict[str, str],
) -> dict[str, Any]:
    """Make a network, with its bridge; nothing is left if that fails. Returns its file's content.

    asked: the range of its addresses: {"Subnet", "IPRange", "Gateway", "AuxiliaryAddresses"}, each
    of which may be missing.
    Raises UsageError for what cannot be, Conflict for what is taken.
    """
    _check_name(name)
    _check_driver(driver)
    _check_range(asked)
    _check_options(options)
    with LockedNetworks(store) as files:
        _sweep(store, files)
        if name in list_names(store):
            raise Conflict(
                f"network with name {name} already exists",
                hint=f"minidock network inspect {name}, or choose another name",
            )
        state: dict[str, Any] = {
            "Name": name,
            "Id": os.urandom(32).hex(),
            "Created": timestamp(),
            "Driver": "bridge",
            "Internal": internal,
            "Attachable": attachable,
            "Labels": labels,
            "Options": options,
            "Asked": asked,
            "Leases": {},
        }
        state["Device"] = _device(store, state)
        try:
            files.save(state)
            with telling(store.network_journal(name), "create"):
                made = networks.bring_up(store, files, name)
        except BaseException:
            _unmake(store, files, state)
            raise
    emit(store, "network", "create", made["Id"], name=name, type="bridge")
    return made


def remove(store: Store, reference: str) -> None:
    """Remove a network that nobody is on.

    Raises NotFound, Conflict where a container is on it, Forbidden for those that always exist.
    """
    found = find(store, reference)
    name = found["Name"]
    if name in DRIVERS:
        raise Forbidden(f"{name} is a pre-defined network and cannot be removed")
    with LockedNetworks(store) as files:
        state = files.load(name)
        if state is None or state["Id"] != found["Id"]:  # somebody else was faster
            raise NotFound(f"network {reference} not found", hint="see: minidock network ls")
        if state["Leases"]:
            raise Conflict(
                f"error while removing network: network {name} id {state['Id']} has active "
                "endpoints",
                hint=f"`minidock network inspect {name}` names them; "
                f"minidock network disconnect {name} CONTAINER",
            )
        _unmake(store, files, state)
    emit(store, "network", "destroy", state["Id"], name=name, type="bridge")


def _sweep(store: Store, files: LockedNetworks) -> None:
    """Unmake what a command that was killed left half made: it has no subnet yet."""
    for state in read_all(store):
        if not is_complete(state):
            _unmake(store, files, state)


def _unmake(store: Store, files: LockedNetworks, state: dict[str, Any]) -> None:
    """The bridge and its rules first: while the file is there, a repair finds them."""
    journal = store.network_journal(state["Name"])
    with telling(journal, "remove"), Netlink() as host:
        bridge.remove(host, store, state)
    files.remove(state["Name"])
    forget(journal)


def _device(store: Store, state: dict[str, Any]) -> str:
    """The bridge's name: asked for, or one that says whose it is, as `md-` and the network's id."""
    devices = [other.get("Device") for other in read_all(store)] + [store.bridge]
    if asked := state["Options"].get(bridge.NAME_OPTION):
        bridge.check_name(asked)
        if asked in devices:
            raise Conflict(f"bridge name {asked} is another network's")
        return str(asked)
    front = "md-" if store.is_default else f"{store.derived_bridge}-"
    while True:
        device = f"{front}{state['Id']}"[:15]
        if device not in devices:
            return device
        state["Id"] = os.urandom(32).hex()


def _check_name(name: str) -> None:
    if name in DRIVERS or name == "default":
        raise Forbidden(f"operation is not permitted on predefined {name} network")
    if not name or name[0] not in _LETTERS or not set(name) <= _LETTERS | set("_.-"):
        raise Forbidden(
            f"invalid network name {name!r}",
            hint="letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    if len(name) > 200:
        raise Forbidden(f"invalid network name: {len(name)} characters, at most 200 are allowed")


def _check_driver(driver: str) -> None:
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver != "bridge":
        raise Forbidden(f'plugin "{driver}" not found', hint="minidock has the driver bridge")


def _check_range(asked: dict[str, Any]) -> None:
    """Whether the addresses fit into each other, in Docker's words where they do not."""
    text = asked.get("Subnet")
    if not text:
        if asked.get("Gateway") or asked.get("IPRange") or asked.get("AuxiliaryAddresses"):
            raise Forbidden("every ip-range or gateway must have a corresponding subnet")
        return
    subnet = _subnet(text, "subnet")
    if part := asked.get("IPRange"):
        within = _subnet(part, "range", longest=32)
        if within.first < subnet.first or within.last > subnet.last:
            raise Forbidden(f"no matching subnet for range {part}")
    if gateway := asked.get("Gateway"):
        _require_inside(subnet, gateway, f"no matching subnet for gateway {gateway}")
    for address in asked.get("AuxiliaryAddresses", {}).values():
        _require_inside(subnet, address, f"no matching subnet for aux-address {address}")


def _subnet(text: str, what: str, *, longest: int = 30) -> ipam.Subnet:
    if ":" in text:
        raise Forbidden(f"invalid {what} {text}: minidock's networks have IPv4 addresses only")
    try:
        return ipam.parse_subnet(text, longest=longest)
    except ValueError as error:
        raise Forbidden(f"invalid network config: invalid {what} {text}: {error}") from None


def _require_inside(subnet: ipam.Subnet, address: str, otherwise: str) -> None:
    try:
        inside = subnet.first < ipam.parse_address(address) < subnet.last
    except ValueError as error:
        raise Forbidden(f"invalid network config: {error}") from None
    if not inside:
        raise Forbidden(otherwise, hint=f"the subnet is {subnet}")


def _check_options(options: dict[str, str]) -> None:
    for option, text in options.items():
        if option == MTU_OPTION:
            if not (is_decimal(text) and _SMALLEST_MTU <= int(text) <= _LARGEST_MTU):
                raise UsageError(f"{option}: {text!r} is not a number of bytes for a packet")
        elif option in _SWITCHES:
            if text not in ("true", "false"):
                raise UsageError(f"{option}: {text!r} is neither true nor false")
        elif option == networks.BINDING_OPTION:
            _check_address(option, text)
        elif option != bridge.NAME_OPTION:
            known = (bridge.NAME_OPTION, MTU_OPTION, networks.BINDING_OPTION, *_SWITCHES)
            raise UsageError(f"-o {option} is not available", hint=f"there are: {', '.join(known)}")


def _check_address(option: str, text: str) -> None:
    try:
        ipam.parse_address(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
