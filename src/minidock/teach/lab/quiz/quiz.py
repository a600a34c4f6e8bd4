"""The quiz: questions about a container; the machine reveals each answer after the guess.

A guess is a line: the letter of an option, its words, or a short answer. An empty line means "I do
not know", q ends the quiz. On a terminal, a line that fits none of the options is asked for again.
"""

from __future__ import annotations

import os
import random
from textwrap import wrap

from minidock.teach.lab.quiz import files, network, processes, restrictions
from minidock.teach.lab.quiz.question import POOL, is_right, resolve_option
from minidock.teach.page import WIDTH, Paint
from minidock.teach.step.prompt import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from minidock.teach.lab.quiz.question import Answer, Prompt, Question
    from minidock.teach.lab.quiz.scene import Scene

# Importing the modules of questions fills POOL.
__all__ = ["POOL", "Quiz", "draw", "files", "network", "processes", "restrictions"]

_INDENT = "      "


def draw(seed: int, count: int) -> list[Question]:
    """Draw questions from the pool: the same ones in the same order for the same seed."""
    chance = random.Random(seed)
    found = chance.sample([POOL[key] for key in sorted(POOL)], count)
    return sorted(found, key=lambda question: question.last)


class Quiz:
    """One run of the quiz.

    seed: also determines the order of each question's options. out: for the output.
    """

    def __init__(self, scene: Scene, seed: int, out: TextIO) -> None:
        self._scene = scene
        self._random = random.Random(seed)
        self._out = out
        self._paint = Paint(out)
        self._read_line = Lines(out, [], [])
        self._right = self._counted = 0

    def run(self, questions: list[Question]) -> None:
        """Ask the questions until the input ends, and print the score."""
        for number, question in enumerate(questions, 1):
            if not self._play(question, f"{number}/{len(questions)}"):
                self._print(f"ended before question {number} was answered")
                break
        self._print(f"{self._right} of {self._counted} right")

    def _play(self, question: Question, number: str) -> bool:
        """Ask one question, and reveal its answer; False at the end of the input."""
        prompt, reveal = question.play(self._scene)
        self._random.shuffle(prompt.options)
        self._print(self._paint.bold(f"{number}  {question.key}"))
        self._print_wrapped(prompt.text)
        for letter, option in zip("abcdefgh", prompt.options, strict=False):
            self._print(f"{_INDENT}{letter}  {option}")
        if prompt.hint:
            self._print(f"{_INDENT}(may help: {prompt.hint})")
        guess = self._read_guess(prompt)
        if guess is None:
            return False
        self._score(guess, prompt, reveal())
        return True

    def _read_guess(self, prompt: Prompt) -> str | None:
        """Read a guess; None at the end of the input."""
        while True:
            line = self._read_line("> ")
            if line is None or line.strip().lower() in ("q", "quit"):
                return None
            known = not prompt.options or resolve_option(line, prompt) in prompt.options
            if known or not line.strip() or not os.isatty(0):
                return line
            self._print(f"{_INDENT}type one of the letters; an empty line means: I do not know")

    def _score(self, guess: str, prompt: Prompt, answer: Answer) -> None:
        if prompt.options and answer.text not in prompt.options:
            self._print_wrapped(f"the machine gives another answer: {answer.text} (not counted)")
        else:
            right = is_right(guess, prompt, answer.text)
            self._counted += 1
            self._right += right
            word = self._paint("32", "right") if right else self._paint("31", "no")
            self._print(f"{_INDENT}{word}: {answer.text}")
        self._print_wrapped(answer.why)
        self._print(f"{_INDENT}see for yourself: {self._paint.command(answer.command)}\n")

    def _print_wrapped(self, text: str) -> None:
        self._print(*wrap(text, WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT))

    def _print(self, *lines: str) -> None:
        self._out.write("".join(f"{line}\n" for line in lines))
        self._out.flush()
