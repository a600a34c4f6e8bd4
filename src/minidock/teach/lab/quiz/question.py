"""A question of the quiz: it prompts, acts once the guess is made, and reveals what it reads.

    @question
    def whiteout(scene: Scene) -> Steps:
        yield Prompt("rm /bin/vi in the container. What is in its upper directory then?", ...)
        scene.exec("rm", "/bin/vi")                       # only after the guess
        yield Answer(kind_of(f"{scene.upper}/bin/vi"), why="...", command="ls -l ...")

The answer is read from the machine at that moment: what the kernel does is right, even if it
surprises the question's author.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.teach.lab.quiz.scene import Scene

    Steps = Iterator["Prompt | Answer"]


class Prompt:
    """The text of a question.

    options: to choose from; none for a short answer. hint: a command that helps to find out.
    """

    def __init__(self, text: str, *options: str, hint: str = "") -> None:
        self.text = text
        self.options = list(dict.fromkeys(options))
        self.hint = hint


class Answer:
    """The answer, read from the machine.

    text: in the words of an option. why: the reason, a sentence or two. command: shows it.
    """

    def __init__(self, text: str, *, why: str, command: str) -> None:
        self.text = text
        self.why = why
        self.command = command


class Question:
    """A question of the pool.

    key: its name. last: it restarts the container or creates another, so it comes after the others.
    """

    def __init__(self, steps: Callable[[Scene], Steps], *, last: bool) -> None:
        self.key = steps.__name__.replace("_", "-")
        self.last = last
        self._steps = steps

    def play(self, scene: Scene) -> tuple[Prompt, Callable[[], Answer]]:
        """The prompt, and a function that reveals the answer."""
        steps = self._steps(scene)
        prompt = next(steps)
        assert isinstance(prompt, Prompt)

        def reveal() -> Answer:
            answer = next(steps)
            assert isinstance(answer, Answer)
            return answer

        return prompt, reveal


POOL: dict[str, Question] = {}


def question(steps: Callable[[Scene], Steps]) -> Callable[[Scene], Steps]:
    """Add a question to the pool."""
    return _put(steps, last=False)


def last_question(steps: Callable[[Scene], Steps]) -> Callable[[Scene], Steps]:
    """Add a question that comes after those that only read."""
    return _put(steps, last=True)


def _put(steps: Callable[[Scene], Steps], *, last: bool) -> Callable[[Scene], Steps]:
    created = Question(steps, last=last)
    POOL[created.key] = created
    return steps


def is_right(guess: str, prompt: Prompt, answer: str) -> bool:
    """Whether a guess (the letter of an option, or its words) is the answer."""
    return _plain(resolve_option(guess, prompt)) == _plain(answer)


def resolve_option(guess: str, prompt: Prompt) -> str:
    """The option of a letter; any other text unchanged."""
    letter = guess.strip().lower().rstrip(").")
    number = ord(letter) - ord("a") if len(letter) == 1 else -1
    return prompt.options[number] if 0 <= number < len(prompt.options) else guess


def _plain(text: str) -> str:
    return " ".join(text.lower().replace(",", " ").split())
