"""Words of a script: variables in double quotes; a real shell is asked what they mean."""

from __future__ import annotations

import subprocess

import pytest

from minidock.kernel.op import quote
from minidock.teach.script.words import Variables, command, here_text, word

VARIABLES = Variables({"/var/lib/home": "BOX", "10.0.0.2": "ADDRESS", "c0ffee": "ID"})
VALUES = {"BOX": "/new place", "ADDRESS": "10.9.9.9", "ID": "f00d"}


def _shell(text: str) -> list[str]:
    """The words that a shell makes of a command's arguments."""
    script = 'for word; do printf "%s\\0" "$word"; done'
    command_line = f"set -- {text}\n{script}"
    done = subprocess.run(
        ["sh", "-eu", "-c", command_line], env=VALUES, capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")[:-1]


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


def test_a_here_document_has_nothing_but_its_variables() -> None:
    marked = VARIABLES.mark('"quoted" $HOME `x` \\ 10.0.0.2\tc0ffee_x')
    done = subprocess.run(
        ["sh", "-c", f"cat <<TEXT\n{here_text(marked)}\nTEXT"],
        env=VALUES, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == '"quoted" $HOME `x` \\ 10.9.9.9\tc0ffee_x\n'
