"""Device rules: reduced to a default and exceptions, and as the program that answers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidock.errors import UsageError
from minidock.kernel.device_cgroup import (
    ALLOW_ALL,
    ANY,
    DENY_ALL,
    DOCKER_RULES,
    assemble,
    reduce_rules,
    v1_writes,
)
from support.bpf import run_device_program

ACCESSES = ["r", "w", "m", "rw", "rm", "wm", "rwm"]


def rule(
    allow: bool, kind: str, major: int | None, minor: int | None, access: str
) -> dict[str, Any]:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


def test_dockers_rules_become_v1_writes() -> None:
    assert [f"{file} {value}" for _, file, value in v1_writes(DOCKER_RULES)] == [
        "devices.deny a",
        "devices.allow c *:* m",
        "devices.allow b *:* m",
        "devices.allow c 1:3 rwm",
        "devices.allow c 1:8 rwm",
        "devices.allow c 1:7 rwm",
        "devices.allow c 5:0 rwm",
        "devices.allow c 1:5 rwm",
        "devices.allow c 1:9 rwm",
        "devices.allow c 136:* rwm",
        "devices.allow c 5:2 rwm",
        "devices.allow c 10:200 rwm",
        "devices.allow c 5:1 rwm",
    ]


def test_no_rules_write_nothing() -> None:
    assert v1_writes([]) == []


def test_a_privileged_container_is_allowed_all() -> None:
    assert v1_writes([DENY_ALL, ALLOW_ALL]) == [("devices", "devices.allow", "a")]


def test_a_denied_part_is_taken_from_what_was_allowed() -> None:
    rules = [DENY_ALL, rule(True, "c", 1, 3, "rwm"), rule(False, "c", 1, 3, "w")]
    assert reduce_rules(rules) == (False, {("c", 1, 3): "rm"})


def test_what_docker_denies_again_changes_nothing() -> None:
    again = [*DOCKER_RULES[:3], rule(False, "c", 10, 229, "rwm")]
    assert reduce_rules(again) == reduce_rules(DOCKER_RULES[:3])


def test_a_hole_in_a_wildcard_is_refused() -> None:
    with pytest.raises(UsageError, match=r"c 1:\* rw"):
        reduce_rules([DENY_ALL, rule(True, "c", 1, None, "rw"), rule(False, "c", 1, 3, "w")])


@pytest.mark.parametrize(
    "bad", [rule(True, "x", 1, 3, "r"), rule(True, "c", 1, 3, "rx"), rule(True, "c", -2, 3, "r")]
)
def test_an_invalid_rule_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="device rule"):
        reduce_rules([bad])


def allowed(default: bool, exceptions: Any, kind: str, access: str, major: int, minor: int) -> bool:
    """The kernel's definition: an allowed use is covered whole, a denied one is touched."""
    for (k, ma, mi), letters in exceptions.items():
        if k == kind and ma in (ANY, major) and mi in (ANY, minor):
            if not default and set(access) <= set(letters):
                return True
            if default and set(access) & set(letters):
                return False
    return default


rules_strategy = st.builds(
    rule,
    st.booleans(),
    st.sampled_from("abc"),
    st.sampled_from([None, 1, 5]),
    st.sampled_from([None, 3, 0]),
    st.sampled_from(ACCESSES),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([DENY_ALL, ALLOW_ALL]), st.lists(rules_strategy, max_size=5))
def test_the_program_answers_as_the_rules_say(first: Any, rules: list[Any]) -> None:
    try:
        default, exceptions = reduce_rules([first, *rules])
    except UsageError:
        return
    program = assemble([first, *rules])
    for kind, access, major, minor in itertools.product("bc", ACCESSES, (1, 5, 7), (3, 0, 9)):
        expected = allowed(default, exceptions, kind, access, major, minor)
        assert run_device_program(program, kind, access, major, minor) == expected
