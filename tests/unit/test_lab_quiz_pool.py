"""The quiz's questions: which are drawn, and what counts as their answer."""

from __future__ import annotations

import pytest

from minidock.teach.lab.quiz.question import Prompt, is_right
from minidock.teach.lab.quiz.quiz import POOL, draw


def test_same_seed_draws_the_same_questions() -> None:
    keys = [[question.key for question in draw(seed, 10)] for seed in (4, 4, 5)]
    assert keys[0] == keys[1] != keys[2]
    assert all(len(set(each)) == 10 for each in keys)


def test_questions_that_restart_the_container_come_last() -> None:
    for seed in range(20):
        order = [question.last for question in draw(seed, len(POOL))]
        assert order == sorted(order) and order.count(True) == 4


@pytest.mark.parametrize(
    ("guess", "right"),
    [("b", True), ("B)", True), (" two  Words ", True), ("a", False), ("c", False), ("", False)],
)
def test_an_option_is_chosen_by_letter_or_words(guess: str, right: bool) -> None:
    assert is_right(guess, Prompt("which?", "one", "two words"), "two words") is right


def test_short_answers_are_taken_as_they_are() -> None:
    asked = Prompt("how many?")
    assert is_right("14", asked, "14") and is_right(" /data,  note", asked, "/data note")
    assert not is_right("n", asked, "14") and not is_right("4", asked, "14")
