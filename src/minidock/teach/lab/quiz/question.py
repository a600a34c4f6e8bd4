"""What a question of the quiz is: it asks, acts once the guess is there, and reveals what it saw.

    @question
    def whiteout(scene: Scene) -> Steps:
        yield Asked("rm /bin/vi in the container. What is in its upper directory then?", ...)
        scene.inside("rm", "/bin/vi")                       # nobody has done that before the guess
        yield Revealed(kind_of(f"{scene.upper}/bin/vi"), why="...", look="ls -l ...")

The answer of the second step is read from the machine at that moment: what the kernel does is
right, even where it surprises whoever wrote the question.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.teach.lab.quiz.scene import Scene

    Steps = Iterator["Asked | Revealed"]


class Asked:
    """The question as it is put.

    options: what to choose from; none for a short answer. first: a command that helps to find out.
    """

    def __init__(self, text: str, *options: str, first: str = "") -> None:
        self.text = text
        self.options = list(dict.fromkeys(options))
        self.first = first


class Revealed:
    """What the machine says.

    answer: in the words of an option. why: the reason, a sentence or two. look: a command that
    shows it.
    """

    def __init__(self, answer: str, *, why: str, look: str) -> None:
        self.answer = answer
        self.why = why
        self.look = look


class Question:
    """One of the pool.

    key: its name. last: it starts the container anew or makes another, and comes after the others.
    """

    def __init__(self, steps: Callable[[Scene], Steps], *, last: bool) -> None:
        self.key = steps.__name__.replace("_", "-")
        self.last = last
        self._steps = steps

    def play(self, scene: Scene) -> tuple[Asked, Callable[[], Revealed]]:
        """The question, and what reveals its answer."""
        steps = self._steps(scene)
        asked = next(steps)
        assert isinstance(asked, Asked)

        def reveal() -> Revealed:
            revealed = next(steps)
            assert isinstance(revealed, Revealed)
            return revealed

        return asked, reveal


POOL: dict[str, Question] = {}


def question(steps: Callable[[Scene], Steps]) -> Callable[[Scene], Steps]:
    """Put a question into the pool."""
    return _put(steps, last=False)


def last_question(steps: Callable[[Scene], Steps]) -> Callable[[Scene], Steps]:
    """Put one into the pool that comes after those that only look."""
    return _put(steps, last=True)


def _put(steps: Callable[[Scene], Steps], *, last: bool) -> Callable[[Scene], Steps]:
    made = Question(steps, last=last)
    POOL[made.key] = made
    return steps


def is_right(guess: str, asked: Asked, answer: str) -> bool:
    """Whether a guess is the answer: the letter of an option, or its words."""
    return _plain(chosen(guess, asked)) == _plain(answer)


def chosen(guess: str, asked: Asked) -> str:
    """The option that a letter stands for; any other text is itself."""
    letter = guess.strip().lower().rstrip(").")
    number = ord(letter) - ord("a") if len(letter) == 1 else -1
    return asked.options[number] if 0 <= number < len(asked.options) else guess


def _plain(text: str) -> str:
    return " ".join(text.lower().replace(",", " ").split())
