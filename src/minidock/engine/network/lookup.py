"""Networks, found by name or id, and shown as Docker shows them. Reading only."""

from __future__ import annotations

from minidock.engine.network.inspect import document
from minidock.engine.network.network_json import DRIVERS, Locked, every, is_whole
from minidock.errors import Conflict, DamagedFile, NotFound

_RANKS = {name: number for number, name in enumerate(DRIVERS)}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.paths import Store


def list_networks(store: Store) -> list[dict[str, Any]]:
    """All networks, as Docker's NetworkList has them: bridge, host, none, and those of users."""
    return [document(store, state) for state in _all(store)]


def inspect(store: Store, reference: str) -> dict[str, Any]:
    """A network by name, id or id prefix, in the form of docker network inspect.

    Raises NotFound.
    """
    return document(store, find(store, reference))


def find(store: Store, reference: str) -> dict[str, Any]:
    """A network's file, by its name, its id, or the beginning of its id that only it has.

    Raises NotFound, and Conflict where several ids begin so.
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


def _all(store: Store) -> list[dict[str, Any]]:
    with Locked(store) as files:
        for name in DRIVERS:
            try:
                files.load_or_make(name)
            except DamagedFile:
                continue  # `every` passes over it, and says so
        found = every(store)  # in the order of the directory; the three that are always there first
        found.sort(key=lambda state: _RANKS.get(state["Name"], len(_RANKS)))
        return [state for state in found if is_whole(state)]
