"""The containers whose namespaces a container joins; guards against reused pids.

A namespace is joined by the path /proc/PID/ns/NAME, and the kernel may reuse the pid before the
path is opened. So a pidfd of each such init is opened, and its start time checked, before the path
is written to config.json. If init still runs once the runtime has opened the path, the pid was its
own all the time.

Source: pidfd_open(2), namespaces(7), proc_pid_stat(5) "starttime".
"""

from __future__ import annotations

import os
import select

from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import find
from minidock.errors import Conflict
from minidock.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.host_config import JoiningMode

_MODES: tuple[JoiningMode, ...] = ("PidMode", "IpcMode", "NetworkMode")


class JoinTargets:
    """The containers whose namespaces are joined; the block holds a pidfd of each.

    Call `require_alive` in the block once the runtime has opened the namespaces.

    Raises Conflict if one of them does not run.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._pidfds: list[tuple[str, int]] = []

    def __enter__(self) -> JoinTargets:
        modes = [self._container.host_config.get(mode) or "" for mode in _MODES]
        try:
            for reference in {mode[10:] for mode in modes if mode.startswith("container:")}:
                self._open_pidfd(find(self._container.store, reference))
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open_pidfd(self, other: Container) -> None:
        if other.running and not other.restarting:  # others fail in write_bundle
            known = state.load(other.store.run, other.id)
            self._pidfds.append((other.name, known.open_pidfd()))

    def require_alive(self) -> None:
        """Raise Conflict if one of them has ended since."""
        for name, pidfd in self._pidfds:
            watch = select.poll()
            watch.register(pidfd, select.POLLIN)
            if watch.poll(0):
                raise Conflict(
                    f"cannot join the namespaces of {name}: it has just ended",
                    hint=f"start it first: minidock start {name}",
                )

    def __exit__(self, *error: object) -> None:
        for _, pidfd in self._pidfds:
            os.close(pidfd)
        self._pidfds.clear()
