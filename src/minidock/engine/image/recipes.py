"""Recipes of base images that are made locally: each is a directory of images/.

    images/<name>/README.md
    images/<name>/recipe       a shell script that writes a root file system to stdout, as a tar
    images/<name>/changes      Dockerfile instructions for its config: ENV, CMD, WORKDIR, …

    images/<name>/Dockerfile   instead of these two: built by `build`, with that directory
    images/<name>/tags         a Debian package in the image, whose version gives more tags

build/recipe.py makes the images.
"""

from __future__ import annotations

import os

import minidock
from minidock.errors import MinidockError, NotFound

_KINDS = ("recipe", "Dockerfile")


def names() -> list[str]:
    """The names of minidock's own recipes, sorted."""
    folder = recipes_folder()
    return sorted(name for name in os.listdir(folder) if _is_recipe(f"{folder}/{name}"))


def changes(folder: str) -> list[str]:
    """The lines of a recipe's `changes`, without comments and empty lines."""
    path = f"{folder}/changes"
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as lines:
        stripped = [line.strip() for line in lines]
    return [line for line in stripped if line and not line.startswith("#")]


def recipes_folder() -> str:
    """The directory of the recipes: in an installed minidock, or next to src/ in a checkout."""
    package = os.path.dirname(os.path.abspath(minidock.__file__))
    for folder in (f"{package}/recipes", f"{os.path.dirname(os.path.dirname(package))}/images"):
        if os.path.isdir(folder):
            return folder
    raise MinidockError(
        f"minidock's image recipes are missing at {package}/recipes",
        hint="reinstall minidock: its wheel contains them",
    )


def _is_recipe(folder: str) -> bool:
    return any(os.path.isfile(f"{folder}/{kind}") for kind in _KINDS)


def folder_of(name: str) -> str:
    """The directory of a recipe, by name or path."""
    if "/" in name:
        folder = os.path.abspath(name)
        if not _is_recipe(folder):
            raise NotFound(f"No such recipe: {folder} has no file recipe and no Dockerfile")
        return folder
    if name not in names():
        raise NotFound(
            f"No such recipe: {name}",
            hint=f"recipes: {', '.join(names())}; or the path of a directory with a recipe",
        )
    return f"{recipes_folder()}/{name}"
