"""Hints of `run`, `pull` and `build` for a missing image: how to get it.

Imported after a failure only.
"""

from __future__ import annotations

from minidock.engine.image import images_json, recipes
from minidock.errors import UsageError
from minidock.oci import reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store

_COLUMN = 33


def where_from(store: Store, name: str) -> str:
    """One line for each way to get an image: other local tags, load, a recipe."""
    tags = _tags_here(store, name)
    recipe = _recipe(name)
    lines = [
        f"local tags of {name.partition(':')[0]}: {', '.join(tags)}"
        if tags
        else _command_line("images", "lists the local images"),
        _command_line("load -i IMAGE.tar", "loads an image that `docker save` wrote"),
    ]
    if not recipe:
        lines.append(_command_line("image make", "lists the images that can be made locally"))
    elif f"{recipe}:latest" not in [f"{recipe}:{tag}" for tag in tags]:
        lines.append(_command_line(f"image make {recipe}", "makes it from Debian packages"))
    return "\n".join(lines)


def _command_line(command: str, what: str) -> str:
    return f"{'minidock ' + command:<{_COLUMN}} {what}"


def _tags_here(store: Store, name: str) -> list[str]:
    """The local tags of the same repository."""
    try:
        repository = reference.parse(name).familiar_name
    except UsageError:
        return []
    names = images_json.read(store)["references"]
    return sorted(
        known.removeprefix(f"{repository}:")
        for known in names
        if known.startswith(f"{repository}:")
    )


def _recipe(name: str) -> str:
    """The name of the recipe for an image; "" for none."""
    try:
        familiar = reference.parse(name).familiar_name
    except UsageError:
        return ""
    return familiar if familiar in recipes.names() else ""
