"""A monitor asks before each operation, also while an error propagates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from minidock.engine.monitor import protocol
from minidock.engine.monitor.client import Client
from minidock.engine.monitor.poll_loop import Loop
from minidock.engine.monitor.step_gate import StepGate
from minidock.errors import Aborted


class Command:
    """The command at the other end; it has its answers ready."""

    def __init__(self) -> None:
        self.socket, theirs = protocol.pair()
        loop = Loop()
        client = Client(loop, theirs)
        self.gate = StepGate(loop, client, container=None)  # type: ignore[arg-type]
        client.on_message = self.gate.on_message

    def asked(self) -> int:
        """How often it was asked since this was called last."""
        self.socket.setblocking(False)
        count = 0
        try:
            while self.socket.recv(16) == protocol.STEP:
                count += 1
        except BlockingIOError:
            return count
        return count


@pytest.fixture
def command() -> Iterator[Command]:
    made = Command()
    yield made
    made.socket.close()


def test_each_act_waits_for_its_own_word(command: Command) -> None:
    for _ in range(3):
        command.socket.send(protocol.CONTINUE)
        command.gate.wait()
    assert command.asked() == 3


def test_after_an_abort_no_operation_runs_even_if_the_error_is_swallowed(command: Command) -> None:
    command.socket.send(protocol.ABORT)
    for _ in range(3):
        with pytest.raises(Aborted):
            command.gate.wait()
    assert command.asked() == 1


def test_a_dead_command_aborts(command: Command) -> None:
    command.socket.close()
    with pytest.raises(Aborted):
        command.gate.wait()


@pytest.mark.parametrize("word", [protocol.CONTINUE, protocol.ABORT])
def test_while_an_error_propagates_every_operation_runs(command: Command, word: bytes) -> None:
    done: list[Any] = []

    class Visit:
        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None:
            command.gate.wait()
            done.append("left")

    command.socket.send(word)
    with pytest.raises(ValueError), Visit():
        raise ValueError
    with pytest.raises(Aborted), Visit():
        command.socket.send(protocol.ABORT)
        command.gate.wait()
    assert done == ["left", "left"]
