"""One run of a container's command: from its launch to the end of its clean-up.

A restart policy makes several runs in one monitor. Each run releases its pipes, log, published
ports and userland proxy at its end: between two runs other containers may get its ports and its
address, as in Docker. The container's file system stays.
"""

from __future__ import annotations

import time

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.containers import Container, set_running
from minidock.engine.container.network_aliases import has_dns_names
from minidock.engine.container.teardown import tear_down
from minidock.engine.monitor.json_file_log import LogFile, limits_of
from minidock.engine.monitor.launch import RunResources, launch
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

    session: its streams. inspect: as for `launch`. The constructor launches the container, and
    raises what `launch` raises.
    """

    def __init__(
        self,
        loop: Loop,
        container: Container,
        inspect: Callable[[lifecycle.Container], None] | None = None,
    ) -> None:
        self._loop = loop
        self._container = container
        config = container.config
        limits = limits_of(container.host_config)
        pipes = None if config.get("Tty") else Pipes(stdin=bool(config.get("OpenStdin")))
        try:
            self._resources: RunResources = launch(
                container, pipes.theirs if pipes else None, inspect
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
        self._proxy = self._start_proxy()
        self._dns = self._start_dns()

    def _start_proxy(self) -> UserlandProxy | None:
        """Start the userland proxy for connections that the firewall rules do not forward."""
        network = self._resources.network
        if not network.ports:
            return None
        # Imported only for published ports.
        from minidock.engine.network.proxy_tcp import UserlandProxy

        proxy = UserlandProxy(network.ports, network.address)
        self._loop.watch(proxy.fd, READABLE, lambda events: proxy.on_ready())
        return proxy

    def _start_dns(self) -> NameServer | None:
        """Start the DNS server, on networks with name resolution."""
        sockets = self._resources.network.dns_sockets
        if sockets is None:
            return None
        # Imported only for user-defined networks.
        from minidock.engine.network.dns.records import DnsRecords
        from minidock.engine.network.dns.server import NameServer
        from minidock.engine.network.resolv_conf import upstream_servers

        container = self._container
        server = NameServer(
            sockets,
            DnsRecords(container.store, container.id),
            upstream_servers(container.host_config.get("Dns") or []),
        )
        self._loop.watch(server.fd, READABLE, lambda events: server.on_ready())
        return server

    @property
    def network(self) -> NetworkSandbox:
        """Its network sandbox."""
        return self._resources.network

    @property
    def serves_dns(self) -> bool:
        return self._dns is not None

    def open_sockets(self, joined: Sequence[str]) -> str:
        """Open the sockets for these networks; returns the previous gateway network.

        If the gateway network changes, the userland proxy pauses until `serve`.
        """
        before = self.network.gateway_network
        if self.network.select_gateway_network(joined) != before:
            self._stop_proxy()
        self.network.move(joined)
        return before

    def serve(self) -> None:
        """Start the proxy and the DNS server for the open sockets."""
        if self._proxy is None:
            self._proxy = self._start_proxy()
        if self._dns is None and has_dns_names(self._container.document):
            self._dns = self._start_dns()

    def _stop_proxy(self) -> None:
        if self._proxy is not None:
            self._loop.forget(self._proxy.fd)
            self._proxy.close()
            self._proxy = None

    @property
    def is_running(self) -> bool:
        return self.session.pidfd >= 0

    @property
    def seconds(self) -> float:
        """Seconds since the launch."""
        return time.monotonic() - self._began

    def clean_up(self) -> bool:
        """Tear the run down; kills its remaining processes.

        Returns whether the OOM killer ended it.
        Raises LockTimeout if a lock is not released in time; `tear_down` can be called again.
        """
        if self._log is not None:
            self._log.close()
        self._stop_proxy()
        if self._dns is not None:
            self._loop.forget(self._dns.fd)
            self._dns.close()
        self._resources.network.close_dns_sockets()
        store = self._container.store
        group = cgroup_of(store, self._container.id)
        oom = self.session.exit_code == 137 and group.oom_kills() > 0
        try:
            tear_down(store, self._container.id)
        finally:
            self._resources.release()
        return oom
