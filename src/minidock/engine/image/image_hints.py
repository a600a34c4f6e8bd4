"""Where an image that is not here may come from: the hints of `run`, `pull` and `build`.

Off the path of run: it is asked for once something has failed.
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
    """One line for each way to an image: other tags that are here, load, and a recipe."""
    tags = _tags_here(store, name)
    recipe = _recipe(name)
    lines = [
        f"{name.partition(':')[0]} is here with other tags: {', '.join(tags)}"
        if tags
        else _command_line("images", "lists those that are here"),
        _command_line("load -i IMAGE.tar", "brings one that `docker save` wrote"),
    ]
    if not recipe:
        lines.append(_command_line("image make", "lists those that can be made here"))
    elif f"{recipe}:latest" not in [f"{recipe}:{tag}" for tag in tags]:
        lines.append(_command_line(f"image make {recipe}", "makes one of Debian's packages"))
    return "\n".join(lines)


def _command_line(command: str, what: str) -> str:
    return f"{'minidock ' + command:<{_COLUMN}} {what}"


def _tags_here(store: Store, name: str) -> list[str]:
    """The tags that images of the same repository have."""
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
    """The recipe that makes an image of that name; "" for none."""
    try:
        familiar = reference.parse(name).familiar_name
    except UsageError:
        return ""
    return familiar if familiar in recipes.names() else ""
