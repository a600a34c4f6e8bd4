"""The containers whose namespaces a container joins: the right processes, while it matters.

A namespace is joined by the path /proc/PID/ns/NAME, and a number may have come to another process
by the time it is opened. So each such container's init is held by a pidfd before the path is
written into the bundle, its start time is looked at then, and once the runtime has opened the path,
the pidfd says whether init still lives. If so, the number was its own all the time.

Source: pidfd_open(2), namespaces(7), proc_pid_stat(5) "starttime".
"""

from __future__ import annotations

import os
import select

from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import find
from minidock.errors import Conflict
from minidock.runtime import state

_MODES = ("PidMode", "IpcMode", "NetworkMode")


class JoinTargets:
    """The containers whose namespaces are joined; the block holds a pidfd of each.

    Call `require_alive` in the block once the runtime has opened the namespaces.

    Raises Conflict where one of them does not run.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._held: list[tuple[str, int]] = []

    def __enter__(self) -> JoinTargets:
        modes = [self._container.host_config.get(mode) or "" for mode in _MODES]
        try:
            for reference in {mode[10:] for mode in modes if mode.startswith("container:")}:
                self._hold(find(self._container.store, reference))
        except BaseException:
            self.__exit__()
            raise
        return self

    def _hold(self, other: Container) -> None:
        if other.running and not other.restarting:  # who does not is refused with the bundle
            known = state.load(other.store.run, other.id)
            self._held.append((other.name, known.open_pidfd()))

    def require_alive(self) -> None:
        """Raise Conflict where one of them has ended since it was held."""
        for name, pidfd in self._held:
            watch = select.poll()
            watch.register(pidfd, select.POLLIN)
            if watch.poll(0):
                raise Conflict(
                    f"cannot join the namespaces of {name}: it has just ended",
                    hint=f"start it first: minidock start {name}",
                )

    def __exit__(self, *error: object) -> None:
        for _, pidfd in self._held:
            os.close(pidfd)
        self._held.clear()
