"""The quiz: questions about a container of its own, each answered by the machine after the guess.

A guess is a line: the letter of an option, its words, or a short answer. An empty one means "I do
not know", and q ends the quiz. On a terminal a line that fits none of the options is asked again.
"""

from __future__ import annotations

import os
import random
from textwrap import wrap

from minidock.teach.lab.quiz import files, network, processes, restrictions
from minidock.teach.lab.quiz.question import POOL, chosen, is_right
from minidock.teach.page import WIDTH, Paint
from minidock.teach.step.prompt import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from minidock.teach.lab.quiz.question import Asked, Question, Revealed
    from minidock.teach.lab.quiz.scene import Scene

# Importing the modules of questions fills POOL.
__all__ = ["POOL", "Quiz", "drawn", "files", "network", "processes", "restrictions"]

_INDENT = "      "


def drawn(seed: int, count: int) -> list[Question]:
    """Questions of the pool: the same ones in the same order for the same seed."""
    chance = random.Random(seed)
    found = chance.sample([POOL[key] for key in sorted(POOL)], count)
    return sorted(found, key=lambda question: question.last)


class Quiz:
    """One run of it.

    seed: also draws the order of each question's options. out: where it is told.
    """

    def __init__(self, scene: Scene, seed: int, out: TextIO) -> None:
        self._scene = scene
        self._chance = random.Random(seed)
        self._out = out
        self._paint = Paint(out)
        self._read_line = Lines(out, [], [])
        self._right = self._counted = 0

    def run(self, questions: list[Question]) -> None:
        """Ask them all, or as many as are answered, and say the score."""
        for number, question in enumerate(questions, 1):
            if not self._play(question, f"{number}/{len(questions)}"):
                self._tell(f"ended before question {number} was answered")
                break
        self._tell(f"{self._right} of {self._counted} right")

    def _play(self, question: Question, number: str) -> bool:
        """Ask one question, and reveal; returns whether there was a guess."""
        asked, reveal = question.play(self._scene)
        self._chance.shuffle(asked.options)
        self._tell(self._paint.bold(f"{number}  {question.key}"))
        self._fold(asked.text)
        for letter, option in zip("abcdefgh", asked.options, strict=False):
            self._tell(f"{_INDENT}{letter}  {option}")
        if asked.first:
            self._tell(f"{_INDENT}(may help: {asked.first})")
        guess = self._guess(asked)
        if guess is None:
            return False
        self._judge(guess, asked, reveal())
        return True

    def _guess(self, asked: Asked) -> str | None:
        """What was guessed; None at the end of the input."""
        while True:
            line = self._read_line("> ")
            if line is None or line.strip().lower() in ("q", "quit"):
                return None
            known = not asked.options or chosen(line, asked) in asked.options
            if known or not line.strip() or not os.isatty(0):
                return line
            self._tell(f"{_INDENT}one of the letters, please; an empty line: I do not know")

    def _judge(self, guess: str, asked: Asked, revealed: Revealed) -> None:
        if asked.options and revealed.answer not in asked.options:
            self._fold(f"the machine says something else: {revealed.answer} (not counted)")
        else:
            right = is_right(guess, asked, revealed.answer)
            self._counted += 1
            self._right += right
            word = self._paint("32", "right") if right else self._paint("31", "no")
            self._tell(f"{_INDENT}{word}: {revealed.answer}")
        self._fold(revealed.why)
        self._tell(f"{_INDENT}look yourself: {self._paint.command(revealed.look)}\n")

    def _fold(self, text: str) -> None:
        self._tell(*wrap(text, WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT))

    def _tell(self, *lines: str) -> None:
        self._out.write("".join(f"{line}\n" for line in lines))
        self._out.flush()
