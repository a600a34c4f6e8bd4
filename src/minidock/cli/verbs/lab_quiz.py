"""`lab quiz`: questions about a running container, with answers read from the kernel."""

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
    """Ask ten questions about a container, with answers read from the kernel

    Creates a small container, and removes it at the end. Each question is about the state or the
    behaviour of the kernel; after your answer, the quiz reads the right one from the machine and
    shows the command for it. Answer by letter or in words; an empty line skips the question, q
    quits.
    """
    from random import randrange

    from minidock.teach.lab.quiz.quiz import POOL, Quiz, draw
    from minidock.teach.lab.quiz.scene import Scene

    if not 1 <= count <= len(POOL):
        raise UsageError(f"--count {count} is not possible", hint=f"the maximum is {len(POOL)}")
    chosen = randrange(10_000) if seed is None else seed
    store = Store()
    _need_image(store)
    _exit_on_signals()
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


def _exit_on_signals() -> None:
    """Make SIGTERM and SIGHUP end the quiz as Ctrl-C does, with its clean-up."""
    import signal

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
