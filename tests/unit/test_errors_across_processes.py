"""Every kind of error arrives in another process as it was raised."""

from __future__ import annotations

import json

import pytest

from minidock import errors
from minidock.runtime.channel import describe_error, rebuild_error

RAISED = [
    errors.MinidockError("it failed", hint="try again"),
    errors.DamagedFile("/store/images.json", "it is empty"),
    errors.KernelError("mount(2)", "/data", 13, hint="as root"),
    errors.OutputLost("standard output", 28),
    errors.NotFound("No such container: web"),
]


def test_all_constructors_of_their_own_are_here() -> None:
    own = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.MinidockError)
        and "__init__" in vars(kind)
    }  # fmt: skip
    assert own <= {type(error) for error in RAISED}


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_it_was_raised(raised: errors.MinidockError) -> None:
    arrived = rebuild_error(json.loads(json.dumps(describe_error(raised))))
    assert (type(arrived), str(arrived), vars(arrived)) == (type(raised), str(raised), vars(raised))
    assert arrived.exit_code == raised.exit_code


def test_an_error_of_another_kind_arrives_with_its_message() -> None:
    arrived = rebuild_error(describe_error(ZeroDivisionError("division by zero")))
    assert type(arrived) is errors.MinidockError and str(arrived) == "division by zero"
    assert arrived.hint == ""
