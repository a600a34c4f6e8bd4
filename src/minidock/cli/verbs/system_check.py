"""`system check`: what minidock left on this machine, and what is damaged; --repair mends it.

The exit code is 0 where nothing is left, 1 where something is.
"""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.failure import complain
from minidock.cli.frame.pflag import switch
from minidock.errors import MinidockError, UsageError
from minidock.paths import Store

_REPAIR = "`minidock system check --repair` removes it, and sets aside what is damaged"
_NOTHING = "nothing is left behind"


@command()
@switch("--repair", help="Remove leftovers, and move damaged files to damaged/")
@switch("-a", "--all", help="Also list resources kept for the next container")
@switch("-q", "--quiet", help="Print nothing; report by the exit code")
def check(arguments: tuple[str, ...], *, repair: bool, all: bool, quiet: bool) -> int:
    """List what minidock left on this machine and nothing needs any more, and what is damaged

    These are mounts, links, firewall rules, cgroups, processes, addresses, directories and files
    of this store: after a kill -9, or where somebody removed half of something by hand. What a
    container that runs needs is never among them, nor what is kept for the next one (the bridge,
    the sealed interpreter): "minidock system down" removes that. Damaged files of the store are
    listed too; --repair renames them into its directory damaged/, and makes anew what it can. The
    exit code is 1 if there is something left.
    """
    if all and (repair or quiet):
        raise UsageError("--all lists what is kept: not with --repair or --quiet")
    store = Store()
    code = _repair(store, quiet=quiet) if repair else _list(store, quiet=quiet)
    if all:
        from minidock.engine.leftovers.kept_resources import kept

        print("\nkept for the next container, until `minidock system down`:")
        for kind, name, purpose in kept(store):
            print(_line(kind, name, purpose))
    return code


def _list(store: Store, *, quiet: bool) -> int:
    from minidock.engine.leftovers.check import residue

    found = residue(store)
    if not quiet:
        for thing in found:
            print(_line(thing.kind, thing.name, thing.why))
        if found:
            print(f"\n{_things(len(found))} left; {_REPAIR}")
        else:
            print(_NOTHING)
    return 1 if found else 0


def _repair(store: Store, *, quiet: bool) -> int:
    from minidock.engine.leftovers.check import repair

    done = repair(store)
    for thing, error in done:
        if error is not None:
            complain(MinidockError(f"{thing.kind} {thing.name}: {error}", hint=error.hint))
        elif not quiet:
            verb = "set aside" if thing.kind == "damaged" else "removed"
            print(f"{verb} {_line(thing.kind, thing.name, thing.why)}")
    if not quiet and not done:
        print(_NOTHING)
    return 1 if any(error is not None for _, error in done) else 0


def _line(kind: str, name: str, why: str) -> str:
    return f"{kind:<10}{name}   {why}"


def _things(count: int) -> str:
    return "1 thing is" if count == 1 else f"{count} things are"
