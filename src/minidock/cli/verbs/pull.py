"""`pull`, and the pull of `run` and `create`."""

from __future__ import annotations

import sys

from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import switch, unsupported, value
from minidock.errors import UsageError
from minidock.paths import Store

_TRUST = "image signatures are not supported"
SEARCH_PAGE = "https://hub.docker.com/search"


@command("NAME[:TAG|@DIGEST]", at_least=1, at_most=1)
@switch("-a", "--all-tags", help="Pull all tags of the repository")
@value("--platform", default="", help="Platform to pull, of a multi-platform image")
@switch("-q", "--quiet", help="Suppress verbose output")
@unsupported("--disable-content-trust", because=_TRUST, unless=("true",), bare="true")
def pull(arguments: tuple[str, ...], *, all_tags: bool, platform: str, quiet: bool) -> None:
    """Pull an image from a registry"""
    from minidock.cli.output.progress_layers import layers_progress
    from minidock.engine.image.image_hints import where_from
    from minidock.engine.registry import pull as engine
    from minidock.engine.registry.transport import Unreachable
    from minidock.oci import reference

    name = reference.parse(arguments[0])
    has_tag = bool(name.tag or name.digest)
    if all_tags and has_tag:
        raise UsageError("tag can't be used with --all-tags/-a")
    with layers_progress(sys.stdout, quiet=quiet) as progress:
        if not (has_tag or all_tags):
            progress.line("Using default tag: latest")
        act = engine.pull_all_tags if all_tags else engine.pull
        try:
            act(store := Store(), arguments[0], platform=platform, progress=progress)
        except Unreachable as error:
            error.hint = f"{error.hint}\n{where_from(store, arguments[0])}".lstrip("\n")
            raise
    print(name if all_tags else name.with_default_tag())


def pull_for_container(store: Store, image: str, *, platform: str, quiet: bool) -> None:
    """Pull the image of a new container; progress goes to stderr."""
    from minidock.cli.output.progress_layers import layers_progress
    from minidock.engine.registry.pull import pull as pull_image

    with layers_progress(sys.stderr, quiet=quiet) as progress:
        pull_image(store, image, platform=platform, progress=progress)


@command("TERM", at_least=1, at_most=1, needs_root=False)
@value("-f", "--filter", default="", help="Show only objects that match a filter (NAME=VALUE)")
@value("--format", default="", help="Format output by a Go template")
@value("--limit", default="", help="Maximum number of results")
@switch("--no-trunc", help="Don't truncate output")
def search(arguments: tuple[str, ...], **flags: object) -> None:
    """Search Docker Hub for images (in a browser)"""
    raise UsageError(
        "search is not available: it is a service of Docker Hub, not part of the registry API",
        hint=f"{SEARCH_PAGE}?q={arguments[0]}     in a browser",
    )
