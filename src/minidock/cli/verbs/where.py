"""`where`: show where a container, an image, a volume or one of its files is stored."""

from __future__ import annotations

import sys

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import containers_images_volumes
from minidock.cli.frame.pflag import switch, value
from minidock.errors import NotFound, UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.layers.path_history import PathHistory
    from minidock.teach.where.mounted import MountedPath
    from minidock.teach.where.output import Location


@command(
    "CONTAINER[:PATH]|IMAGE[:PATH]|VOLUME",
    at_least=1,
    at_most=1,
    complete=containers_images_volumes,
)
@switch("--json", help="Print JSON, with full paths and commands")
@value(
    "--type",
    default="",
    help="Type of the object, if several have the name: container, image or volume",
)
def where(arguments: tuple[str, ...], *, json: bool, type: str) -> None:
    """Show where each part of an object is stored, on disk and in the kernel

    Each part has the command that shows it. With a PATH: the layer that the file comes from, and
    the entries of the other layers at that path.
    """
    reference, colon, path = arguments[0].partition(":/")
    if type not in ("", *_FINDERS):
        raise UsageError(f'"{type}" is not a valid value for --type')
    if colon:
        _where_path(Store(), reference, f"/{path}", type=type, as_json=json)
        return
    from minidock.teach.where.output import write_json, write_text

    location = _locate(Store(), reference, type)
    (write_json if json else write_text)(location, sys.stdout)


def _where_path(store: Store, reference: str, path: str, *, type: str, as_json: bool) -> None:
    import json

    from minidock.teach.where.mounted import MountedPath
    from minidock.teach.where.mounted import write_text as write_mounted
    from minidock.teach.where.path_answer import write_text as write_history

    answer, variables = _answer(store, reference, path, type)
    if as_json:
        sys.stdout.write(json.dumps(answer.plain(), indent=2, ensure_ascii=False) + "\n")
    elif isinstance(answer, MountedPath):
        write_mounted(answer, sys.stdout, variables)
    else:
        write_history(answer, sys.stdout, variables)


def _answer(
    store: Store, reference: str, path: str, type: str
) -> tuple[MountedPath | PathHistory, dict[str, str]]:
    """Explain a path of a container or else of an image; returns variables for its paths too."""
    from minidock.engine.container.lookup import find
    from minidock.engine.image.images import ImageStore
    from minidock.teach.layers.find import of_image
    from minidock.teach.layers.path_history import history_of
    from minidock.teach.where.path_answer import answer_for

    if type == "volume":
        raise UsageError(
            "a volume has no layers",
            hint=f"minidock where {reference}     shows where its files are",
        )
    if type != "image":
        try:
            container = find(store, reference)
        except NotFound:
            if type:
                raise
        else:
            paths = {"C": container.paths.home, "STORE": store.root, "ID": container.id}
            return answer_for(container, path), paths
    try:
        image = ImageStore(store).resolve(reference)
    except (NotFound, UsageError):
        raise _nothing("image" if type else "container or image", reference) from None
    return history_of(reference, of_image(image), path), {"STORE": store.root}


def _locate(store: Store, reference: str, type: str) -> Location:
    for kind, finder in _FINDERS.items():
        if type in ("", kind):
            try:
                return finder(store, reference)
            except (NotFound, UsageError):  # no such, or it cannot be the name of one
                continue
    raise _nothing(type or "container, image or volume", reference)


def _nothing(what: str, reference: str) -> NotFound:
    name, colon, path = reference.partition(":")
    hint = "list them with `minidock ps -a`, `minidock images` and `minidock volume ls`"
    if colon and "/" in path:
        hint = f"the path must begin with a slash: minidock where {name}:/{path}"
    return NotFound(f"No such {what}: {reference}", hint=hint)


def _container(store: Store, reference: str) -> Location:
    from minidock.engine.container.lookup import find
    from minidock.teach.where.container import locate_container

    return locate_container(find(store, reference))


def _image(store: Store, reference: str) -> Location:
    from minidock.engine.image.images import ImageStore
    from minidock.teach.where.image import locate_image

    return locate_image(store, ImageStore(store).resolve(reference))


def _volume(store: Store, reference: str) -> Location:
    from minidock.engine.container.volumes import inspect
    from minidock.teach.where.image import locate_volume

    return locate_volume(store, inspect(store, reference))


_FINDERS = {"container": _container, "image": _image, "volume": _volume}
