"""What the system refuses becomes one sentence, whatever it was done to."""

from __future__ import annotations

import os

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
