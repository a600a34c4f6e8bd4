"""`image …`, `rmi` and `tag`: names of images, and the images themselves."""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import images
from minidock.cli.frame.failure import complain
from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import switch, value
from minidock.cli.output.inspecting import inspect_all
from minidock.errors import MinidockError, NotFound
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.frame.lazy import Table

_COMMANDS: Table = {
    "build": ("Commands", "build:build", "Make an image by the steps of a Dockerfile"),
    "history": ("Commands", "history:history", "List the steps that made an image"),
    "import": (
        "Commands",
        "image_archive:import_",
        "Make an image of the files in a tar",
    ),
    "inspect": ("Commands", "image:inspect", "Show all that is known of images"),
    "load": ("Commands", "image_archive:load", "Take in images that save has written"),
    "ls": ("Commands", "image_list:images", "List the images"),
    "make": ("Commands", "image_archive:make", "Make a base image by a recipe"),
    "prune": ("Commands", "image_prune:prune", "Remove images that nobody needs"),
    "pull": ("Commands", "pull:pull", "Fetch an image from a registry"),
    "push": ("Commands", "push:push", "Send an image to a registry"),
    "rm": ("Commands", "image:rm", "Remove images, or only their names"),
    "save": (
        "Commands",
        "image_archive:save",
        "Write images as a tar, to standard output or a file",
    ),
    "tag": ("Commands", "image:tag", "Give an image one more name"),
}


def _image(given: dict[str, Any]) -> None:
    """Manage images"""


image = Group(
    _COMMANDS,
    _image,
    aliases={"list": "ls", "remove": "rm"},
)


@command("IMAGE [IMAGE...]", at_least=1, complete=images)
@switch("-f", "--force", help="Also where a stopped container uses it")
@switch("--no-prune", help="Keep the nameless images that it was made on")
def rm(arguments: tuple[str, ...], *, force: bool, no_prune: bool) -> int:
    """Remove images, or only their names"""
    from minidock.engine.image import removal
    from minidock.engine.image.references import users_of

    store = Store()
    users = users_of(store)
    code = 0
    for reference in arguments:
        try:
            lines = removal.remove(
                store, reference, force=force, in_use=users, keep_parents=no_prune
            )
            print("".join(f"{line}\n" for line in lines), end="", flush=True)
        except NotFound as error:
            complain(error)
            code = code if force else 1
        except MinidockError as error:
            complain(error)
            code = 1
    return code


@command("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", at_least=2, at_most=2, complete=images)
def tag(arguments: tuple[str, ...]) -> None:
    """Give an image one more name"""
    from minidock.engine.image.images import ImageStore

    ImageStore(Store()).tag(*arguments)


@command("IMAGE [IMAGE...]", at_least=1, complete=images)
@value("-f", "--format", help="'json', or a Go template")
def inspect(arguments: tuple[str, ...], *, format: str | None) -> int:
    """Show all that is known of images"""
    store = Store()
    return inspect_all(arguments, lambda ref: find_image(store, ref), format=format)


def find_image(store: Store, reference: str) -> tuple[str, dict[str, Any]]:
    """An image's Go type and its document."""
    from minidock.engine.image.images import ImageStore

    return "types.ImageInspect", ImageStore(store).resolve(reference).inspect()
