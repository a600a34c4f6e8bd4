"""User-defined networks: `network create` and `network rm`.

Each has a bridge, a subnet and firewall rules of its own, like the default network; on these,
containers also resolve each other by name (dns/). The network's file keeps the requested
configuration, so that after a reboot the first container creates the same bridge again.

Drivers other than bridge, IPv6, swarm options and unimplemented options of the bridge driver are
errors.

Sources: Docker Engine API 1.45 NetworkCreate; what dockerd 26.1 answers.
"""

from __future__ import annotations

import os

from minidock.engine.network import bridge, ipam, networks
from minidock.engine.network.lookup import find
from minidock.engine.network.network_json import (
    DRIVERS,
    LockedNetworks,
    is_complete,
    list_names,
    read_all,
)
from minidock.engine.network.veth_pair import ICC_OPTION, MTU_OPTION
from minidock.engine.store.event_log import emit
from minidock.engine.store.store import prepare
from minidock.engine.store.stories import recording_story, remove_journal
from minidock.engine.store.timestamps import timestamp
from minidock.errors import Conflict, MinidockError, NotFound, UsageError
from minidock.kernel.netlink import Netlink
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import IpamConfig, NetworkDocument
    from minidock.paths import Store

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_SMALLEST_MTU, _LARGEST_MTU = 68, 65535  # RFC 791; the maximum of a veth
_SWITCHES = (ICC_OPTION, networks.MASQUERADE_OPTION)


class Forbidden(MinidockError):
    """An operation that Docker forbids on networks (HTTP 403)."""

    exit_code = 1


def _check_is_new(store: Store, name: str) -> None:
    if name in list_names(store):
        raise Conflict(
            f"network with name {name} already exists",
            hint=f"minidock network inspect {name}, or choose another name",
        )


def create(
    store: Store,
    name: str,
    *,
    driver: str,
    internal: bool,
    attachable: bool,
    asked: IpamConfig,
    labels: dict[str, str],
    options: dict[str, str],
) -> NetworkDocument:
    """Create a network and its bridge; a failure undoes all of it. Returns the network's state.

    asked: IPAM configuration: {"Subnet", "IPRange", "Gateway", "AuxiliaryAddresses"}, all optional.
    Raises UsageError and Forbidden for invalid values, Conflict if a name or subnet is taken.
    """
    _check(name, driver, asked, options)
    prepare(store)
    with LockedNetworks(store) as files:
        _remove_incomplete(store, files)
        _check_is_new(store, name)
        state: NetworkDocument = {
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
            with recording_story(store.network_journal(name), "create"):
                created = networks.bring_up(store, files, name)
        except BaseException:
            _delete(store, files, state)
            raise
    emit(store, "network", "create", created["Id"], name=name, type="bridge")
    return created


def remove(store: Store, reference: str) -> None:
    """Remove a network without containers.

    Raises NotFound, Conflict if a container is connected, Forbidden for predefined networks.
    """
    found = find(store, reference)
    name = found["Name"]
    if name in DRIVERS:
        raise Forbidden(f"{name} is a pre-defined network and cannot be removed")
    with LockedNetworks(store) as files:
        state = files.load(name)
        if state is None or state["Id"] != found["Id"]:  # removed meanwhile
            raise NotFound(f"network {reference} not found", hint="see: minidock network ls")
        if state["Leases"]:
            raise Conflict(
                f"error while removing network: network {name} id {state['Id']} has active "
                "endpoints",
                hint=f"`minidock network inspect {name}` lists them; "
                f"minidock network disconnect {name} CONTAINER",
            )
        _delete(store, files, state)
    emit(store, "network", "destroy", state["Id"], name=name, type="bridge")


def _remove_incomplete(store: Store, files: LockedNetworks) -> None:
    """Remove networks that a killed command left incomplete: they have no subnet yet."""
    for state in read_all(store):
        if not is_complete(state):
            _delete(store, files, state)


def _delete(store: Store, files: LockedNetworks, state: NetworkDocument) -> None:
    """Remove bridge and rules before the file: as long as it exists, a repair finds them."""
    journal = store.network_journal(state["Name"])
    with recording_story(journal, "remove"), Netlink() as host:
        bridge.remove(host, store, state)
    files.remove(state["Name"])
    remove_journal(journal)


def _device(store: Store, state: NetworkDocument) -> str:
    """Return the bridge's name: the requested one, or the store's prefix and the network's id."""
    devices = [other.get("Device") for other in read_all(store)] + [store.bridge]
    if asked := (state["Options"] or {}).get(bridge.NAME_OPTION):
        bridge.check_name(asked)
        if asked in devices:
            raise Conflict(f"bridge name {asked} is another network's")
        return asked
    prefix = "md-" if store.is_default else f"{store.derived_bridge}-"
    while True:
        device = f"{prefix}{state['Id']}"[:15]
        if device not in devices:
            return device
        state["Id"] = os.urandom(32).hex()


def _check(name: str, driver: str, asked: IpamConfig, options: dict[str, str]) -> None:
    """Raises UsageError, Forbidden."""
    _check_name(name)
    _check_driver(driver)
    _check_range(asked)
    _check_options(options)


def _check_name(name: str) -> None:
    if name in DRIVERS or name == "default":
        raise Forbidden(f"operation is not permitted on predefined {name} network")
    if not name or name[0] not in _LETTERS or not set(name) <= _LETTERS | set("_.-"):
        raise Forbidden(
            f"invalid network name {name!r}",
            hint="use letters, digits, dots, dashes and underscores; start with a letter or digit",
        )
    if len(name) > 200:
        raise Forbidden(f"invalid network name: {len(name)} characters, at most 200 are allowed")


def _check_driver(driver: str) -> None:
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver != "bridge":
        raise Forbidden(f'plugin "{driver}" not found', hint="supported drivers: bridge")


def _check_range(asked: IpamConfig) -> None:
    """Check that range, gateway and auxiliary addresses are in the subnet; Docker's messages."""
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
        raise Forbidden(f"invalid {what} {text}: only IPv4 is supported")
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
                raise UsageError(
                    f"{option}: {text!r} is not an MTU ({_SMALLEST_MTU} to {_LARGEST_MTU} bytes)"
                )
        elif option in _SWITCHES:
            if text not in ("true", "false"):
                raise UsageError(f"{option}: {text!r} is neither true nor false")
        elif option == networks.BINDING_OPTION:
            _check_address(option, text)
        elif option != bridge.NAME_OPTION:
            known = (bridge.NAME_OPTION, MTU_OPTION, networks.BINDING_OPTION, *_SWITCHES)
            raise UsageError(
                f"-o {option} is not supported", hint=f"supported options: {', '.join(known)}"
            )


def _check_address(option: str, text: str) -> None:
    try:
        ipam.parse_address(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
