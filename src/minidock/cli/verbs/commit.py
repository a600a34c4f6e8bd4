"""`commit`, `diff` and `export`: the files of a container as an image, a list or an archive."""

from __future__ import annotations

from contextlib import nullcontext

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import containers
from minidock.cli.frame.pflag import switch, value, values
from minidock.errors import NotFound
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from minidock.engine.container.containers import Container


@command("CONTAINER [REPOSITORY[:TAG]]", at_least=1, at_most=2, complete=containers)
@value("-a", "--author", default="", help='Author (e.g., "John Hannibal Smith <h@a-team.com>")')
@values("-c", "--change", help="Apply this Dockerfile instruction to the image's config")
@value("-m", "--message", default="", help="Commit message")
@switch("-p", "--pause", default=True, help="Pause the container during the commit")
def commit(
    arguments: tuple[str, ...], *, author: str, change: tuple[str, ...], message: str, pause: bool
) -> None:
    """Create an image from the changes of a container"""
    from minidock.cli.output.progress_bar import Bars
    from minidock.engine.container.events import emit_container
    from minidock.engine.container.lookup import find
    from minidock.engine.container.own_layer import mount_layer_privately
    from minidock.engine.image.commit import commit as commit_container
    from minidock.oci.reference import parse_tagged

    store = Store()
    container = find(store, arguments[0])
    mount_layer_privately(container)
    with _frozen(store, container, wanted=pause), Bars() as progress:
        image = commit_container(
            store,
            container.document,
            arguments[1] if len(arguments) > 1 else "",
            author=author,
            message=message,
            changes=change,
            progress=progress,
        )
    name = parse_tagged(arguments[1]).familiar if arguments[1:] and arguments[1] else ""
    emit_container(container, "commit", comment=message, imageID=image.id, imageRef=name)
    print(image.id)


def _frozen(store: Store, container: Container, *, wanted: bool) -> AbstractContextManager[None]:
    """Freeze the container for a block, if it runs and is not paused."""
    if not wanted or container.state["Status"] != "running":
        return nullcontext()
    from minidock.engine.copy.freeze import StandingStill

    return StandingStill(store, container.id)


@command("CONTAINER", at_least=1, at_most=1, complete=containers)
def diff(arguments: tuple[str, ...]) -> None:
    """List the files that a container added, changed or deleted"""
    from minidock.engine.container.lookup import find
    from minidock.engine.container.own_layer import layers_of, mount_layer_privately
    from minidock.engine.image.diff import changes

    if not arguments[0]:
        raise NotFound("Container name cannot be empty")
    store = Store()
    container = find(store, arguments[0])
    mount_layer_privately(container)
    layers, upper, _ = layers_of(container)
    for kind, path in changes(upper, layers):
        print(f"{kind} {path}")


@command("CONTAINER", at_least=1, at_most=1, complete=containers)
@value("-o", "--output", default="", help="Write to a file instead of stdout")
def export(arguments: tuple[str, ...], *, output: str) -> None:
    """Write the file system of a container as a tar archive"""
    from minidock.cli.output.archive_output import Output
    from minidock.cli.output.progress_bar import Bars
    from minidock.engine.container.lookup import find
    from minidock.engine.container.own_layer import mount_layer_privately
    from minidock.engine.copy.export import export as archive_of

    container = find(Store(), arguments[0])
    mount_layer_privately(
        container
    )  # before opening a file: this may enter another mount namespace
    with Output(output, "export container") as stream, Bars(quiet=not output) as progress:
        done = 0
        for chunk in archive_of(container):
            stream.write(chunk)
            done += len(chunk)
            progress("Exporting", done, None)
