"""`push`: upload images to registries."""

from __future__ import annotations

import sys

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import images
from minidock.cli.frame.pflag import switch, unsupported
from minidock.errors import UsageError
from minidock.paths import Store


@command("NAME[:TAG]", at_least=1, at_most=1, complete=images)
@switch("-a", "--all-tags", help="Push all tags of the image")
@switch("-q", "--quiet", help="Suppress verbose output")
@unsupported(
    "--disable-content-trust",
    because="image signatures are not supported",
    unless=("true",),
    bare="true",
)
def push(arguments: tuple[str, ...], *, all_tags: bool, quiet: bool) -> None:
    """Push an image to a registry"""
    from minidock.cli.output.progress_layers import layers_progress
    from minidock.engine.registry import push as engine
    from minidock.oci import reference

    name = reference.parse(arguments[0])
    if all_tags and (name.tag or name.digest):
        raise UsageError("tag can't be used with --all-tags/-a")
    with layers_progress(sys.stdout, quiet=quiet) as progress:
        if not (name.tag or name.digest or all_tags):
            progress.line("Using default tag: latest")
        act = engine.push_all_tags if all_tags else engine.push
        act(Store(), arguments[0], progress=progress)
    if quiet:
        print(name if all_tags else name.with_default_tag())
