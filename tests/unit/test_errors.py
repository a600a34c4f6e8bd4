"""What the system refuses becomes one sentence, whatever it was done to."""

from __future__ import annotations

import os

from minidock import errors
from minidock.errors import system_error


def test_a_refusal_names_the_path_where_there_is_one() -> None:
    try:
        os.listdir("/no/such/directory")
    except OSError as error:
        assert str(system_error(error)) == "/no/such/directory: No such file or directory"


def test_a_refusal_of_a_descriptor_has_no_path_to_name() -> None:
    try:
        os.listxattr(1000)
    except OSError as error:
        assert error.filename == 1000
        assert str(system_error(error)) == "Bad file descriptor"


def test_a_full_disk_comes_with_advice() -> None:
    assert "make room" in system_error(OSError(28, "No space left on device")).hint


def test_docstring_draws_the_tree_of_errors_with_their_exit_codes() -> None:
    drawn = {
        (words[0], int(words[1]))
        for line in (errors.__doc__ or "").splitlines()
        if len(words := line.lstrip(" │├└─").split()) > 1 and words[1].isdigit()
    }
    classes = {
        (name, kind.exit_code)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.MinidockError)
    }
    assert drawn == classes
