"""`image …`, `rmi` and `tag`: manage images and their names."""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import images
from minidock.cli.frame.error_output import print_error
from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import switch, value
from minidock.cli.output.inspect_output import inspect_all
from minidock.errors import MinidockError, NotFound
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.frame.lazy import Table
    from minidock.document_types.image import ImageInspect

_COMMANDS: Table = {
    "build": ("Commands", "build:build", "Build an image by the instructions of a Dockerfile"),
    "history": ("Commands", "history:history", "List the build steps of an image"),
    "import": (
        "Commands",
        "image_archive:import_",
        "Create an image from a tar archive of a root file system",
    ),
    "inspect": ("Commands", "image:inspect", "Show all details of images"),
    "load": ("Commands", "image_archive:load", "Load images from a tar archive"),
    "ls": ("Commands", "image_list:images", "List images"),
    "make": ("Commands", "image_archive:make", "Build a base image from a recipe"),
    "prune": ("Commands", "image_prune:prune", "Remove unused images"),
    "pull": ("Commands", "pull:pull", "Pull an image from a registry"),
    "push": ("Commands", "push:push", "Push an image to a registry"),
    "rm": ("Commands", "image:rm", "Remove images, or names of images"),
    "save": (
        "Commands",
        "image_archive:save",
        "Write images to a tar archive, on stdout by default",
    ),
    "tag": ("Commands", "image:tag", "Add a name to an image"),
}


def _image(given: dict[str, object]) -> None:
    """Manage images"""


image = Group(
    _COMMANDS,
    _image,
    aliases={"list": "ls", "remove": "rm"},
)


@command("IMAGE [IMAGE...]", at_least=1, complete=images)
@switch("-f", "--force", help="Remove the image even if a stopped container uses it")
@switch("--no-prune", help="Keep untagged parent images")
def rm(arguments: tuple[str, ...], *, force: bool, no_prune: bool) -> int:
    """Remove images, or names of images"""
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
            print_error(error)
            code = code if force else 1
        except MinidockError as error:
            print_error(error)
            code = 1
    return code


@command("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", at_least=2, at_most=2, complete=images)
def tag(arguments: tuple[str, ...]) -> None:
    """Add a name to an image"""
    from minidock.engine.image.images import ImageStore

    ImageStore(Store()).tag(*arguments)


@command("IMAGE [IMAGE...]", at_least=1, complete=images)
@value("-f", "--format", help="Format output: 'json' or a Go template")
def inspect(arguments: tuple[str, ...], *, format: str | None) -> int:
    """Show all details of images"""
    store = Store()
    return inspect_all(arguments, lambda ref: find_image(store, ref), format=format)


def find_image(store: Store, reference: str) -> tuple[str, ImageInspect]:
    """An image's Go type and its document."""
    from minidock.engine.image.images import ImageStore

    return "types.ImageInspect", ImageStore(store).resolve(reference).inspect()
