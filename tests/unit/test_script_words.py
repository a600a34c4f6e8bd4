"""Words of a script: variables in double quotes; a real shell is asked what they mean."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidock.kernel.op import quote
from minidock.teach.script.shell_quoting import Variables, bytes_used, command, here_document, word
from support.patience import long

VARIABLES = Variables({"/var/lib/home": "BOX", "10.0.0.2": "ADDRESS", "c0ffee": "ID"})
VALUES = {"BOX": "/new place", "ADDRESS": "10.9.9.9", "ID": "f00d"}


SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"]]  # the last runs a script's inner half


def _shell(text: str, shell: list[str] = SHELLS[0]) -> list[str]:
    """The words that a shell makes of a command's arguments."""
    script = 'for word; do printf "%s\\0" "$word"; done'
    command_line = f"{bytes_used(text)}\nset -- {text}\n{script}"
    done = subprocess.run(
        [*shell, "-eu", "-c", command_line], env=VALUES, capture_output=True, check=True
    )
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


@pytest.mark.parametrize(
    ("literal", "meant"),
    [
        ("/var/lib/home/upper", "/new place/upper"),
        ("upperdir=/var/lib/home/it's $HOME", "upperdir=/new place/it's $HOME"),
        ('c0ffee"`x`\\', 'f00d"`x`\\'),
        ("10.0.0.2/16", "10.9.9.9/16"),
        ("10.0.0.20", "10.0.0.20"),  # another address, which begins the same
        ("10.0.0.2.5", "10.0.0.2.5"),
        ("xc0ffee", "xc0ffee"),
        ("", ""),
        ("a  b\nc", "a  b\nc"),
        ("$(touch x)", "$(touch x)"),
    ],
)
def test_a_word_means_in_a_shell_what_it_says(literal: str, meant: str) -> None:
    assert _shell(word(VARIABLES.mark(literal))) == [meant]
    assert _shell(command(quote(VARIABLES.mark(literal)))) == [meant]


def test_a_commands_other_words_stay_as_they_are() -> None:
    marked = VARIABLES.mark("/var/lib/home/a")
    twin = f"""if [ -d {marked} ]; then mkdir -p "$(dirname {marked})"; else x 'a b' {marked}; fi"""
    assert command(twin) == (
        'if [ -d "$BOX/a" ]; then mkdir -p "$(dirname "$BOX/a")"; else x \'a b\' "$BOX/a"; fi'
    )


ANY_BYTES = st.lists(st.binary(max_size=40).map(lambda b: os.fsdecode(b.replace(b"\0", b""))))
SHELL_WORDS = st.lists(st.text("'\"\\$`\n\t !@%#~*?[]{}()<>|&;=-aZ0é\x81Ё\u202e", max_size=20))


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@settings(max_examples=long(30, 500), deadline=None)
@given(words=ANY_BYTES | SHELL_WORDS)
def test_every_byte_but_nul_survives(shell: list[str], words: list[str]) -> None:
    written = " ".join(word(each) for each in words)
    quoted = command(" ".join(quote(each) for each in words))
    assert _shell(written, shell) == _shell(quoted, shell) == words
    for text in (written, quoted):
        assert text.isprintable()  # each command stays on its line, and a terminal obeys nothing


def test_a_text_that_looks_like_a_mark_is_text() -> None:
    for literal in ("@BOX@", "%INSIDE%", "$pid", "${NL}", "/proc/$pid/x", "$main_process!"):
        assert _shell(word(VARIABLES.mark(literal))) == [literal]


def test_where_no_literal_is_known_none_is_found() -> None:
    assert Variables({}).mark(["", "a b"]) == ["", "a b"]


def test_a_here_document_has_nothing_but_its_variables() -> None:
    marked = VARIABLES.mark('"quoted" $HOME `x` \\ 10.0.0.2\tc0ffee_x\x1b\nTEXT\nTEXT_ ${NL}\n')
    script = here_document("cat @ || :", marked, "TEXT")
    done = subprocess.run(
        ["sh", "-c", f"{bytes_used(script)}\n{script}\n"],
        env=VALUES, capture_output=True, text=True, check=True,
    )  # fmt: skip
    meant = '"quoted" $HOME `x` \\ 10.9.9.9\tc0ffee_x\x1b\nTEXT\nTEXT_ ${NL}\n'
    assert done.stdout == meant
