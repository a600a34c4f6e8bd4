"""Undo as a stack: what a failed step has already made is unmade, last first.

    with UndoOnError() as undo:
        make(x)
        undo.callback(unmake, x)

Each unmake is idempotent, so that `rm` and the repair after a crash call the same functions. (The
standard library's ExitStack does this too; importing contextlib costs a fresh interpreter 6 ms.)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class UndoOnError:
    """Calls its callbacks, last first, if the block raises; the error goes on."""

    def __init__(self) -> None:
        self._callbacks: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def callback(self, unmake: Callable[..., Any], *arguments: Any) -> None:
        """Have `unmake(*arguments)` called if the block fails from here on."""
        self._callbacks.append((unmake, arguments))

    def __enter__(self) -> UndoOnError:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        while self._callbacks:
            unmake, arguments = self._callbacks.pop()
            try:
                unmake(*arguments)
            except Exception as failure:  # the first error is the one to report; this is a note
                error.add_note(f"while undoing: {failure}")
