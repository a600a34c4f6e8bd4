"""The monitor's poll loop calls the handler of what is ready, and no other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from minidock.engine.monitor.poll_loop import READABLE, Loop


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def readable() -> Iterator[list[int]]:
    """Two pipes' reading ends, with a byte in each."""
    with ExitStack() as stack:
        ends = []
        for _ in range(2):
            reading, writing = os.pipe()
            os.write(writing, b"x")
            stack.callback(os.close, reading)
            stack.callback(os.close, writing)
            ends.append(reading)
        yield ends


def test_each_that_is_ready_is_called_once(loop: Loop, readable: list[int]) -> None:
    called = []
    for fd in readable:
        loop.watch(fd, READABLE, lambda events, fd=fd: called.append((fd, events)))
    loop.turn()
    assert called == [(fd, READABLE) for fd in readable]


def test_what_an_earlier_handler_has_let_go_is_not_called(loop: Loop, readable: list[int]) -> None:
    called = []
    loop.watch(readable[0], READABLE, lambda events: loop.forget(readable[1]))
    loop.watch(readable[1], READABLE, called.append)
    loop.turn()
    assert called == []


def test_one_with_the_number_of_what_was_ready_is_not_called(
    loop: Loop, readable: list[int]
) -> None:
    """Nothing is to be read there: a handler that waits would wait."""
    called: list[str] = []
    silent, writing = os.pipe()

    def take_its_number(events: int) -> None:
        loop.forget(readable[1])
        os.dup2(silent, readable[1])
        loop.watch(readable[1], READABLE, lambda events: called.append("new"))

    loop.watch(readable[0], READABLE, take_its_number)
    loop.watch(readable[1], READABLE, lambda events: called.append("old"))
    loop.turn()
    os.close(silent)
    os.close(writing)
    assert called == []
