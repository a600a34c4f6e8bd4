"""`explain`: the operations that created a container; or the purpose of an operation."""

from __future__ import annotations

import os
import sys

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
@value("--exec", help="Explain an exec session of the container, by its ID or 'last'")
@switch("--health", help="Explain the last probe of the container's health check")
@switch("--cp", help="Explain the last copy into or out of the container")
@switch("--build", help="Explain the last build that created a layer")
@value("--network", help="Explain the operations of a network, its connects and disconnects")
@value("--lang", help="Language of the output (en, ru; default from LANG)")
def explain(
    arguments: tuple[str, ...],
    *,
    json: bool,
    phases: bool,
    exec: str | None,
    health: bool,
    cp: bool,
    build: bool,
    network: str | None,
    lang: str | None,
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
    asked = {"--exec": exec, "--health": health, "--cp": cp, "--build": build, "--network": network}
    wanted = {flag: str(word) for flag, word in asked.items() if word}
    if len(wanted) > 1:
        raise UsageError(f"{' and '.join(wanted)}: these flags exclude each other")
    subject, names = _subject(arguments, wanted)
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
    arguments: tuple[str, ...], wanted: dict[str, str]
) -> tuple[Subject | None, tuple[str, ...]]:
    """Return the subject, or None to explain operations only, and the names of operations."""
    from minidock.teach import subject

    flag = next(iter(wanted), "")
    if flag in ("--build", "--network"):
        if os.geteuid() != 0:
            raise NeedsRoot(f"`minidock explain {flag}` needs root", hint="put sudo before it")
        if flag == "--build":
            return subject.build_of(Store()), arguments
        return subject.network_of(Store(), wanted[flag]), arguments
    container = _container(arguments[0]) if arguments else None
    if container is None:
        if flag:
            raise UsageError(f"{flag} requires a container", hint=f"minidock explain NAME {flag}")
        return None, ()
    if flag == "--exec":
        return subject.exec_of(container, wanted[flag]), arguments[1:]
    of_container = {"": subject.run_of, "--health": subject.health_of, "--cp": subject.copy_of}
    return of_container[flag](container), arguments[1:]


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
