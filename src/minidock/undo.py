"""Undo as a stack: if a step fails, what was already created is removed, last first.

    with UndoOnError() as undo:
        create(x)
        undo.callback(remove, x)

Each removal is idempotent, so that `rm` and the repair after a crash call the same functions. (The
standard library's ExitStack does this too; importing contextlib takes 6 ms.)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVarTuple

    Ts = TypeVarTuple("Ts")


class UndoOnError:
    """Calls its callbacks, last first, if the block raises; the error propagates."""

    def __init__(self) -> None:
        self._callbacks: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def callback(self, remove: Callable[[*Ts], object], *arguments: *Ts) -> None:
        """Call `remove(*arguments)` if the block fails from here on."""
        self._callbacks.append((remove, arguments))

    def __enter__(self) -> UndoOnError:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        while self._callbacks:
            remove, arguments = self._callbacks.pop()
            try:
                remove(*arguments)
            except Exception as failure:  # the first error is reported; this one becomes a note
                error.add_note(f"while undoing: {failure}")
