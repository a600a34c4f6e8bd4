"""`network connect` and `disconnect` of a running container: begun at once, answered when done
(main.py, "N").

    monitor    holds the sockets that the container is to have then: ports, and those of its names
    child      does all that waits (child_task.py): locks, iptables-restore, fsync(2)
    monitor    serves at the sockets; answers

One change at a time. Where a container could not join, or the child was killed, the monitor holds
the sockets of before, and another child has the container leave. A network that it could not leave
is still in its document, so that it can be asked for again. If all fails, the end of the container
takes it off every network (container/teardown.py).

The container's own lock is taken at the end only, for its document: health checks need it, too.
"""

from __future__ import annotations

from minidock.engine.container import network_files
from minidock.engine.container.endpoints import joined, names_on, require_absent, require_present
from minidock.engine.monitor import protocol
from minidock.engine.monitor.child_task import ChildTask
from minidock.engine.network import networks
from minidock.engine.store.stories import telling
from minidock.errors import MinidockError, as_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minidock.engine.container.containers import Container
    from minidock.engine.monitor.client import Client
    from minidock.engine.monitor.poll_loop import Loop
    from minidock.engine.monitor.run import Run

_LIMIT_SECONDS = 600.0  # each lock and each program that it waits for has a limit of its own


class NetworkChanges:
    """The changes of a container's networks: one is made, others wait for their turn."""

    def __init__(self, loop: Loop, container: Container) -> None:
        self._loop = loop
        self._container = container
        self._current: _NetworkChange | None = None
        self._waiting: list[_NetworkChange] = []

    def begin(self, client: Client, run: Run, content: dict[str, Any]) -> None:
        """Change a run's networks. content: of an N message; client: gets the answer."""

        def answer(error: MinidockError | None) -> None:
            client.send(protocol.failure(error) if error else protocol.STARTED)
            self._proceed()

        self._waiting.append(_NetworkChange(self._loop, self._container, run, content, answer))
        if self._current is None:
            self._proceed()

    def _proceed(self) -> None:
        self._current = self._waiting.pop(0) if self._waiting else None
        if self._current is not None:
            self._current.begin()

    def give_up(self, error: MinidockError) -> None:
        """The container has ended: end the child that is at work; none of them is wanted."""
        changes = [self._current, *self._waiting] if self._current is not None else []
        self._waiting = []
        for change in changes:
            change.give_up(error)


class _NetworkChange:
    """One network that is joined, or left. `answer` is called once, when that is over."""

    def __init__(
        self,
        loop: Loop,
        container: Container,
        run: Run,
        content: dict[str, Any],
        answer: Callable[[MinidockError | None], None],
    ) -> None:
        self._loop = loop
        self._container = container
        self._run = run
        self._network: str = content["network"]
        self._asked: dict[str, Any] | None = content["asked"]
        self._answer = answer
        self._task: ChildTask | None = None

    def begin(self) -> None:
        """Hold what it takes, and send a child for the rest."""
        try:
            self._container.reload()
            before = joined(self._container.document)
            if self._asked is not None:
                require_absent(self._container, self._network)
                after = [*before, self._network]
            else:
                require_present(self._container, self._network)
                after = [name for name in before if name != self._network]
        except Exception as error:  # a fault of ours is no reason for the container to end
            self._answer(as_ours(error))
            return
        try:
            gateway_network = self._hold(after)
        except Exception as error:
            self._undo(before, as_ours(error), made=False)
            return
        self._send(
            lambda: self._carry_out(gateway_network),
            done=self._settle,
            failed=lambda error: self._undo(before, error, made=self._asked is not None),
        )

    def give_up(self, error: MinidockError) -> None:
        """Nobody needs it any more."""
        if self._task is not None:
            self._task.kill()
            self._task = None
        self._answer(error)

    # What the monitor does

    def _hold(self, networks_: list[str]) -> str:
        with self._telling():
            return self._run.hold(networks_)

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
        """Have everything as it was. made: something of the network may be there."""
        try:
            gateway_network = self._hold(before)
        except Exception as failure:  # a port of before is another's by now
            error.add_note(f"while undoing: {failure}")
            gateway_network = self._run.wiring.gateway_network
        if not made:
            self._settle(error)
            return
        self._send(
            lambda: self._leave(gateway_network),
            done=lambda: self._settle(error),
            failed=lambda failure: self._settle(error),
        )

    def _settle(self, error: MinidockError | None = None) -> None:
        """Serve at what is held, and answer."""
        self._task = None
        try:
            self._container.reload()
            if error is None and self._asked is not None:
                self._run.wiring.count_interface()
            self._run.serve()
        except Exception as failure:
            error = error or as_ours(failure)
        self._answer(error)

    # What its child does

    def _carry_out(self, gateway_network: str) -> None:
        """Join, or leave, and write it down. gateway_network: the last one."""
        if self._asked is None:
            self._leave(gateway_network)
        else:
            self._join(self._asked, gateway_network)
        self._note()

    def _join(self, asked: dict[str, Any], gateway_network: str) -> None:
        container, wiring = self._container, self._run.wiring
        with self._telling():
            address = wiring.join(self._network, asked, before=gateway_network)
            network_files.add_address(container, address)
            if wiring.dns_sockets is not None and not self._run.serves_dns:
                # Few containers come to have names while they run.
                from minidock.engine.network.dns.sockets import redirect_port_53

                redirect_port_53(wiring.dns_sockets)
                network_files.serve_names(container)

    def _leave(self, gateway_network: str) -> None:
        with self._telling():
            address = self._run.wiring.leave(self._network, before=gateway_network)
            if address:
                network_files.drop_address(self._container, address)

    def _note(self) -> None:
        """Write down its networks, beside what others have written down meanwhile."""
        container = self._container
        name, settings = container.name, container.document["NetworkSettings"]
        with container.editing():
            container.reload()
            container.document["NetworkSettings"] = settings
            for network, endpoint in settings["Networks"].items():
                if endpoint.get("DNSNames"):
                    endpoint["DNSNames"] = names_on(container.document, network)
            container.save()
            if container.name != name:
                document = container.document
                networks.set_dns_names(
                    container.store, container.id, lambda network: names_on(document, network) or []
                )

    def _telling(self) -> telling:
        verb = "disconnect" if self._asked is None else "connect"
        journal = self._container.store.network_journal(self._network)
        return telling(journal, f"{verb} {self._container.name}")
