"""`system check`: leftovers of minidock on this machine, and damaged files; --repair fixes both.

The exit code is 1 if there are leftovers or damaged files, else 0.
"""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.error_output import print_error
from minidock.cli.frame.pflag import switch
from minidock.errors import MinidockError, UsageError
from minidock.paths import Store

_REPAIR = "`minidock system check --repair` removes leftovers, and moves damaged files to damaged/"
_NOTHING = "no leftovers"


@command()
@switch("--repair", help="Remove leftovers, and move damaged files to damaged/")
@switch("-a", "--all", help="Also list resources kept for the next container")
@switch("-q", "--quiet", help="Print nothing; report by the exit code")
def check(arguments: tuple[str, ...], *, repair: bool, all: bool, quiet: bool) -> int:
    """List leftovers of minidock on this machine, and damaged files of the store

    Leftovers are mounts, network devices, firewall rules, cgroups, processes, addresses,
    directories and files of this store that nothing needs, after a kill -9 or an incomplete manual
    removal. Resources of running containers are never listed, nor those kept for the next container
    (the bridge, the sealed interpreter), which "minidock system down" removes. --repair removes
    leftovers, moves damaged files to the store's directory damaged/, and recreates what it can.
    The exit code is 1 if there are leftovers or damaged files, with --repair if one of them could
    not be removed; else 0.
    """
    if all and (repair or quiet):
        raise UsageError("--all excludes --repair and --quiet")
    store = Store()
    code = _repair(store, quiet=quiet) if repair else _list(store, quiet=quiet)
    if all:
        from minidock.engine.leftovers.kept_resources import list_kept_resources

        print("\nkept for the next container, until `minidock system down`:")
        for kind, name, purpose in list_kept_resources(store):
            print(_line(kind, name, purpose))
    return code


def _list(store: Store, *, quiet: bool) -> int:
    from minidock.engine.leftovers.check import find_leftovers

    found = find_leftovers(store)
    if not quiet:
        for thing in found:
            print(_line(thing.kind, thing.name, thing.why))
        if found:
            print(f"\n{_count_leftovers(len(found))}; {_REPAIR}")
        else:
            print(_NOTHING)
    return 1 if found else 0


def _repair(store: Store, *, quiet: bool) -> int:
    from minidock.engine.leftovers.check import repair

    done = repair(store)
    for thing, error in done:
        if error is not None:
            print_error(MinidockError(f"{thing.kind} {thing.name}: {error}", hint=error.hint))
        elif not quiet:
            verb = "set aside" if thing.kind == "damaged" else "removed"
            print(f"{verb} {_line(thing.kind, thing.name, thing.why)}")
    if not quiet and not done:
        print(_NOTHING)
    return 1 if any(error is not None for _, error in done) else 0


def _line(kind: str, name: str, why: str) -> str:
    return f"{kind:<10}{name}   {why}"


def _count_leftovers(count: int) -> str:
    return "1 leftover" if count == 1 else f"{count} leftovers"
