"""One run of a container's command: from its launch to the end of its clean-up.

A container that a policy restarts has several, one after the other, in one monitor. What a run
holds in this process (pipes, the log, the host's ports, the relay) is let go at its end: between
two runs others may have its ports and its address, as in Docker. Its own writes stay.
"""

from __future__ import annotations

import time

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.containers import Container
from minidock.engine.monitor.launch import Launched, launch
from minidock.engine.monitor.logs import LogFile
from minidock.engine.monitor.loop import READABLE, Loop
from minidock.engine.monitor.session import Pipes, Session
from minidock.engine.monitor.teardown import take_down

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.network.relay import Relay


class Run:
    """A container's command, running.

    session: its streams. Making one launches it: raises what `launch` raises; nothing is left then.
    """

    def __init__(self, loop: Loop, container: Container) -> None:
        self._loop = loop
        self._container = container
        config = container.config
        pipes = None if config.get("Tty") else Pipes(stdin=bool(config.get("OpenStdin")))
        try:
            self._launched: Launched = launch(container, pipes.theirs if pipes else None)
        except BaseException:
            if pipes is not None:
                pipes.close()
            raise
        self._began = time.monotonic()
        kind = (container.host_config.get("LogConfig") or {}).get("Type")
        self._log = None if kind == "none" else LogFile(container.paths.log)
        self.session = Session(
            loop,
            pid=self._launched.runtime.pid,
            console=self._launched.runtime.console,
            pipes=pipes,
            log=self._log,
            close_stdin_with_client=bool(config.get("StdinOnce")),
            on_end=lambda session: None,
            end_with_client="Build" in container.document,
        )
        self._relay = self._begin_relay()

    def _begin_relay(self) -> Relay | None:
        """Carry by hand what reaches the held ports past the firewall's rules."""
        if not self._launched.ports:
            return None
        # Only containers with published ports pay for it.
        from minidock.engine.network.relay import Relay

        address = self._container.document["NetworkSettings"]["IPAddress"]
        relay = Relay(self._launched.ports, address)
        self._loop.watch(relay.fd, READABLE, lambda events: relay.on_ready())
        return relay

    @property
    def lives(self) -> bool:
        return self.session.pidfd >= 0

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._began

    def clean_up(self) -> bool:
        """Unmake all that this run made, once its command has ended.

        Returns whether the kernel ended it for want of memory.
        """
        if self._log is not None:
            self._log.close()
        if self._relay is not None:
            self._loop.forget(self._relay.fd)
            self._relay.close()
        store = self._container.store
        group = cgroup_of(store, self._container.id)
        oom = self.session.exit_code == 137 and group.oom_kills() > 0
        take_down(store, self._container.id)
        self._launched.let_go()
        return oom
