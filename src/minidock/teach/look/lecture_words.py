"""The words of a lecture in the page of `look`, in the reader's language."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def words_of_lecture(_: Callable[[str], str]) -> dict[str, str]:
    """Key of a text in page/lecture.js -> the text."""
    return {
        "lecture": _("Lecture"),
        "lecture_back": _("Back in the lecture"),
        "lecture_next": _("On in the lecture"),
        "lecture_due": _("{name} does not run yet: type the command, and it appears"),
        "output": _("Output"),
        "key_lecture": _("the lecture: back, on"),
    }
