"""All containers of a machine at once: started when it comes up, stopped when it goes down.

minidock has no daemon, and a reboot ends the monitors. So systemd/minidock.service, or the
administrator, calls these two:

    start_all   starts the containers whose restart policy (container/restart_policy.py) asks for
                it, in parallel; one that joins another's namespaces starts after that one
    stop_all    sends each its stop signal, and waits for each until its timeout; it does not mark
                them as manually stopped, so start_all starts them again

An error of one container does not affect the others.
"""

from __future__ import annotations

import os
import select
import time

from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import list_containers
from minidock.engine.container.restart_policy import is_manually_stopped, should_start_at_boot
from minidock.engine.lifecycle.start import PendingStart
from minidock.engine.lifecycle.stop import begin_stop, finish_stop, seconds_to_stop
from minidock.errors import Conflict, MinidockError, NotFound, as_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.document_types.host_config import JoiningMode
    from minidock.paths import Store

    Report = tuple[Container, MinidockError | None]

_FOREVER = float("inf")
_JOINING: tuple[JoiningMode, ...] = ("NetworkMode", "PidMode", "IpcMode")


def start_all(store: Store) -> Iterator[Report]:
    """Start the containers whose restart policy asks for it; yields each with its error or None.

    Running containers are skipped.
    """
    waiting = [container for container in reversed(list_containers(store)) if _is_due(container)]
    at_once = 2 * (os.cpu_count() or 1)  # one may wait for the kernel while another runs
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
                yield container, as_ours(error)
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
    by_hand = is_manually_stopped(container.paths)
    return should_start_at_boot(container.document, manually_stopped=by_hand)


def _ready(waiting: list[Container], under_way: list[Container]) -> list[Container]:
    """Those that do not join a container yet to be started; all, if they form a cycle."""
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
            return None  # removed meanwhile
        return None if container.running or container.monitor_pid else error
    except (MinidockError, OSError) as error:
        return as_ours(error)
    return None


def stop_all(store: Store) -> Iterator[Report]:
    """Stop all running containers; yields each with its error or None.

    All get their stop signal before the first wait, so it takes as long as the slowest of them.
    """
    stopping: list[tuple[float, Container]] = []
    for container in list_containers(store):
        if not container.running:
            continue
        try:
            begin_stop(container)
        except NotFound:
            continue  # run with --rm and ended meanwhile
        except (MinidockError, OSError) as error:
            yield container, as_ours(error)
            continue
        seconds = seconds_to_stop(container)
        stopping.append((_FOREVER if seconds is None else time.monotonic() + seconds, container))
    stopping.sort(key=lambda entry: entry[0])
    for deadline, container in stopping:
        rest = None if deadline == _FOREVER else max(0.0, deadline - time.monotonic())
        try:
            finish_stop(container, rest)
        except (MinidockError, OSError) as error:
            yield container, as_ours(error)
        else:
            yield container, None
