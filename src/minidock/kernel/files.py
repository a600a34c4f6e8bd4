"""Files in bulk: a tree that is copied or unpacked is one act, however many calls it takes.

Source: tar(1), chown(2), chmod(2), mknod(2), utimensat(2).
"""

from __future__ import annotations

from minidock.kernel.op import op, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _name_of(act: object) -> str:
    """How the journal names the work: by the function."""
    return str(getattr(act, "__qualname__", act)).partition(".<locals>")[0]


def _work_on_files_sh(place: str, act: str) -> str:
    return f"tar -c . | tar -x --numeric-owner -p -C {quote(place)}"


@op("tar(1)", twin=_work_on_files_sh, shown={"act": _name_of})
def work_on_files(place: str, act: Callable[[], object]) -> None:
    """Write a tree of files below a place: owners, modes, times and devices as they are told.

    Without it: a copied file belongs to root and has the mode of our umask: a program that its user
    must be able to write, or a setuid bit, comes out wrong.

    place: the directory, as this process sees it. act: the work; what it returns is its own.
    """
    act()
