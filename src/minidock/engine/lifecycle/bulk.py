"""All containers of a machine at once: started when it comes up, stopped when it goes down.

Nothing of minidock runs between two commands but monitors, and a reboot ends those. So somebody
has to call these two: systemd/minidock.service does, or a person.

    start_all   starts what its restart policy wants to have running (container/restart.py), several
                at once; one that joins another's namespaces comes after that one
    stop_all    tells all of them to end, each by its own signal, and waits for each as long as it
                may take; nobody is remembered as stopped by hand, so start_all brings them back

An error of one container does not keep the others.
"""

from __future__ import annotations

import os
import select
import time

from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import list_containers
from minidock.engine.container.restart import is_stopped_by_hand, wants_start
from minidock.engine.lifecycle.start import PendingStart
from minidock.engine.lifecycle.stop import begin_stop, finish_stop, seconds_to_stop
from minidock.errors import Conflict, MinidockError, NotFound, system_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store

    Report = tuple[Container, MinidockError | None]

_FOR_EVER = float("inf")
_JOINING = ("NetworkMode", "PidMode", "IpcMode")


def start_all(store: Store) -> Iterator[Report]:
    """Start the containers whose restart policy wants it; yields each, with what kept it from it.

    Containers that run are left alone.
    """
    waiting = [container for container in reversed(list_containers(store)) if _is_due(container)]
    at_once = 2 * (os.cpu_count() or 1)  # while one waits for the kernel another can go on
    under_way: dict[int, tuple[Container, PendingStart]] = {}
    poll = select.poll()
    while waiting or under_way:
        for container in _ready(waiting, [begun for begun, _ in under_way.values()]):
            if len(under_way) == at_once:
                break
            waiting.remove(container)
            try:
                pending = PendingStart(container)
            except (MinidockError, OSError) as error:
                yield container, _told(error)
                continue
            under_way[pending.fileno()] = (container, pending)
            poll.register(pending.fileno(), select.POLLIN)
        for fd, _ in poll.poll() if under_way else ():
            container, pending = under_way.pop(fd)
            poll.unregister(fd)
            yield container, _outcome(container, pending)


def _is_due(container: Container) -> bool:
    if container.running or container.monitor_pid:
        return False
    by_hand = is_stopped_by_hand(container.paths)
    return wants_start(container.document, stopped_by_hand=by_hand)


def _ready(waiting: list[Container], under_way: list[Container]) -> list[Container]:
    """Those that join nobody who is still to be started; all, where they wait for each other."""
    coming = {container.id for container in (*waiting, *under_way)}
    free = [container for container in waiting if not _joined(container) & coming]
    return free if free or under_way else list(waiting)


def _joined(container: Container) -> set[str]:
    """The containers whose namespaces it joins."""
    modes = (container.host_config.get(field) or "" for field in _JOINING)
    return {mode[10:] for mode in modes if mode.startswith("container:")}


def _outcome(container: Container, pending: PendingStart) -> MinidockError | None:
    try:
        pending.finish()
    except Conflict as error:
        try:
            container.reload()
        except NotFound:
            return None  # somebody has removed it meanwhile
        return None if container.running or container.monitor_pid else error
    except (MinidockError, OSError) as error:
        return _told(error)
    return None


def stop_all(store: Store) -> Iterator[Report]:
    """Stop all containers that run; yields each, with what kept it from ending.

    All are told to end before any is waited for, so it takes as long as the slowest of them.
    """
    told: list[tuple[float, Container]] = []
    for container in list_containers(store):
        if not container.running:
            continue
        try:
            begin_stop(container)
        except NotFound:
            continue  # run with --rm, and it has ended meanwhile
        except (MinidockError, OSError) as error:
            yield container, _told(error)
            continue
        seconds = seconds_to_stop(container)
        told.append((_FOR_EVER if seconds is None else time.monotonic() + seconds, container))
    told.sort(key=lambda entry: entry[0])
    for deadline, container in told:
        rest = None if deadline == _FOR_EVER else max(0.0, deadline - time.monotonic())
        try:
            finish_stop(container, rest)
        except (MinidockError, OSError) as error:
            yield container, _told(error)
        else:
            yield container, None


def _told(error: MinidockError | OSError) -> MinidockError:
    return error if isinstance(error, MinidockError) else system_error(error)
