"""`network connect` and `disconnect` of a running container (NETWORK_CHANGE in protocol.py).

    monitor    opens the sockets for the new networks: published ports, DNS
    child      does all blocking work (child_task.py): locks, iptables-restore, fsync(2)
    monitor    serves the sockets; answers

Changes run one at a time. If joining fails or the child is killed, the monitor reopens the previous
sockets, and another child leaves the network. A network that could not be left stays in the
document, so that `disconnect` can be repeated. At the latest, the container's teardown leaves every
network (container/teardown.py).

The container's lock is taken only to save the document, since health checks need it too.
"""

from __future__ import annotations

from minidock.engine.container import network_files
from minidock.engine.container.endpoints import (
    network_names,
    require_connected,
    require_not_connected,
)
from minidock.engine.container.network_aliases import dns_names, refresh_dns_names
from minidock.engine.monitor import protocol
from minidock.engine.monitor.child_task import ChildTask
from minidock.engine.network import networks
from minidock.engine.store.stories import recording_story
from minidock.errors import MinidockError, as_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.document_types.message import NetworkChange
    from minidock.document_types.network import EndpointRequest
    from minidock.engine.container.containers import Container
    from minidock.engine.monitor.client import Client
    from minidock.engine.monitor.poll_loop import Loop
    from minidock.engine.monitor.run import Run

_LIMIT_SECONDS = 600.0  # each lock and program has its own limit


class NetworkChanges:
    """The network changes of a container: one at a time, the others queued."""

    def __init__(self, loop: Loop, container: Container) -> None:
        self._loop = loop
        self._container = container
        self._current: _NetworkChange | None = None
        self._waiting: list[_NetworkChange] = []

    def begin(self, client: Client, run: Run, content: NetworkChange) -> None:
        """Change a run's networks. content: of NETWORK_CHANGE; client: gets the answer."""

        def answer(error: MinidockError | None) -> None:
            client.send(protocol.failure(error) if error else protocol.STARTED)
            self._begin_next()

        self._waiting.append(_NetworkChange(self._loop, self._container, run, content, answer))
        if self._current is None:
            self._begin_next()

    def _begin_next(self) -> None:
        self._current = self._waiting.pop(0) if self._waiting else None
        if self._current is not None:
            self._current.begin()

    def cancel(self, error: MinidockError) -> None:
        """Kill the working child and drop the queue: the container has ended."""
        changes = [self._current, *self._waiting] if self._current is not None else []
        self._waiting = []
        for change in changes:
            change.cancel(error)


class _NetworkChange:
    """Joining or leaving one network. `answer` is called once, at the end."""

    def __init__(
        self,
        loop: Loop,
        container: Container,
        run: Run,
        content: NetworkChange,
        answer: Callable[[MinidockError | None], None],
    ) -> None:
        self._loop = loop
        self._container = container
        self._run = run
        self._network: str = content["network"]
        self._asked = content["asked"]
        self._answer = answer
        self._task: ChildTask | None = None

    def begin(self) -> None:
        """Open the sockets, and start a child task for the rest."""
        try:
            self._container.reload()
            before = network_names(self._container.document)
            if self._asked is not None:
                require_not_connected(self._container, self._network)
                after = [*before, self._network]
            else:
                require_connected(self._container, self._network)
                after = [name for name in before if name != self._network]
        except Exception as error:  # the container must survive a bug here
            self._answer(as_ours(error))
            return
        try:
            gateway_network = self._open_sockets(after)
        except Exception as error:
            self._undo(before, as_ours(error), made=False)
            return
        self._send(
            lambda: self._apply(gateway_network),
            done=self._finish,
            failed=lambda error: self._undo(before, error, made=self._asked is not None),
        )

    def cancel(self, error: MinidockError) -> None:
        """Kill the child and answer with an error."""
        if self._task is not None:
            self._task.kill()
            self._task = None
        self._answer(error)

    # In the monitor

    def _open_sockets(self, networks_: list[str]) -> str:
        with self._telling():
            return self._run.open_sockets(networks_)

    def _send(
        self,
        work: Callable[[], None],
        *,
        done: Callable[[], None],
        failed: Callable[[MinidockError], None],
    ) -> None:
        self._task = ChildTask(
            self._loop, work, done=done, failed=failed, limit_seconds=_LIMIT_SECONDS
        )

    def _undo(self, before: list[str], error: MinidockError, *, made: bool) -> None:
        """Restore the previous networks. made: the new network may be joined in part."""
        try:
            gateway_network = self._open_sockets(before)
        except Exception as failure:  # another process may have taken a port
            error.add_note(f"while undoing: {failure}")
            gateway_network = self._run.network.gateway_network
        if not made:
            self._finish(error)
            return
        self._send(
            lambda: self._leave_and_save(gateway_network),
            done=lambda: self._finish(error),
            failed=lambda failure: self._finish(error),
        )

    def _finish(self, error: MinidockError | None = None) -> None:
        """Serve the open sockets, and answer."""
        self._task = None
        try:
            self._container.reload()
            if error is None and self._asked is not None:
                self._run.network.count_interface()
            self._run.serve()
        except Exception as failure:
            error = error or as_ours(failure)
        self._answer(error)

    # In the child

    def _apply(self, gateway_network: str) -> None:
        """Join, or leave, and write it down. gateway_network: the last one."""
        if self._asked is None:
            self._leave_and_save(gateway_network)
        else:
            self._join(self._asked, gateway_network)
            self._save()
            self._serve_names()

    def _join(self, asked: EndpointRequest, gateway_network: str) -> None:
        with self._telling():
            address = self._run.network.join(self._network, asked, before=gateway_network)
            network_files.add_address(self._container, address)

    def _serve_names(self) -> None:
        """Let the container ask our name server, from its first network with names on.

        Last: a change that fails before leaves the container with the name servers that it had.
        """
        dns_sockets = self._run.network.dns_sockets
        if dns_sockets is None or self._run.serves_dns:
            return
        from minidock.engine.network.dns.sockets import redirect_port_53  # rarely needed

        with self._telling():
            redirect_port_53(dns_sockets)
            network_files.enable_name_server(self._container)

    def _leave(self, gateway_network: str) -> None:
        with self._telling():
            address = self._run.network.leave(self._network, before=gateway_network)
            if address:
                network_files.drop_address(self._container, address)

    def _leave_and_save(self, gateway_network: str) -> None:
        self._leave(gateway_network)
        self._save()

    def _save(self) -> None:
        """Save the networks, and keep concurrent changes of the document."""
        container = self._container
        name, settings = container.name, container.document["NetworkSettings"]
        with container.editing():
            container.reload()
            container.document["NetworkSettings"] = settings
            refresh_dns_names(container.document)
            container.save()
            if container.name != name:
                document = container.document
                networks.set_dns_names(
                    container.store,
                    container.id,
                    lambda network: dns_names(document, network) or [],
                )

    def _telling(self) -> recording_story:
        verb = "disconnect" if self._asked is None else "connect"
        journal = self._container.store.network_journal(self._network)
        return recording_story(journal, f"{verb} {self._container.name}")
