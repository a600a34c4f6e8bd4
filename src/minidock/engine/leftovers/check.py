"""`system check` and `system check --repair`: list leftovers, and remove them.

Containers start and end during the check. So an object is a leftover only if two scans both find it
and no process owned its container at either scan. A process that starts, runs or removes a
container owns it from before the first object is created until after the last one is removed.
"""

from __future__ import annotations

import time

from minidock.engine.container.containers import Container
from minidock.engine.container.repair import repair as repair_container
from minidock.engine.leftovers import kernel_objects, orphan_layers, store_files
from minidock.engine.leftovers.damaged import find_damaged
from minidock.engine.leftovers.firewall_rules import find_rules
from minidock.engine.leftovers.lab import find_lab_files
from minidock.engine.leftovers.leftover import owners_by_container
from minidock.engine.store.container_json import list_documents
from minidock.errors import MinidockError, system_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.engine.leftovers.leftover import Leftover
    from minidock.paths import Store

_RESCAN_SECONDS = 0.2
_ROUNDS = 3
# In the order of removal: processes first, since they hold the rest.
_FINDERS: tuple[Callable[[Store], Iterator[Leftover]], ...] = (
    kernel_objects.find_monitors, kernel_objects.find_cgroups, kernel_objects.find_mounts,
    find_rules, kernel_objects.find_links, store_files.find_addresses, find_lab_files,
    store_files.find_directories, store_files.find_files, find_damaged, orphan_layers.find_orphans,
)  # fmt: skip


def find_leftovers(store: Store) -> list[Leftover]:
    """List what minidock made for this store and nothing uses any more, in the order of removal."""
    owned = set(owners_by_container(store))
    first = {each.identity for each in _scan(store) if each.owner not in owned}
    owned |= set(owners_by_container(store))
    if not first:
        return []
    time.sleep(_RESCAN_SECONDS)
    second = _scan(store)
    owned |= set(owners_by_container(store))
    return [each for each in second if each.identity in first and each.owner not in owned]


def repair(store: Store) -> list[tuple[Leftover, MinidockError | None]]:
    """Remove all leftovers; returns each with the error that prevented its removal, or None.

    Moving a damaged file to damaged/ makes what only that file referred to a leftover as well:
    hence the rounds.
    """
    done: list[tuple[Leftover, MinidockError | None]] = []
    found = find_leftovers(store)
    _repair_containers(store, {each.owner for each in found})
    for _ in range(_ROUNDS):
        present = {each.identity for each in find_leftovers(store)}
        done += [(each, _remove(each) if each.identity in present else None) for each in found]
        seen = {each.identity for each, _ in done}
        if found:
            found = [each for each in find_leftovers(store) if each.identity not in seen]
    return done


def _repair_containers(store: Store, owners: set[str]) -> None:
    """Tear down containers that lost their monitor, and record that they have ended."""
    for document in list_documents(store):
        if document["Id"] in owners:
            try:
                repair_container(Container(store, document))
            except (MinidockError, OSError):
                continue  # each of its leftovers is removed on its own next, and reports its error


def _remove(leftover: Leftover) -> MinidockError | None:
    """Remove a leftover; returns the error that prevented it, or None."""
    try:
        leftover.remove()
    except MinidockError as error:
        return error
    except OSError as error:
        return system_error(error)
    return None


def _scan(store: Store) -> list[Leftover]:
    return [leftover for find in _FINDERS for leftover in find(store)]
