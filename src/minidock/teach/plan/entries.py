"""A plan as a journal that ends with its last operation: for views that read journals.

A test compares a plan with the journal of the run that follows: the operations are the same, with
their arguments. What only a run has is absent: times, results, and the values of slots, which are
written `$pid`. An operation without a result counts as done: a mask, though the run may find
nothing to hide.
"""

from __future__ import annotations

from minidock.teach.journal_reader import JournalEntry, load_ops
from minidock.teach.subject import Subject, paths_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.plan.plan import Plan
    from minidock.teach.plan.planned_ops import PlannedOp


def subject_of_plan(plan: Plan, title: str) -> Subject:
    """The plan as a subject. If the run would fail, its last operation has the error."""
    load_ops()
    numbered = enumerate(plan.ops.numbered(), 1)
    entries = [_entry(act, of_actor, number) for number, (of_actor, act) in numbered]
    if plan.failure is not None and entries:
        entries[-1].errno, entries[-1].said = 0, str(plan.failure)  # minidock's own words
    return Subject(title, paths_of(plan.container), entries, is_plan=True)


def _entry(act: PlannedOp, of_actor: int, number: int) -> JournalEntry:
    identity = f"{act.actor}.{of_actor}"
    entry = JournalEntry({**act.record(of_actor), "id": identity, "pid": 0, "t": 0})
    entry.record = {**entry.record, **act.described(of_actor)}  # slots are variables in its twin
    entry.number = number
    return entry
