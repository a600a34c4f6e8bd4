"""The rows of `look`: the isolations that --without knows, the layers, and what is left.

    isolation tags of a record (kernel/isolation.py)  ->  rows

Three tags are not isolations: the process's identity, its streams, and what it inherits. Their
operations are in the row "other". An operation can be in several rows: clone3(2) creates five
namespaces.
"""

from __future__ import annotations

from minidock.kernel.isolation import ISOLATION
from minidock.teach.without.isolations import ISOLATIONS
from minidock.teach.without.report import LEAKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypedDict

    class RowTexts(TypedDict):
        """about: what a container gets. without: the effect of leaving it out. flag: of Docker.

        probes: of `--without` that test it.
        """

        about: str
        without: str
        flag: str
        probes: list[str]


OTHER = "other"
ROWS = (*ISOLATIONS, "layers", OTHER)
_ABOUT_OTHER = "the process itself: its program, user, streams and limits"


def rows_of(tags: list[str]) -> list[str]:
    """The rows of an operation with these tags."""
    return list(dict.fromkeys(tag if tag in ROWS else OTHER for tag in tags)) or [OTHER]


def texts_of(row: str, gettext: Callable[[str], str]) -> RowTexts:
    """The texts of a row, translated."""
    isolation = ISOLATIONS.get(row)
    return {
        "about": gettext(ISOLATION.get(row, _ABOUT_OTHER)),
        "without": gettext(isolation.lost) if isolation else "",
        "flag": isolation.flag if isolation else "",
        "probes": [gettext(probe) for probe, (tests, _) in LEAKS.items() if tests == row],
    }


def messages() -> list[str]:
    """The texts of all rows, for the catalogues."""
    texts = [texts_of(row, str) for row in ROWS]
    return [
        word for row in texts for word in (row["about"], row["without"], *row["probes"]) if word
    ]
