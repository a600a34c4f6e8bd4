"""List and find networks by name or id, in the form of docker network inspect. Read-only."""

from __future__ import annotations

from minidock.engine.network.inspect import document
from minidock.engine.network.network_json import DRIVERS, LockedNetworks, is_complete, read_all
from minidock.errors import Conflict, DamagedFile, NotFound

_RANKS = {name: number for number, name in enumerate(DRIVERS)}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import NetworkDocument, NetworkInspect
    from minidock.paths import Store


def list_networks(store: Store) -> list[NetworkInspect]:
    """Return all networks as Docker's NetworkList: bridge, host, none, then user-defined ones."""
    return [document(store, state) for state in _all(store)]


def inspect(store: Store, reference: str) -> NetworkInspect:
    """Return a network by name, id or id prefix, in the form of docker network inspect.

    Raises NotFound.
    """
    return document(store, find(store, reference))


def find(store: Store, reference: str) -> NetworkDocument:
    """Return a network's state by its name, its id, or a unique prefix of its id.

    Raises NotFound; Conflict if several ids have this prefix.
    """
    states = _all(store)
    for state in states:
        if reference in (state["Name"], state["Id"]):
            return state
    matching = [state for state in states if reference and state["Id"].startswith(reference)]
    if len(matching) > 1:
        raise Conflict(
            f"network {reference} is ambiguous ({len(matching)} matches found based on ID prefix)",
            hint="give more of the id",
        )
    if not matching:
        raise NotFound(f"network {reference} not found", hint="see: minidock network ls")
    return matching[0]


def _all(store: Store) -> list[NetworkDocument]:
    with LockedNetworks(store) as files:
        for name in DRIVERS:
            try:
                files.load_or_make(name)
            except DamagedFile:
                continue  # `read_all` skips and reports it
        found = read_all(store)
        found.sort(key=lambda state: _RANKS.get(state["Name"], len(_RANKS)))
        return [state for state in found if is_complete(state)]
