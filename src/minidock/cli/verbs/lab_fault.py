"""`lab fault`: a set-up with one fault, to be found and repaired; `lab check` ends it.

teach/lab/fault/ defines the faults and what the set-up must do. Its scripts refer to the parts of
the set-up by variables; this module prints their names.
"""

from __future__ import annotations

import json
import os
import sys

from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import switch
from minidock.errors import UsageError
from minidock.paths import Store

_MARGIN = "    "


@command("[SEED]", at_most=1)
@switch("--list", help="Print the number of faults, without naming them")
@switch("--commands", help="Show the commands that created the set-up, without the fault")
@switch("--hint", help="Print the next hint")
@switch("--fix", help="Apply the reference solution, and show it")
@switch("--end", help="Give up: remove the set-up and name the fault")
@switch(
    "--yes-in-a-vm", help="Allow a fault that affects this whole machine, outside a virtual machine"
)
def fault(arguments: tuple[str, ...], *, yes_in_a_vm: bool, **asked: bool) -> None:
    """Create a set-up with one fault in it

    Prints only the symptom. `minidock lab check` reports what is still broken; once everything
    works, it removes the set-up. The same SEED, a number or a word, selects the same fault. Without
    a SEED, prints the state of the current set-up.
    """
    given = [name for name, is_asked in asked.items() if is_asked]
    if len(given) + len(arguments) > 1:
        raise UsageError("give a SEED or one flag: they exclude each other")
    if yes_in_a_vm and not arguments:
        raise UsageError("--yes-in-a-vm requires a SEED")
    if arguments:
        _begin(arguments[0], yes_in_a_vm=yes_in_a_vm)
    elif given:
        {"list": _list, "commands": _commands, "hint": _hint, "fix": _fix, "end": _end}[given[0]]()
    else:
        _tell_state()


def _begin(seed: str, *, yes_in_a_vm: bool) -> None:
    from minidock.engine.doctor.virtual import is_virtual_machine
    from minidock.teach.lab.fault.session import begin

    store = Store()
    _, seen = begin(store, seed, is_allowed=lambda: yes_in_a_vm or is_virtual_machine(store))
    _tell(f"A shop of four containers runs here now (fault {seed}). What it no longer does:", seen)
    print(
        "\nminidock ps                       lists its containers\n"
        "minidock lab fault --commands     the commands that created it, without the fault\n"
        "minidock lab fault --hint         the next hint\n"
        "minidock lab check                whether it works again"
    )


def _tell(heading: str, sentences: list[str]) -> None:
    from minidock.teach.page import Paint

    paint = Paint(sys.stdout)
    print(heading)
    for text in sentences:
        promise, _, seen = text.partition("\n")
        print(f"\n{_MARGIN}{paint.bold(promise)}\n{_MARGIN * 2}{seen}")


def _tell_state() -> None:
    from minidock.teach.lab.fault.session import current, describe_broken

    session = current(Store())
    if seen := session.find_broken():
        _tell(f"Fault {session.seed}. What the shop does not do:", describe_broken(seen))
    else:
        print(f"Fault {session.seed}: all promises are kept.")


def _list() -> None:
    from collections import Counter

    from minidock.teach.lab.fault.session import FAULTS, KINDS

    for kind, faults in KINDS.items():
        print(f"{len(faults):>4}  {kind}")
    shared = Counter(bool(fault.shared) for fault in FAULTS)[True]
    print(f"{len(FAULTS):>4}  in all; {shared} of them affect the whole machine")


def _commands() -> None:
    from minidock.teach.lab.fault.session import substitute_names
    from minidock.teach.lab.fault.setup_commands import COMMANDS
    from minidock.teach.lab.fault.shop import Shop

    names = Shop(Store()).names()
    for line in COMMANDS:
        print(substitute_names(line, {key: names[key] for key in ("IMAGE", "DISK")}))


def _hint() -> None:
    from minidock.teach.lab.fault.session import current

    print(current(Store()).hint())


def _fix() -> None:
    from minidock.teach.lab.fault.session import current

    print(current(Store()).fix())


def _end() -> None:
    from minidock.teach.lab.fault.session import current

    session = current(Store())
    session.end()
    print(f"It was: {session.fault.cause}.")


def check_fault(*, as_json: bool = False) -> int | None:
    """`lab check`: what is still wrong (1), or the end of the set-up (0).

    Returns None without a fault, or in a directory of `lab start`.
    """
    from minidock.teach.lab.fault.session import NoFault, current, describe_broken
    from minidock.teach.lab.folder import MARKER_FILE

    if os.path.exists(MARKER_FILE):
        return None
    try:
        session = current(Store())
    except NoFault:
        return None
    seen = session.find_broken()
    repair, looks = session.reference(), session.look_commands()  # by the names of what is there
    if not seen:
        session.end()
    if as_json:
        json.dump({"fault": session.seed, "broken": seen}, sys.stdout, ensure_ascii=False)
        print()
    elif seen:
        _tell("Not yet. What the shop does not do:", describe_broken(seen))
    else:
        _tell_story(session.fault.cause, repair, looks)
    return 1 if seen else 0


def _tell_story(cause: str, repair: str, looks: list[str]) -> None:
    print("Repaired: all promises are kept. The set-up is removed.")
    print(f"\nIt was: {cause}.\n\nOne way to repair it:\n")
    for line in repair.splitlines():
        print(f"{_MARGIN}{line}")
    print("\nWhat shows it:\n")
    for line in looks:
        print(f"{_MARGIN}{line}")
