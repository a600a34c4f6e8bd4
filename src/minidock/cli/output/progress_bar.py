"""Progress bars on stderr, one per layer; nothing if stderr is not a terminal."""

from __future__ import annotations

import os
import sys

from minidock.cli.output.human import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click

    Bar = click._termui_impl.ProgressBar[int]


class Bars:
    """`with Bars() as progress:` progress(what, bytes done, total bytes or None) updates the bar.

    quiet: show nothing, as if stderr were not a terminal.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._shows = not quiet and os.isatty(2)
        self._what = ""
        self._bar: Bar | None = None

    def __enter__(self) -> Bars:
        return self

    def __call__(self, what: str, done: int, total: int | None) -> None:
        if not self._shows:
            return
        if what != self._what:
            self._fill()
            self._what = what
            self._bar = _bar(what, total)
            self._bar.__enter__()
        assert self._bar is not None
        self._bar.update(done - self._bar.pos, done)

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:
            self._fill()
        self._close()

    def _fill(self) -> None:
        """Complete the bar, even if its last bytes were not reported."""
        if self._bar is not None and self._bar.length:
            self._bar.update(self._bar.length - self._bar.pos, self._bar.length)
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def _bar(what: str, total: int | None) -> Bar:
    import click

    def amount(done: int | None) -> str:
        whole = f" / {size(total)}" if total else ""
        return f"{size(done or 0)}{whole}"

    return click.progressbar(
        length=total or 0,
        label=f"{what:>14}",
        file=sys.stderr,
        width=30,
        show_eta=False,
        show_percent=bool(total),
        bar_template="%(label)s  [%(bar)s]  %(info)s" if total else "%(label)s  %(info)s",
        item_show_func=amount,
        update_min_steps=1 << 20,
    )
