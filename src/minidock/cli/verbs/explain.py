"""`explain`: the operations that created a container; or the purpose of an operation."""

from __future__ import annotations

import os
import sys

from minidock.cli.flags.journal_flags import (
    OF_STORE,
    chosen_flag,
    journal_flags,
    subject_of,
    subject_of_store,
)
from minidock.cli.frame.command import NeedsRoot, command
from minidock.cli.frame.complete import containers
from minidock.cli.frame.pflag import switch, value
from minidock.errors import NotFound, UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    import click

    from minidock.engine.container.containers import Container
    from minidock.teach.language import Language
    from minidock.teach.subject import Subject


def _containers_and_ops(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of all containers, then of all operations, as a shell proposes them."""
    from minidock.teach.op_page import ops_named

    ops = {name for op in ops_named("") for name in (op.name, op.act.__name__)}
    proposed = sorted(name for name in ops if name.startswith(incomplete))
    return [*containers(ctx, param, incomplete), *proposed]


@command("[CONTAINER] [OP...]", at_least=0, needs_root=False, complete=_containers_and_ops)
@switch("--json", help="Print one JSON object per operation")
@switch("--phases", help="Print only the summary: operations and time per process and phase")
@journal_flags("Explain")
@value("--lang", help="Language of the output (en, ru; default from LANG)")
def explain(
    arguments: tuple[str, ...],
    *,
    json: bool,
    phases: bool,
    lang: str | None,
    **journal: object,
) -> None:
    """Explain the kernel calls that created a container, or the purpose of a call

    CONTAINER: explains its last run from its journal: each operation with its process, reason,
    equivalent shell command, man page and duration; with OP, only these operations. OP: an
    operation, a man page or a module, such as pivot_root, prctl, cgroup: explains what breaks
    without it and where it is called. Without arguments: lists all operations.
    """
    from minidock.teach.explain import explain as explain_subject
    from minidock.teach.language import language

    output_language = language(lang or "")
    subject, names = _subject(arguments, *chosen_flag(journal))
    if subject is not None:
        explain_subject(subject, names, as_json=json, only_phases=phases, language=output_language)
        return
    if phases:
        raise UsageError("--phases requires a container", hint="minidock explain --phases NAME")
    if not arguments:
        _explain_ops("", output_language, as_json=json)
    for name in arguments:
        _explain_ops(name, output_language, as_json=json)


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


def _explain_ops(name: str, output_language: Language, *, as_json: bool) -> None:
    from minidock.teach.op_page import explain_ops, ops_named
    from minidock.teach.page import Page

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
    explain_ops(ops, Page(sys.stdout, output_language), as_json=as_json)
