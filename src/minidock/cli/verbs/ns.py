"""`ns`: the namespaces of containers, and what they isolate."""

from __future__ import annotations

import sys

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import running_containers
from minidock.cli.frame.pflag import switch
from minidock.paths import Store


@command("[CONTAINER]", at_most=1, complete=running_containers)
@switch("--json", help="Print JSON; ns, nprocs and pid have the meaning of lsns -J")
def ns(arguments: tuple[str, ...], *, json: bool) -> None:
    """Show the namespaces of the host and of containers, and which processes share them

    With a CONTAINER: what each of its namespaces hides, the command that shows it, and the
    namespaces that were created inside.
    """
    from minidock.teach.ns import ns as view

    store = Store()
    if not arguments:
        (view.write_json if json else view.write_text)(view.list_members(store), sys.stdout)
        return
    from minidock.engine.container.lookup import find
    from minidock.teach.ns import container_namespaces

    container = find(store, arguments[0])
    members = view.list_members(store)
    found, made = (
        container_namespaces.list_namespaces(container, members),
        container_namespaces.list_nested(container, members),
    )
    if json:
        container_namespaces.write_json(found, made, sys.stdout)
    else:
        container_namespaces.write_text(container, found, made, sys.stdout)
