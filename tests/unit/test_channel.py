"""What the runtime and init say to each other before an act, where a debugger is at work."""

from __future__ import annotations

import threading

import pytest

from minidock.kernel.op import Journal
from minidock.runtime.channel import pair


def test_init_waits_for_its_turn_even_if_go_came_before() -> None:
    """At its birth "go" is said without being asked for, and must not count as a turn."""
    ours, theirs = pair()
    said: list[str] = []
    journal = Journal(said.append, actor="monitor")
    journal.turn = lambda: said.append("asked")

    def init() -> None:
        theirs.send_record("first act")
        theirs.await_turn()
        said.append("first act is done")
        theirs.await_go()
        theirs.send_ready()

    ours.send_go()
    child = threading.Thread(target=init)
    child.start()
    child.join(0.05)
    assert said == [] and child.is_alive()
    assert ours.receive(journal) == "ready"
    child.join()
    assert said == ["first act", "asked", "first act is done"]
    ours.close()
    theirs.close()


def test_init_ends_where_its_runtime_has_died_while_it_waits() -> None:
    ours, theirs = pair()
    death = threading.Timer(0.05, ours.close)
    death.start()
    with pytest.raises((EOFError, ConnectionResetError)):  # our question read, or not
        theirs.await_turn()
    death.join()
    theirs.close()


def test_what_keeps_an_act_from_its_turn_reaches_the_runtime_and_init_hears_nothing() -> None:
    ours, theirs = pair()

    def refuse() -> None:
        raise RuntimeError("given up")

    journal = Journal(lambda _record: None, actor="monitor")
    journal.turn = refuse
    theirs.socket.send(b"T")
    with pytest.raises(RuntimeError):
        ours.receive(journal)
    ours.close()
    assert theirs.socket.recv(16) == b""
    theirs.close()
