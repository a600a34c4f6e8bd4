"""`layers`: the layers of an image or a container, and the changes of a container, live."""

from __future__ import annotations

import sys

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import containers
from minidock.cli.frame.pflag import switch
from minidock.errors import NotFound, UsageError
from minidock.paths import Store


@command("IMAGE|CONTAINER", at_least=1, at_most=1, complete=containers)
@switch(
    "--files",
    help="Show files that each layer adds (A), changes (C), deletes (D) or hides (O)",
)
@switch("--json", help="Print JSON; with --watch, one object per line")
@switch("--watch", help="Follow a container: print each copy-up, whiteout and opaque directory")
def layers(arguments: tuple[str, ...], *, files: bool, json: bool, watch: bool) -> None:
    """Show the layers of an image or a container, and what each changes"""
    from minidock.engine.container.lookup import find
    from minidock.engine.image.images import ImageStore
    from minidock.teach.layers import output as view
    from minidock.teach.layers.find import of_container, of_image

    store, reference = Store(), arguments[0]
    if watch:
        if files:
            raise UsageError("--watch already prints each file: omit --files")
        from minidock.teach.layers.watch import watch as follow

        follow(find(store, reference), sys.stdout, as_json=json)
        return
    try:
        found = of_container(find(store, reference))
    except NotFound:
        try:
            found = of_image(ImageStore(store).resolve(reference))
        except NotFound:
            raise NotFound(
                f"No such container or image: {reference}",
                hint="list them with `minidock ps -a` and `minidock images`",
            ) from None
    reports = view.report_layers(store, found)
    if json:
        view.write_json(reports, sys.stdout)
    else:
        view.write_text(reports, sys.stdout, files=files)
