"""`lab quiz`: ten questions about a running container, answered by the machine."""

from __future__ import annotations

import sys

from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import INT, value
from minidock.errors import NotFound, UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType


@command()
@value("--seed", type=INT, help="Seed of the random choice: the same seed asks the same questions")
@value("--count", type=INT, default=10, help="Number of questions (default 10)")
def quiz(arguments: tuple[str, ...], *, seed: int | None, count: int) -> None:
    """Ask ten questions about a container, and let the machine answer

    A small container is made for it. Each question is about what the kernel has or will do; after
    your guess the answer is read from the machine, with the command that shows it. Guess by letter
    or in words; an empty line means that you do not know, q ends the quiz. The container goes
    away with it.
    """
    from random import randrange

    from minidock.teach.lab.quiz.quiz import POOL, Quiz, draw
    from minidock.teach.lab.quiz.scene import Scene

    if not 1 <= count <= len(POOL):
        raise UsageError(
            f"--count {count} is not possible", hint=f"there are {len(POOL)} questions"
        )
    chosen = randrange(10_000) if seed is None else seed
    store = Store()
    _need_image(store)
    _end_in_good_order()
    with Scene(store) as scene:
        print(f"The container is {scene.name}; the same questions again: --seed {chosen}\n")
        Quiz(scene, chosen, sys.stdout).run(draw(chosen, count))


def _need_image(store: Store) -> None:
    from minidock.engine.image.image_hints import where_from
    from minidock.engine.image.images import ImageStore
    from minidock.teach.lab.quiz.scene import IMAGE

    try:
        ImageStore(store).resolve(IMAGE)
    except NotFound as error:
        error.hint = where_from(store, IMAGE)
        raise


def _end_in_good_order() -> None:
    """SIGTERM and SIGHUP end the quiz as Ctrl-C does: past the code that takes all away."""
    import signal

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
