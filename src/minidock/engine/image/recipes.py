"""Base images made on this machine, each by a recipe: a folder of images/.

    images/<name>/recipe     a shell script that writes a root file system to stdout, as a tar
    images/<name>/changes    lines of a Dockerfile for the image's config: ENV, CMD, WORKDIR, …
    images/<name>/README.md

A recipe runs on the host with the caller's rights, so only recipes that came with minidock are run
by name, and any other by its path (one with a slash in it). This module adds no file of its own to
the root file system; what an image holds is all in its recipe.

Off the path of run: it imports `sh`.
"""

from __future__ import annotations

import os

import minidock
from minidock.errors import MinidockError, NotFound
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.engine.image.images import Image


def names() -> list[str]:
    """The names of the recipes that came with minidock, sorted."""
    folder = recipes_folder()
    return sorted(n for n in os.listdir(folder) if os.path.isfile(f"{folder}/{n}/recipe"))


def make(store: Store, name: str, *, progress: Callable[[str], None]) -> Image:
    """Run a recipe and keep what it makes as the image NAME:latest.

    name: of a folder that `names` lists, or the path of any folder that holds a recipe.
    progress: called with each line that the recipe says on stderr.
    Raises NotFound for an unknown name, MinidockError where the recipe fails: then nothing is kept.
    """
    import tempfile

    folder = _folder(name)
    image_name = os.path.basename(folder)
    os.makedirs(store.staging, exist_ok=True)
    with tempfile.TemporaryFile(dir=store.staging) as rootfs:
        _run(folder, rootfs.fileno(), progress)
        rootfs.seek(0)
        from minidock.engine.image import archive

        return archive.import_rootfs(
            store,
            rootfs,
            f"{image_name}:latest",
            changes=changes(folder),
            message=f"made by the recipe {image_name}",
        )


def changes(folder: str) -> list[str]:
    """The lines of a recipe's changes, without comments and empty lines."""
    path = f"{folder}/changes"
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as lines:
        stripped = [line.strip() for line in lines]
    return [line for line in stripped if line and not line.startswith("#")]


def recipes_folder() -> str:
    """Where the recipes are: inside an installed minidock, or beside src/ in a checkout."""
    package = os.path.dirname(os.path.abspath(minidock.__file__))
    for folder in (f"{package}/recipes", f"{os.path.dirname(os.path.dirname(package))}/images"):
        if os.path.isdir(folder):
            return folder
    raise MinidockError(
        f"minidock's image recipes are not at {package}/recipes",
        hint="install minidock again: the wheel carries them",
    )


def _folder(name: str) -> str:
    """The folder of a recipe, by name or path."""
    if "/" in name:
        folder = os.path.abspath(name)
        if not os.path.isfile(f"{folder}/recipe"):
            raise NotFound(f"No such recipe: {folder}/recipe")
        return folder
    if name not in names():
        raise NotFound(
            f"No such recipe: {name}",
            hint=f"there are: {', '.join(names())}; or give the path of a folder with a recipe",
        )
    return f"{recipes_folder()}/{name}"


def _run(folder: str, output_fd: int, progress: Callable[[str], None]) -> None:
    """Run a folder's recipe, its tar into output_fd, its words to progress."""
    import sh

    last = ""

    def hear(line: str) -> None:
        nonlocal last
        last = line.rstrip("\n") or last
        progress(line.rstrip("\n"))

    script = f"{folder}/recipe"
    try:
        sh.Command("/bin/sh")(script, _out=output_fd, _err=hear, _cwd=folder)
    except sh.ErrorReturnCode as failure:
        raise MinidockError(
            f"the recipe {script} ended with {failure.exit_code}", hint=last
        ) from failure
