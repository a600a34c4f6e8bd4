"""Files of lines that are read while others write them: journals, events, a container's log."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from minidock.cli.main import replace_unencodable
from minidock.cli.verbs import events as cli_events
from minidock.engine.monitor import json_file_log
from minidock.engine.store import event_log
from minidock.errors import MinidockError
from minidock.paths import Store
from minidock.teach.explain import explain
from minidock.teach.language import language
from minidock.teach.look.rows import ROWS
from minidock.teach.look.text import write_text
from minidock.teach.subject import Subject, read_ops
from support.fuzz import CORPUS, fuzz, mutated

# What a cut, a full disk or somebody's editor leaves of a file.
_RUINS = [
    b"", b"\n", b"\0" * 4096, b"\xff\n", b"{", b"{}\n", b"[]\n", b"null\n", b"1e999\n",
    b"[" * 100_000 + b"\n", b'{"a":' * 50_000 + b"\n", b"[" + b"9" * 5000 + b"]\n",
    b"\x1b[2J\n", b'{"id":"\\ud800"}\n', b"{}\r\n{}\x85{}\x1c{}\n", b"\x00{}\n",
]  # fmt: skip


def _each_value_ruined(line: bytes) -> list[bytes]:
    """A line's variants in which one value is of another type, or of another size."""
    import json

    record = json.loads(line)
    odd = [None, True, -1, 10**400, 1e300, "", "\x1b[2J\n", "\ud800", "9" * 5000, [[]], {"a": {}}]
    return [
        json.dumps({**record, name: value}).encode() + b"\n" for name in record for value in odd
    ]


def _pieces(text: bytes, lines: int) -> list[bytes]:
    every = text.splitlines(keepends=True)
    return [b"".join(every[at : at + lines]) for at in range(0, len(every), lines)]


def test_journals(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    told_in = language("en")
    sample = (CORPUS / "journal.jsonl").read_bytes()

    def act(data: bytes) -> None:
        path.write_bytes(data)
        ops = read_ops(str(path), lambda story: True)
        if not ops:
            return  # `explain` says that it was never started
        subject = Subject("box", {"/var/lib/minidock": "$STORE"}, ops, arguments=("box",))
        for unfold in ((), ROWS):
            replace_unencodable(out := io.TextIOWrapper(io.BytesIO(), "utf-8"))
            with contextlib.redirect_stdout(out):
                write_text(subject, unfold, language=told_in)
        for as_json, only_phases in ((True, False), (False, False), (False, True)):
            replace_unencodable(out := io.TextIOWrapper(io.BytesIO(), "utf-8"))
            with contextlib.redirect_stdout(out):
                explain(subject, as_json=as_json, only_phases=only_phases, language=told_in)

    lines = sample.splitlines(keepends=True)
    known = [*_RUINS, *(ruin for line in lines[:24] for ruin in _each_value_ruined(line))]
    fuzz(act, mutated(*_pieces(sample, 12)), refuses=MinidockError, known=known)


def test_events(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    sample = (
        b'{"status":"die","id":"8329","from":"busybox:latest","Type":"container","Action":"die",'
        b'"Actor":{"ID":"8329","Attributes":{"image":"busybox","name":"box","exitCode":"0"}},'
        b'"scope":"local","time":1796082794,"timeNano":1796082794974831667}\n'
    )
    replace_unencodable(out := io.TextIOWrapper(io.BytesIO(), "utf-8"))
    said = cli_events._templated("{{json .}} {{.Actor.Attributes.name}} {{.TimeNano}}")

    def act(data: bytes) -> None:
        Path(store.events).write_bytes(data)
        for event in event_log.read(store, since=0.0, until=1e12, follow=False):
            out.write(cli_events._line(event) + said(event))

    known = [*_RUINS, *_each_value_ruined(sample)]
    fuzz(act, mutated(sample * 3), refuses=MinidockError, known=known)


def test_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.json"
    container = SimpleNamespace(
        host_config={}, monitor_pid=0, paths=SimpleNamespace(log=str(path)), state={}
    )
    monkeypatch.setattr(json_file_log, "find", lambda store, reference: container)
    sample = (
        b'{"log":"hello\\n","stream":"stdout","time":"2026-11-30T23:00:00.000000001Z"}\n'
        b'{"log":"oh","stream":"stderr","time":"2026-11-30T23:00:01.000000001Z"}\n'
    )

    def act(data: bytes) -> None:
        path.write_bytes(data)
        for tail, since in ((None, None), (2, None), (None, 1.0)):
            pieces = json_file_log.stream(
                Store(str(tmp_path)), "box", follow=False, tail=tail, since=since, until=1e11,
                timestamps=True,
            )  # fmt: skip
            for _ in pieces:
                pass

    known = [*_RUINS, *_each_value_ruined(sample.splitlines()[0])]
    fuzz(act, mutated(sample * 3), refuses=MinidockError, known=known)
