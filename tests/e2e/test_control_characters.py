"""Untrusted names and texts send no control characters to a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from support.building import build, context
from support.command import Minidock, command_line, environment
from support.patience import patience

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj"
_OWN = re.compile(r"\x1b\[[0-9;]*m")


def _seen(minidock: Minidock, *arguments: str) -> str:
    """What a command sends to a terminal, both streams."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "minidock", *arguments],
        stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, env=environment(minidock.root),
    )  # fmt: skip
    os.close(follower)
    said = b""
    while select.select([leader], [], [], patience(60))[0]:
        try:
            said += os.read(leader, 65536)
        except OSError:  # the other end is closed: the command is over
            break
    os.close(leader)
    process.wait(patience(10))
    return said.decode("utf-8", "surrogateescape")


def _assert_clean(said: str) -> None:
    rest = _OWN.sub("", said).replace("\r\n", "").replace("\t", "")
    assert [c for c in rest if not c.isprintable()] == [], said


@pytest.mark.root
def test_no_view_of_a_container_obeys_what_is_in_its_names(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context", f'FROM {busybox_image}\nLABEL a="{EVIL}"\nRUN : "{EVIL}"\n'
    )
    build(minidock, "-t", "evil", folder)
    made = minidock.ok(
        "create", "--name", "box", "--network=none", "-l", f"b={EVIL}", "-e", f"E={EVIL}", "evil",
        "sh", "-c", f'touch "/{EVIL}"; exit 3', f"{EVIL}\n{EVIL}",
    ).strip()  # fmt: skip
    minidock("start", "-a", "box")
    views = [
        ["ps", "-a", "--no-trunc"], ["ps", "-a", "--format", "{{.Labels}} {{.Command}}"],
        ["history", "--no-trunc", "evil"], ["events", "--since", "1h", "--until", "0s"],
        ["diff", "box"],
        ["explain", "box"], ["explain", "--unfold", "pid", "box"], ["explain", "--all", "box"],
        ["layers", "evil"], ["layers", "box"], ["where", "box", f"/{EVIL}"],
        ["inspect", "--format", "{{.Config.Labels}}", "box"], ["inspect", "box"],
        ["inspect", EVIL], ["run", "--rm", f"x{EVIL}"], ["ps", "--filter", EVIL],
        ["plan", "run", "--rm", "-e", f"A={EVIL}", "evil", EVIL],
        ["script", "run", "--rm", "-e", f"A={EVIL}", "evil", EVIL],
    ]  # fmt: skip
    for view in views:
        said = _seen(minidock, *view)
        assert said.strip(), view
        try:
            _assert_clean(said)
        except AssertionError as error:
            error.add_note(f"minidock {view}")
            raise
    # a pipe gets every byte, as it is
    assert minidock.ok("inspect", "--format", '{{index .Config.Labels "b"}}', made).strip() == EVIL


def test_text_for_a_terminal_keeps_lines_tabs_and_colours() -> None:
    from minidock.cli.frame.safe_output import EscapingStream, escape_controls

    class Stream:
        text = ""

        def write(self, text: str) -> None:
            self.text += text

    stream = Stream()
    EscapingStream(stream).write(
        "a\tb\n\x1b[1mbold\x1b[0m \x1b[1;31mred\x1b[0m \x1b[8mhidden\x1b[2J\x1b"
    )  # type: ignore[arg-type]
    assert stream.text == (
        "a\tb\n\x1b[1mbold\x1b[0m \x1b[1;31mred\x1b[0m \\x1b[8mhidden\\x1b[2J\\x1b"
    )
    assert escape_controls("a\n\tb\x85\udcff\u2066", one_line=True) == "a\\n\\tb\\x85\\xff\\u2066"
    assert escape_controls("é 漢字 \U0001f600") == "é 漢字 \U0001f600"


def test_bytes_that_are_no_text_are_written_in_every_locale(
    minidock: Minidock, busybox_image: str
) -> None:
    """A strict stdout, as Python has it in most locales, raises for such characters."""
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    minidock.ok("create", "--name", "box", "-l", "a=\udcff", busybox_image, "echo", "\udcfe")
    for words, said in (
        (("inspect", "-f", "{{.Args}} {{.Config.Labels.a}}", "box"), b"[\xfe] \xff\n"),
        (("ps", "-a", "--format", "{{.Labels}}"), b"a=\xff\n"),
    ):
        done = subprocess.run(
            [*command_line(), *words], env={**environment(minidock.root), **strict},
            capture_output=True, check=False, timeout=patience(60),
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, said, b"")
