"""Messages between a command and a monitor."""

from __future__ import annotations

import pytest

from minidock.engine.monitor import protocol
from minidock.engine.monitor.client import Client
from minidock.engine.monitor.poll_loop import Loop


def test_the_last_message_arrives_though_the_other_end_left_ours_unread() -> None:
    ours, theirs = protocol.pair()
    ours.send(protocol.STDIN_END)  # never read
    theirs.send(protocol.message(protocol.EXITED, {"code": 7}))
    theirs.close()
    assert protocol.content_of(protocol.receive(ours)) == {"code": 7}
    assert protocol.receive(ours) == b""
    ours.close()


@pytest.mark.parametrize("leaves", ["before", "after"])
def test_what_a_command_sent_is_heard_though_it_left_our_answer_unread(leaves: str) -> None:
    """A command that detaches has sent all that was typed before the keys."""
    command, ours = protocol.pair()
    loop, heard = Loop(), []
    client = Client(loop, ours)
    client.on_message = lambda client, packet: heard.append(packet)
    typed = [b"i%d" % number for number in range(5)]
    for packet in typed:
        command.send(packet)
    if leaves == "before":
        command.close()
    client.send(protocol.ack(1))
    command.close()
    for _ in range(len(typed) + 1):
        loop.turn(0)
    assert heard == typed
    assert not client.is_open


class Answers:
    """A socket whose recv(2) gives these answers, one after the other."""

    def __init__(self, *answers: bytes | type[OSError]) -> None:
        self.answers = [*answers]

    def recv(self, size: int, flags: int) -> bytes:
        answer = self.answers.pop(0)
        if isinstance(answer, bytes):
            return answer
        raise answer


@pytest.mark.parametrize(
    "answers",
    [
        (b"X", b""),
        (ConnectionResetError, b"X", b""),
        (b"", b"X", b""),  # the end was seen between two looks of the kernel
        (ConnectionResetError, b"", b"X", b""),
    ],
)
def test_a_message_that_arrived_before_the_end_is_received(
    answers: tuple[bytes | type[OSError], ...],
) -> None:
    assert protocol.receive(Answers(*answers), wait=False) == b"X"  # type: ignore[arg-type]


def test_the_end_is_an_empty_message() -> None:
    assert protocol.receive(Answers(b"", b"", b"")) == b""  # type: ignore[arg-type]
    with pytest.raises(BlockingIOError):
        protocol.receive(Answers(BlockingIOError), wait=False)  # type: ignore[arg-type]
