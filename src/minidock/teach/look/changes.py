"""What an operation changes in the picture: the table of all operations.

    record (op, arguments, actor) and its result  ->  changes of things

A *thing* has a kind (a mount, a layer, a namespace) and a name; a *change* sets its state and a
note, such as an address. Nothing here is believed: names and notes are the arguments that the
journal has. Capabilities after execve(2) follow the rules of capabilities(7).

The functions are small and many; they are in effects_*.py, this file joins them.
"""

from __future__ import annotations

from minidock.teach.look import effects_files, effects_network, effects_process
from minidock.teach.look.thing import TOUCHED, Change

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.journal_reader import JournalEntry
    from minidock.teach.look.thing import Effect, Making

EFFECTS: dict[str, Effect] = {
    **effects_files.EFFECTS,
    **effects_network.EFFECTS,
    **effects_process.EFFECTS,
}
_NOTHING_DONE = ("absent", "ended")


def changes_of(entry: JournalEntry, making: Making) -> list[Change]:
    """What an operation changed; a failed one, or one that found nothing to do, only touches it.

    making: what is known so far; updated. Raises KeyError for an op that is not in the table.
    """
    changes = EFFECTS[entry.record["op"]](entry, making)
    if entry.errno is None and entry.made not in _NOTHING_DONE:
        return changes
    return [Change(change.kind, change.name, TOUCHED) for change in changes]
