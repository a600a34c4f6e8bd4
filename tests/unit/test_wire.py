"""Messages between a command and a monitor."""

from __future__ import annotations

from minidock.engine.monitor import wire


def test_the_last_message_arrives_though_the_other_end_left_ours_unread() -> None:
    ours, theirs = wire.pair()
    ours.send(b"e")  # never read
    theirs.send(wire.message(b"x", {"code": 7}))
    theirs.close()
    assert wire.content_of(wire.receive(ours)) == {"code": 7}
    assert wire.receive(ours) == b""
    ours.close()
