"""One run of a container's command: from its launch to the end of its clean-up.

A container that a policy restarts has several, one after the other, in one monitor. What a run
holds in this process (pipes, the log, the host's ports, the relay) is let go at its end: between
two runs others may have its ports and its address, as in Docker. Its own writes stay.
"""

from __future__ import annotations

import time

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.containers import Container
from minidock.engine.container.endpoints import has_names
from minidock.engine.container.teardown import take_down
from minidock.engine.monitor.launch import RunResources, launch, set_running
from minidock.engine.monitor.logs import LogFile, limits_of
from minidock.engine.monitor.poll_loop import READABLE, Loop
from minidock.engine.monitor.session import Pipes, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minidock.engine.monitor.networking import NetworkSandbox
    from minidock.engine.network.dns.server import NameServer
    from minidock.engine.network.proxy_tcp import UserlandProxy
    from minidock.runtime import lifecycle


class Run:
    """A container's command, running.

    session: its streams. look_on: as for `launch`. Making one launches it: raises what `launch`
    raises; nothing is left then.
    """

    def __init__(
        self,
        loop: Loop,
        container: Container,
        look_on: Callable[[lifecycle.Container], None] | None = None,
    ) -> None:
        self._loop = loop
        self._container = container
        config = container.config
        limits = limits_of(container.host_config)
        pipes = None if config.get("Tty") else Pipes(stdin=bool(config.get("OpenStdin")))
        try:
            self._resources: RunResources = launch(
                container, pipes.theirs if pipes else None, look_on
            )
        except BaseException:
            if pipes is not None:
                pipes.close()
            raise
        set_running(container, self._resources.runtime.pid)
        self._began = time.monotonic()
        kind = (container.host_config.get("LogConfig") or {}).get("Type")
        self._log = None if kind == "none" else LogFile(container.paths.log, limits)
        self.session = Session(
            loop,
            pid=self._resources.runtime.pid,
            console=self._resources.runtime.console,
            pipes=pipes,
            log=self._log,
            close_stdin_with_client=bool(config.get("StdinOnce")),
            on_end=lambda session: None,
            end_with_client="Build" in container.document,
        )
        self._relay = self._begin_relay()
        self._names = self._begin_names()

    def _begin_relay(self) -> UserlandProxy | None:
        """Carry by hand what reaches the held ports past the firewall's rules."""
        wiring = self._resources.wiring
        if not wiring.ports:
            return None
        # Only containers with published ports pay for it.
        from minidock.engine.network.proxy_tcp import UserlandProxy

        relay = UserlandProxy(wiring.ports, wiring.address)
        self._loop.watch(relay.fd, READABLE, lambda events: relay.on_ready())
        return relay

    def _begin_names(self) -> NameServer | None:
        """Answer the container's questions for names, where it is on a network that has them."""
        sockets = self._resources.wiring.dns_sockets
        if sockets is None:
            return None
        # Only containers on networks that people made pay for it.
        from minidock.engine.network.dns.records import DnsRecords
        from minidock.engine.network.dns.server import NameServer
        from minidock.engine.network.hosts_file import upstream_servers

        container = self._container
        server = NameServer(
            sockets,
            DnsRecords(container.store, container.id),
            upstream_servers(container.host_config.get("Dns") or []),
        )
        self._loop.watch(server.fd, READABLE, lambda events: server.on_ready())
        return server

    @property
    def wiring(self) -> NetworkSandbox:
        """Its networks, and what is held for them."""
        return self._resources.wiring

    @property
    def serves_dns(self) -> bool:
        return self._names is not None

    def hold(self, joined: Sequence[str]) -> str:
        """Hold the sockets of a container that is on these networks; returns its last way out.

        Until `serve`, nothing is carried by hand to its ports where the way out changes.
        """
        before = self.wiring.gateway_network
        if self.wiring.select_gateway_network(joined) != before:
            self._end_relay()
        self.wiring.move(joined)
        return before

    def serve(self) -> None:
        """Serve at the sockets that are held, as its document has its networks now."""
        if self._relay is None:
            self._relay = self._begin_relay()
        if self._names is None and has_names(self._container.document):
            self._names = self._begin_names()

    def _end_relay(self) -> None:
        if self._relay is not None:
            self._loop.forget(self._relay.fd)
            self._relay.close()
            self._relay = None

    @property
    def lives(self) -> bool:
        return self.session.pidfd >= 0

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._began

    def clean_up(self) -> bool:
        """Unmake all that this run made; what of its processes still runs is killed.

        Returns whether the kernel ended it for want of memory.
        Raises LockTimeout where somebody keeps us from that; `take_down` can be called again.
        """
        if self._log is not None:
            self._log.close()
        self._end_relay()
        if self._names is not None:
            self._loop.forget(self._names.fd)
            self._names.close()
        self._resources.wiring.close_dns_sockets()
        store = self._container.store
        group = cgroup_of(store, self._container.id)
        oom = self.session.exit_code == 137 and group.oom_kills() > 0
        try:
            take_down(store, self._container.id)
        finally:
            self._resources.let_go()
        return oom
