"""`explain`: the operations that created a container; or the purpose of an operation.

    explain NAME                             a row for each isolation (teach/look/text.py)
    explain NAME --unfold ROW                … and the operations of a row
    explain --all NAME, explain NAME OP …    the long form: operations in full (teach/explain.py)
    explain --json NAME, --phases NAME       the same as JSON; its summary only
    explain OP                               what an operation is for (teach/op_page.py)

`run --explain` prints the long form while it happens.
"""

from __future__ import annotations

import os
import sys

from minidock.cli.flags.journal_flags import (
    OF_STORE,
    check_rows,
    chosen_flag,
    journal_flags,
    subject_of,
    subject_of_store,
)
from minidock.cli.frame.command import NeedsRoot, command
from minidock.cli.frame.complete import containers
from minidock.cli.frame.pflag import switch, value, values
from minidock.errors import NotFound, UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click

    from minidock.engine.container.containers import Container
    from minidock.kernel.op import Op
    from minidock.teach.language import Language
    from minidock.teach.subject import Subject


# Each pair excludes each other. --all with --json is the long form as JSON, as --json alone.
_EXCLUSIVE = (
    ("--all", "--unfold"),
    ("--json", "--unfold"),
    ("--phases", "--unfold"),
    ("--all", "--phases"),
    ("--json", "--phases"),
)


def _containers_and_ops(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of all containers, then of all operations, as a shell proposes them."""
    from minidock.teach.op_page import ops_named

    ops = {name for op in ops_named("") for name in (op.name, op.act.__name__)}
    proposed = sorted(name for name in ops if name.startswith(incomplete))
    return [*containers(ctx, param, incomplete), *proposed]


@command("[CONTAINER] [OP...]", at_least=0, needs_root=False, complete=_containers_and_ops)
@switch("--all", help="Explain each operation in full instead of counting them in rows")
@values("--unfold", help="List the operations of this row (may be repeated)")
@switch("--json", help="Print one JSON object per operation")
@switch("--phases", help="Print only the summary: operations and time per process and phase")
@journal_flags("Explain")
@value("--lang", help="Language of the output (en, ru; default from LANG)")
def explain(
    arguments: tuple[str, ...],
    *,
    all: bool,
    unfold: tuple[str, ...],
    json: bool,
    phases: bool,
    lang: str | None,
    **journal: object,
) -> None:
    """Explain the kernel calls that created a container, or the purpose of a call

    CONTAINER: explains its last run from its journal, in one row for each isolation; --unfold
    lists the operations of a row. With --all: each operation with its process, reason, equivalent
    shell command, man page and duration; with OP, only these operations. OP, --json and --phases
    need no --all. OP alone: an operation, a man page or a module, such as pivot_root, prctl,
    cgroup: explains what breaks without it and where it is called. Without arguments: lists all
    operations.
    """
    from minidock.teach.language import language

    output_language = language(lang or "")
    form = {"--all": all, "--unfold": bool(unfold), "--json": json, "--phases": phases}
    given = [flag for flag, is_given in form.items() if is_given]
    _check(given, unfold)
    subject, names = _subject(arguments, *chosen_flag(journal))
    if subject is None:
        _explain_ops(arguments, given, output_language)
    elif given in ([], ["--unfold"]) and not names:
        from minidock.teach.look.text import write_text

        write_text(subject, unfold, language=output_language)
    elif unfold:
        raise UsageError(
            f"--unfold and an operation exclude each other: {names[0]}",
            hint="minidock explain NAME OP     or: minidock explain --unfold ROW NAME",
        )
    else:
        from minidock.teach.explain import explain as explain_subject

        explain_subject(subject, names, as_json=json, only_phases=phases, language=output_language)


def _check(given: list[str], unfold: tuple[str, ...]) -> None:
    """Refuse flags that exclude each other, and unknown rows."""
    for one, other in _EXCLUSIVE:
        if one in given and other in given:
            raise UsageError(f"{one} and {other} exclude each other")
    check_rows(unfold)


def _subject(
    arguments: tuple[str, ...], flag: str, wanted: str
) -> tuple[Subject | None, tuple[str, ...]]:
    """Return the subject, or None to explain operations only, and the names of operations."""
    if flag in OF_STORE:
        if os.geteuid() != 0:
            raise NeedsRoot(f"`minidock explain {flag}` needs root", hint="put sudo before it")
        return subject_of_store(flag, wanted), arguments
    container = _container(arguments[0]) if arguments else None
    if container is not None:
        return subject_of(container, flag, wanted), arguments[1:]
    if flag:
        raise UsageError(f"{flag} requires a container", hint=f"minidock explain NAME {flag}")
    return None, ()


def _container(name: str) -> Container | None:
    """Find a container; None if it does not exist, or if the caller is not root."""
    if os.geteuid() != 0:
        return None
    from minidock.engine.container.lookup import find

    try:
        return find(Store(), name)
    except NotFound:
        return None


def _explain_ops(arguments: tuple[str, ...], given: list[str], output_language: Language) -> None:
    """Print the pages of operations, or the list of all of them. given: flags of a form."""
    from minidock.teach.op_page import explain_ops
    from minidock.teach.page import Page

    found = [_ops_named(name) for name in arguments or ("",)]
    flag = next((flag for flag in given if flag != "--json"), "")
    if flag:
        value = " ROW" if flag == "--unfold" else ""
        hint = f"minidock explain {flag}{value} NAME"
        raise UsageError(f"{flag} requires a container", hint=hint)
    for ops in found:
        explain_ops(ops, Page(sys.stdout, output_language), as_json="--json" in given)


def _ops_named(name: str) -> list[Op]:
    """The operations of a name, all for "". Raises NotFound, NeedsRoot (it may be a container)."""
    from minidock.teach.op_page import ops_named

    ops = ops_named(name)
    if not ops and os.geteuid() != 0:
        raise NeedsRoot(
            f"`minidock explain {name}` needs root", hint=f"sudo minidock explain {name}"
        )
    if not ops:
        raise NotFound(
            f"No such container or operation: {name}",
            hint="`minidock ps -a` lists all containers, `minidock explain` all operations",
        )
    return ops
