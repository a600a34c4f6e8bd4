"""`explain`: what was done for a container, op by op; or what an op is."""

from __future__ import annotations

import os
import sys

from minidock.cli.command import NeedsRoot, command
from minidock.cli.complete import containers
from minidock.cli.pflag import switch
from minidock.errors import NotFound
from minidock.paths import Store


@command("CONTAINER|OP", at_least=1, at_most=1, needs_root=False, complete=containers)
@switch("--json", help="One JSON object an operation, for machines")
def explain(arguments: tuple[str, ...], *, json: bool) -> None:
    """Tell each kernel call that made a container, or what a call is for

    CONTAINER: its last run, from its journal: who did what, why, how a shell would do it, where to
    read on, and how long it took. OP: an operation or a man page, such as pivot_root.
    """
    from minidock.engine.container.containers import find
    from minidock.teach.explain import explain as explain_container
    from minidock.teach.explain import explain_op

    name = arguments[0]
    if os.geteuid() != 0:
        if not explain_op(name, sys.stdout):
            raise NeedsRoot(
                f"`minidock explain {name}` needs root", hint=f"sudo minidock explain {name}"
            )
        return
    try:
        container = find(Store(), name)
    except NotFound as error:
        if explain_op(name, sys.stdout):
            return
        raise NotFound(f"No such container or operation: {name}", hint=error.hint) from None
    explain_container(container, as_json=json)
