"""A delegated unit, asked for at a socket where this test answers in the place of systemd.

With a real systemd: tests/e2e/test_cgroup_systemd.py.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    Parser,
    new_error,
    new_method_return,
    new_signal,
)

from minidock.errors import KernelError, MinidockError, UsageError
from minidock.kernel import systemd

MANAGER = DBusAddress("/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager")
Answer = Callable[[Message], Message]


class Peer(threading.Thread):
    """Plays systemd for one connection.

    answers: for each method, what makes the messages that are sent; with none of them it hangs up.
    calls: what was asked.
    """

    def __init__(self, path: Path, answers: dict[str, list[Answer]]) -> None:
        super().__init__(daemon=True)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answers = answers
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        self.start()

    def run(self) -> None:
        connection, _ = self.listening.accept()
        with connection:
            uid = str(os.geteuid()).encode().hex().encode()
            assert line(connection) == b"\0AUTH EXTERNAL %s\r\n" % uid
            connection.sendall(b"OK 1234\r\n")
            assert line(connection) == b"BEGIN\r\n"
            parser = Parser()
            while True:
                while (call := parser.get_next_message()) is None:
                    if not (data := connection.recv(4096)):
                        return
                    parser.add_data(data)
                method = call.header.fields[HeaderFields.member]
                self.calls.append((method, call.body))
                for answer in self.answers[method]:
                    connection.sendall(answer(call).serialise(99))
                if not self.answers[method]:
                    return


def line(connection: socket.socket) -> bytes:
    read = b""
    while not read.endswith(b"\r\n"):
        read += connection.recv(1)
    return read


def job(path: str, result: str) -> Answer:
    return lambda call: signal("JobRemoved", "uoss", (7, path, "x.service", result))


def signal(name: str, signature: str, values: tuple[object, ...]) -> Message:
    return new_signal(MANAGER, name, signature, values)


def accepted(call: Message) -> Message:
    return new_method_return(call, "o", ("/job/7",))


def refusal(name: str, text: str) -> Answer:
    return lambda call: new_error(call, f"org.freedesktop.systemd1.{name}", "s", (text,))


def other_signal(call: Message) -> Message:
    return signal("Reloading", "b", (True,))


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Peer]:
    """Starts a peer where systemd's socket is looked for."""
    monkeypatch.setattr(systemd, "PRIVATE_SOCKET", str(tmp_path / "private"))
    monkeypatch.setattr(systemd, "_LIMIT_SECONDS", 10.0)

    def start(**answers: list[Answer]) -> Peer:
        return Peer(tmp_path / "private", answers)

    return start


def start() -> None:
    systemd.start_delegated_unit("x.service", slice_name="a.slice")


def test_a_unit_is_asked_for_and_its_job_waited_for(play: Callable[..., Peer]) -> None:
    """The job may have ended before the answer to the call is read."""
    peer = play(
        StartTransientUnit=[job("/job/6", "failed"), other_signal, job("/job/7", "done"), accepted]
    )
    start()
    ((method, (name, mode, properties, others)),) = peer.calls
    assert (method, name, mode, others) == ("StartTransientUnit", "x.service", "fail", [])
    asked = dict(properties)
    assert asked["Delegate"] == ("b", 1) and asked["Slice"] == ("s", "a.slice")
    assert asked["ExecStart"] == ("a(sasb)", [("/bin/sleep", ["/bin/sleep", "infinity"], 0)])


def test_a_unit_that_is_there_is_started(play: Callable[..., Peer]) -> None:
    peer = play(
        StartTransientUnit=[refusal("UnitExists", "it is there")],
        StartUnit=[accepted, job("/job/7", "done")],
    )
    start()
    assert peer.calls[1] == ("StartUnit", ("x.service", "replace"))


def test_a_refusal_is_given_in_systemds_words(play: Callable[..., Peer]) -> None:
    play(StartTransientUnit=[refusal("BadUnitSetting", "Unit x.service is bad.")])
    with pytest.raises(MinidockError, match="Unit x.service is bad. .*BadUnitSetting"):
        start()


def test_a_job_that_fails_says_where_to_look(play: Callable[..., Peer]) -> None:
    play(StartTransientUnit=[accepted, job("/job/7", "failed")])
    with pytest.raises(MinidockError, match="ended with 'failed'") as caught:
        start()
    assert caught.value.hint == "systemctl status x.service"


def test_a_systemd_that_does_not_answer_is_not_waited_for_for_ever(
    play: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_LIMIT_SECONDS", 0.2)
    play(StartTransientUnit=[accepted])
    with pytest.raises(KernelError, match="ETIMEDOUT"):
        start()


def test_where_nobody_listens_the_socket_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "PRIVATE_SOCKET", str(tmp_path / "none"))
    with pytest.raises(KernelError, match="none.*ENOENT"):
        start()


def test_a_systemd_that_hangs_up_is_named(play: Callable[..., Peer]) -> None:
    play(StartTransientUnit=[])
    with pytest.raises(KernelError, match="ECONNRESET"):
        start()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.slice", "a.slice"),
        ("a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice"),
        (r"a\x2db.slice", r"a\x2db.slice"),
        ("-.slice", ""),
    ],
)
def test_a_slice_is_below_those_that_its_name_begins_with(name: str, path: str) -> None:
    assert systemd.slice_path(name) == path


@pytest.mark.parametrize(
    "name", ["a", ".slice", "a/b.slice", "a--b.slice", "-a.slice", "a b.slice"]
)
def test_what_is_no_slice_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="valid slice"):
        systemd.slice_path(name)
