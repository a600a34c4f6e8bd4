"""Where the kernel's answer now differs from what the journal says: the marks of the page.

    (scene after its last step, facts)  ->  (row, thing, what the journal says, what is now)

Not an error: since its start a container may mount, drop capabilities or add devices,
and another command may change a limit. Pure: it reads nothing.
"""

from __future__ import annotations

from minidock.numerals import is_decimal
from minidock.teach.look.thing import NAMESPACES, ON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from minidock.teach.look.live.now import Facts
    from minidock.teach.look.scene import Scene, Thing

    class Difference(TypedDict):
        """journal, now: "on" or "off", or a value. thing: a name as the scene has it."""

        row: str
        kind: str
        thing: str
        journal: str
        now: str


_ROWS = {"network": "net"}  # clone(2)'s word -> the row, where they differ
_PAGE = 4096  # a limit of memory is rounded down to whole pages
_NO_LIMIT = ("max", "-1", str((1 << 63) - 4096))  # as v2 and v1 write it


def differences(scene: Scene, facts: Facts) -> list[Difference]:
    """Compare each kind of thing that the kernel can be asked about."""
    mounts = [*scene.visible("mount"), *scene.visible("mask")]
    return [
        *_namespaces(scene, facts["namespaces"]),
        *(_sets("mount", "mount", _names(mounts), set(facts["mounts"]))
          if _is_own(scene, "mount namespace") else ()),
        *(_sets("net", "interface", _names(scene.visible("interface")), set(facts["interfaces"]))
          if _is_own(scene, "network namespace") else ()),
        *_sets("capabilities", "capability", _names(scene.visible("capability")),
               set(facts["capabilities"])),
        *_filter(scene, facts["filters"]),
        *_limits(scene.visible("limit"), facts["limits"]),
    ]  # fmt: skip


def limit_files(scene: Scene) -> list[str]:
    """The cgroup files that the journal says were written."""
    return [thing.name for thing in scene.visible("limit")]


def _is_own(scene: Scene, kind: str) -> bool:
    """Whether the container has a namespace that was made for it: else others act in it too."""
    return any(thing.note != "joined" for thing in scene.visible(kind))


def _names(things: list[Thing]) -> set[str]:
    return {thing.name for thing in things}


def _namespaces(scene: Scene, found: dict[str, bool]) -> list[Difference]:
    made = {thing.kind for thing in scene.things.values() if thing.state == ON}
    result = []
    for word, kind in NAMESPACES.items():
        if (kind in made) != found[word]:
            row = _ROWS.get(word, word if word != "user" else "other")
            result.append(_difference(row, kind, "", kind in made, found[word]))
    return result


def _sets(row: str, kind: str, journal: set[str], now: set[str]) -> list[Difference]:
    return [
        _difference(row, kind, name, name in journal, name in now) for name in sorted(journal ^ now)
    ]


def _filter(scene: Scene, filters: int) -> list[Difference]:
    was = bool(scene.visible("filter"))
    return [_difference("seccomp", "filter", "BPF", was, filters > 0)] if was != filters > 0 else []


def _limits(written: list[Thing], found: dict[str, str]) -> list[Difference]:
    return [
        {"row": "cgroup", "kind": "limit", "thing": thing.name, "journal": thing.note,
         "now": found[thing.name]}
        for thing in written
        if thing.name in found and not _is_same(thing.name, thing.note, found[thing.name])
    ]  # fmt: skip


def _is_same(file: str, written: str, read: str) -> bool:
    """Whether a cgroup file shows what was written, though perhaps in other words."""
    if written in _NO_LIMIT and read in _NO_LIMIT:
        return True
    if file.startswith("memory.") and is_decimal(written) and is_decimal(read):
        return int(written) // _PAGE == int(read) // _PAGE
    return set(written.split()) <= set(read.split())


def _difference(row: str, kind: str, thing: str, journal: bool, now: bool) -> Difference:
    words = ("off", "on")
    return {"row": row, "kind": kind, "thing": thing, "journal": words[journal], "now": words[now]}
