"""Waiting and repeating, on quick machines and on slow ones."""

from __future__ import annotations

import pytest

from support.patience import long, patience, steps


@pytest.fixture(autouse=True)
def ordinary_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIDOCK_LONG", raising=False)


@pytest.mark.parametrize(("slowness", "waited"), [("1.00", 5), ("8.00", 40)])
def test_seconds_are_multiplied_by_the_slowness(
    monkeypatch: pytest.MonkeyPatch, slowness: str, waited: float
) -> None:
    monkeypatch.setenv("MINIDOCK_SLOWNESS", slowness)
    assert patience(5) == waited


def test_quick_machine_does_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDOCK_SLOWNESS", "1.50")
    assert list(steps(range(95), "run")) == list(range(95))


def test_steps_may_be_apart_on_a_quick_machine_unless_the_run_is_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIDOCK_SLOWNESS", "1.50")
    names = [f"test {number}" for number in range(20)]
    assert {len(steps(range(90), name, apart=3)) for name in names} == {30}
    assert {step for name in names for step in steps(range(90), name, apart=3)} == {*range(90)}
    monkeypatch.setenv("MINIDOCK_LONG", "1")
    assert list(steps(range(90), "run", apart=3)) == list(range(90))


def test_slow_machine_does_a_tenth_of_them_and_never_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDOCK_SLOWNESS", "4.00")
    names = [f"test {number}" for number in range(200)]
    assert {len(steps(range(95), name)) for name in names} == {9, 10}
    assert all(len(steps(range(3), name)) >= 1 for name in names)


def test_very_slow_machine_does_a_thirtieth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDOCK_SLOWNESS", "18.00")
    assert {len(steps(range(95), f"test {number}")) for number in range(200)} == {3, 4}
    assert {len(steps(range(4), f"test {number}")) for number in range(200)} == {1}


def test_tests_begin_at_different_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDOCK_SLOWNESS", "4.00")
    done = {step for number in range(200) for step in steps(range(95), f"test {number}")}
    assert done == set(range(95))


def test_long_run_leaves_no_step_out_on_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDOCK_SLOWNESS", "18.00")
    monkeypatch.setenv("MINIDOCK_LONG", "1")
    assert list(steps(range(95), "run")) == list(range(95))


@pytest.mark.parametrize(("variable", "rounds"), [("1", 2000), ("0", 20), ("", 20)])
def test_part_is_done_unless_the_run_is_long(
    monkeypatch: pytest.MonkeyPatch, variable: str, rounds: int
) -> None:
    monkeypatch.setenv("MINIDOCK_LONG", variable)
    assert long(20, 2000) == rounds
