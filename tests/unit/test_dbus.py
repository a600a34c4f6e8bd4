"""D-Bus messages: held against the specification's rules, and spoken with a peer that we play."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minidock.errors import KernelError, MinidockError, UsageError
from minidock.kernel import systemd
from minidock.kernel.dbus import Connection, Refused, marshal, unmarshal


@pytest.mark.parametrize(
    ("signature", "values", "written"),
    [
        ("y", [7], b"\7"),
        ("yu", [7, 1], b"\7\0\0\0\1\0\0\0"),
        ("yb", [7, True], b"\7\0\0\0\1\0\0\0"),
        ("ut", [1, 2], b"\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0"),
        ("s", ["foo"], b"\3\0\0\0foo\0"),
        ("g", ["a{sv}"], b"\5a{sv}\0"),
        ("as", [["a", "bc"]], b"\17\0\0\0\1\0\0\0a\0\0\0\2\0\0\0bc\0"),
        ("at", [[]], b"\0\0\0\0\0\0\0\0"),  # padded to the first element that is not there
        ("at", [[5]], b"\10\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0"),
        ("v", [("u", 5)], b"\1u\0\0\5\0\0\0"),
        ("y(ys)", [1, (2, "x")], b"\1\0\0\0\0\0\0\0\2\0\0\0\1\0\0\0x\0"),
    ],
)
def test_values_are_written_as_the_specification_says(
    signature: str, values: list[Any], written: bytes
) -> None:
    assert marshal(signature, values) == written
    assert unmarshal(signature, written) == values


def test_what_systemd_is_sent_is_read_back_the_same() -> None:
    values = [
        "x.service",
        "fail",
        [("Delegate", ("b", 1)), ("ExecStart", ("a(sasb)", [("/bin/sleep", ["a", "b"], 0)]))],
        [],
    ]
    assert unmarshal("ssa(sv)a(sa(sv))", marshal("ssa(sv)a(sa(sv))", values)) == values


# --- a peer -----------------------------------------------------------------------------------


class Peer(threading.Thread):
    """Plays systemd for one connection.

    answers: for each method, what to send; "serial" in it stands for the call's. calls: what was
    asked.
    """

    def __init__(self, path: Path, answers: dict[str, list[tuple[int, dict[str, Any]]]]) -> None:
        super().__init__(daemon=True)
        self.calls: list[tuple[str, list[Any]]] = []
        self.answers = answers
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        self.start()

    def run(self) -> None:
        connection, _ = self.listening.accept()
        with connection, connection.makefile("rb") as stream:
            assert (
                stream.readline()
                == b"\0AUTH EXTERNAL %s\r\n" % str(os.geteuid()).encode().hex().encode()
            )
            connection.sendall(b"OK 1234\r\n")
            assert stream.readline() == b"BEGIN\r\n"
            while head := stream.read(16):
                _, _, _, _, body_bytes, serial, field_bytes = struct.unpack("<BBBBIII", head)
                fields = dict(unmarshal("yyyyuua(yv)", head + stream.read(field_bytes))[6])
                stream.read(-field_bytes % 8)
                method, signature = fields[3][1], fields[8][1]
                self.calls.append((method, unmarshal(signature, stream.read(body_bytes))))
                for kind, told in self.answers[method]:
                    connection.sendall(message(kind, serial, **told))


def message(kind: int, serial: int, *, signature: str, values: list[Any], name: str = "") -> bytes:
    """An answer (2), an error (3) or a signal (4)."""
    fields: list[Any] = [(8, ("g", signature))]
    if kind != 4:
        fields.append((5, ("u", serial)))
    if name:
        fields.append((4 if kind == 3 else 3, ("s", name)))
    body = marshal(signature, values)
    header = marshal("yyyyuua(yv)", [ord("l"), kind, 0, 1, len(body), 99, fields])
    return header + bytes(-len(header) % 8) + body


def job(path: str, result: str) -> tuple[int, dict[str, Any]]:
    values = [7, path, "x.service", result]
    return 4, {"signature": "uoss", "values": values, "name": "JobRemoved"}


ANSWER = (2, {"signature": "o", "values": ["/job/7"]})
OTHER_SIGNAL = (4, {"signature": "", "values": [], "name": "Reloading"})


def refusal(name: str, text: str) -> tuple[int, dict[str, Any]]:
    return 3, {"signature": "s", "values": [text], "name": f"org.freedesktop.systemd1.{name}"}


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Peer]:
    """Starts a peer where systemd's socket is looked for."""
    monkeypatch.setattr(systemd, "PRIVATE_SOCKET", str(tmp_path / "private"))
    monkeypatch.setattr(systemd, "_PATIENCE_SECONDS", 10.0)

    def start(**answers: list[tuple[int, dict[str, Any]]]) -> Peer:
        return Peer(tmp_path / "private", answers)

    return start


def start() -> None:
    systemd.start_delegated_unit("x.service", slice_name="a.slice")


def test_a_unit_is_asked_for_and_its_job_waited_for(play: Callable[..., Peer]) -> None:
    """The job may have ended before the answer to the call is read."""
    peer = play(
        StartTransientUnit=[job("/job/6", "failed"), OTHER_SIGNAL, job("/job/7", "done"), ANSWER]
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
        StartUnit=[ANSWER, job("/job/7", "done")],
    )
    start()
    assert peer.calls[1] == ("StartUnit", ["x.service", "replace"])


def test_a_refusal_is_given_in_systemds_words(play: Callable[..., Peer]) -> None:
    play(StartTransientUnit=[refusal("BadUnitSetting", "Unit x.service is bad.")])
    with pytest.raises(Refused, match="Unit x.service is bad."):
        start()


def test_a_job_that_fails_says_where_to_look(play: Callable[..., Peer]) -> None:
    play(StartTransientUnit=[ANSWER, job("/job/7", "failed")])
    with pytest.raises(MinidockError, match="ended with 'failed'") as caught:
        start()
    assert caught.value.hint == "systemctl status x.service"


def test_a_systemd_that_does_not_answer_is_not_waited_for_for_ever(
    play: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_PATIENCE_SECONDS", 0.2)
    play(StartTransientUnit=[ANSWER])
    with pytest.raises(KernelError, match="ETIMEDOUT"):
        start()


def test_where_nobody_listens_the_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="none.*ENOENT"):
        Connection(str(tmp_path / "none"), timeout_seconds=1)


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
