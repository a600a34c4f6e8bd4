"""The check: what is there and not needed, on two looks; and the repair that removes it.

Containers come and go while we look. So a thing counts only if it is there both times, and if no
process owned its container at any moment between: whoever starts, runs or removes one is its owner
from before the first thing is made until after the last one is gone.
"""

from __future__ import annotations

import time

from minidock.engine.container.containers import Container
from minidock.engine.container.repair import repair as repair_container
from minidock.engine.leftovers import kernel_objects, orphan_layers, store_files
from minidock.engine.leftovers.damaged import damaged
from minidock.engine.leftovers.firewall_rules import rules
from minidock.engine.leftovers.lab import lab
from minidock.engine.leftovers.leftover import living
from minidock.engine.store.container_json import documents
from minidock.errors import MinidockError, system_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.engine.leftovers.leftover import Thing
    from minidock.paths import Store

_BETWEEN_SECONDS = 0.2
_ROUNDS = 3
# In the order in which they can be removed: processes hold the rest.
_KINDS: tuple[Callable[[Store], Iterator[Thing]], ...] = (
    kernel_objects.monitors, kernel_objects.cgroups, kernel_objects.mounts, rules,
    kernel_objects.links, store_files.addresses, lab, store_files.directories, store_files.files,
    damaged, orphan_layers.orphans,
)  # fmt: skip


def residue(store: Store) -> list[Thing]:
    """What minidock made for this store and nothing needs any more, in the order of removal."""
    owned = set(living(store))
    first = {thing.identity for thing in _look(store) if thing.owner not in owned}
    owned |= set(living(store))
    if not first:
        return []
    time.sleep(_BETWEEN_SECONDS)
    second = _look(store)
    owned |= set(living(store))
    return [t for t in second if t.identity in first and t.owner not in owned]


def repair(store: Store) -> list[tuple[Thing, MinidockError | None]]:
    """Remove all of it; returns each thing, with what kept it from going.

    With a damaged file set aside, what only that had named is left over too: hence the rounds.
    """
    done: list[tuple[Thing, MinidockError | None]] = []
    found = residue(store)
    _repair_containers(store, {thing.owner for thing in found})
    for _ in range(_ROUNDS):
        left = {thing.identity for thing in residue(store)}
        done += [(thing, _removed(thing) if thing.identity in left else None) for thing in found]
        met = {thing.identity for thing, _ in done}
        found = [thing for thing in residue(store) if thing.identity not in met] if found else []
    return done


def _repair_containers(store: Store, owners: set[str]) -> None:
    """Take down containers that lost their monitor, and write down that they have ended."""
    for document in documents(store):
        if document["Id"] in owners:
            try:
                repair_container(Container(store, document))
            except (MinidockError, OSError):
                continue  # each thing of it is tried by itself next, and says what is wrong


def _removed(thing: Thing) -> MinidockError | None:
    """Remove it; returns what kept it from going."""
    try:
        thing.remove()
    except MinidockError as error:
        return error
    except OSError as error:
        return system_error(error)
    return None


def _look(store: Store) -> list[Thing]:
    return [thing for kind in _KINDS for thing in kind(store)]
