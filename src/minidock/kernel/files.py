"""Files in bulk: copying or unpacking a tree is one op, however many calls it takes.

Source: tar(1), chown(2), chmod(2), mknod(2), utimensat(2).
"""

from __future__ import annotations

from minidock.kernel.op import op, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _name_of(act: object) -> str:
    """Return the name of the function, for the journal."""
    return str(getattr(act, "__qualname__", act)).partition(".<locals>")[0]


def _work_on_files_sh(place: str, act: str) -> str:
    return f"tar -c . | tar -x --numeric-owner -p -C {quote(place)}"


@op("tar(1)", twin=_work_on_files_sh, shown={"act": _name_of})
def work_on_files(place: str, act: Callable[[], object]) -> None:
    """Write a tree of files below a directory, with the given owners, modes, times and devices.

    Without it: a copied file belongs to root and has the mode of our umask: files that another user
    must be able to write, and setuid programs, are wrong.

    place: the directory, as this process sees it. act: does the work; its result is returned.
    """
    act()
