"""Which namespaces a container is in, as far as its journal says: for two stories side by side.

    clone3, unshare            its own:  /proc/PID/ns/TYPE, PID being that of its init
    setns                      another's: the path that was joined, such as /proc/720/ns/net
    neither                    minidock's own, which are the host's

Two containers share a namespace if both have the same one. setns(2) also writes the inode of what
was joined: where both journals have one, it decides. A journal that has no clone3 of an init, such
as that of a build, has no memberships.

Source: namespaces(7).
"""

from __future__ import annotations

from minidock.kernel.namespace import KINDS
from minidock.teach.look.thing import NAMESPACES, is_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypedDict

    from minidock.teach.journal_reader import JournalEntry

    class Membership(TypedDict):
        """One kind of namespace of a container.

        place: "" for the host's. inode: such as "net:[4026532832]", "" if the journal has none.
        own: whether it was made for this container. at: the number of steps after which it is so.
        """

        place: str
        inode: str
        own: bool
        at: int


def memberships_of(entries: Iterable[JournalEntry]) -> dict[str, Membership]:
    """Kind of namespace (as a thing is called) -> membership, after the last start."""
    found: dict[str, Membership] = {}
    joined: dict[str, Membership] = {}  # by the monitor, for the child that it makes next
    pid = ""
    for at, entry in enumerate(entries, 1):
        op = entry.record["op"]
        if entry.errno is not None:
            continue
        if op == "namespace.clone_process":
            pid = str(entry.made or "")
            hosts = {word: _membership(at) for word in NAMESPACES}
            found = {**hosts, **joined, **_own(entry, pid, at)}
            joined = {}
        elif op == "namespace.unshare" and is_inside(entry):
            found |= _own(entry, pid, at)
        elif op == "namespace.setns" and (found or not is_inside(entry)):
            _join(entry, at, found, found if is_inside(entry) else joined)
    return {NAMESPACES[word]: each for word, each in found.items()}


def _join(
    entry: JournalEntry, at: int, found: dict[str, Membership], into: dict[str, Membership]
) -> None:
    """A process joins a namespace, or leaves it again: then its place is ""."""
    place, inode = str(entry.record["args"]["place"]), str(entry.record["args"]["fd"])
    for word in entry.record["args"]["namespaces"]:
        if not place:
            into.pop(word, None)
        elif word in found and found[word]["place"] == place:
            found[word]["inode"] = inode  # its own, which the monitor visits
        else:
            into[word] = {"place": place, "inode": inode, "own": False, "at": at}


def _own(entry: JournalEntry, pid: str, at: int) -> dict[str, Membership]:
    words = entry.record["args"]["namespaces"]
    return {
        word: {"place": f"/proc/{pid}/ns/{KINDS[word][1]}", "inode": "", "own": True, "at": at}
        for word in words
        if word in NAMESPACES
    }


def _membership(at: int) -> Membership:
    return {"place": "", "inode": "", "own": False, "at": at}
