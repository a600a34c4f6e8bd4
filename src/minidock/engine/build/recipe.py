"""`image make`: make a base image from a recipe (image/recipes.py).

FROM in a recipe's Dockerfile may name another recipe: that image is made first, if the store lacks
it.

A `recipe` script runs on the host with the caller's rights. So only the recipes of minidock itself
run by name; any other needs a path (with a slash). This module adds no files to an image: all of
them come from the recipe.

Not imported by run: it imports `sh` and the builder.
"""

from __future__ import annotations

import os
import re

from minidock.engine.image.recipes import changes, folder_of, names
from minidock.errors import KernelError, MinidockError, NotFound
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from minidock.engine.build.progress import Progress
    from minidock.engine.image.image import Image
    from minidock.engine.image.images import ImageStore

_DPKG_STATUS = "var/lib/dpkg/status"


class RecipeOutput:
    """Callbacks for the output of a recipe.

    line: called with each line of stderr of a `recipe`. screen: makes the Progress of a build.
    """

    def __init__(
        self,
        line: Callable[[str], None],
        screen: Callable[[], AbstractContextManager[Progress]],
    ) -> None:
        self.line = line
        self.screen = screen


def make(store: Store, name: str, *, output: RecipeOutput) -> Image:
    """Make the image NAME:latest from a recipe, after its base images.

    name: one of `names`, or the path of a directory with a recipe.
    Raises NotFound for an unknown name, BuildFailed, MinidockError if the recipe fails: then
    nothing is kept. Raises NotFound also if the image lacks the package of `tags`; the image stays.
    """
    folder = folder_of(name)
    if os.path.isfile(f"{folder}/Dockerfile"):
        return _build(store, folder, output)
    return _import(store, folder, output)


def _import(store: Store, folder: str, output: RecipeOutput) -> Image:
    """Make an image from the root file system that a `recipe` script writes to stdout."""
    import tempfile

    image_name = os.path.basename(folder)
    os.makedirs(store.staging, exist_ok=True)
    with tempfile.TemporaryFile(dir=store.staging) as rootfs:
        _run(folder, rootfs.fileno(), output.line)
        rootfs.seek(0)
        from minidock.engine.image import archive

        return archive.import_rootfs(
            store,
            rootfs,
            f"{image_name}:latest",
            changes=changes(folder),
            message=f"made by the recipe {image_name}",
        )


def _build(store: Store, folder: str, output: RecipeOutput) -> Image:
    """Build an image from a recipe's Dockerfile, and tag it with its version."""
    from minidock.engine.build.build import build
    from minidock.engine.build.options import Options
    from minidock.engine.image.images import ImageStore

    images = ImageStore(store)
    for base in _bases(folder):
        if base in names() and not _is_here(images, base):
            make(store, base, output=output)
    name = os.path.basename(folder)
    options = Options(folder)
    options.tags = [f"{name}:latest"]
    with output.screen() as progress:
        image = images.resolve(build(store, options, progress).image_id)
    extra_tags = [f"{name}:{tag}" for tag in _tags(folder, image)]
    for reference in extra_tags:
        images.tag(image.id, reference)
    if extra_tags:
        output.line(f"{name}:latest is also {', '.join(extra_tags)}")
    return images.resolve(image.id)


def _is_here(images: ImageStore, name: str) -> bool:
    try:
        images.resolve(name)
    except NotFound:
        return False
    return True


def _bases(folder: str) -> list[str]:
    """The base images that a recipe's Dockerfile names."""
    from minidock.engine.dockerfile.parser import parse

    with open(f"{folder}/Dockerfile", "rb") as file:
        dockerfile = parse(file.read())
    froms = [one.words() for one in dockerfile.instructions if one.keyword == "FROM"]
    return [words[0] for words in froms if words]


def _tags(folder: str, image: Image) -> Iterator[str]:
    """Extra tags: for "python3 slim" and python3 3.13.5-1, they are 3, 3.13, slim, 3-slim, …"""
    path = f"{folder}/tags"
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        package, *flavours = file.read().split()
    major, *minor = _upstream_version(image, package).split(".")[:2]
    versions = [major, *(f"{major}.{number}" for number in minor)]
    yield from versions
    for flavour in flavours:
        yield flavour
        yield from (f"{version}-{flavour}" for version in versions)


def _upstream_version(image: Image, package: str) -> str:
    """The upstream version of a Debian package in an image: "5:8.0.2-3" is 8.0.2.

    Source: deb-version(7); dpkg's status file is deb822(5).
    """
    for paragraph in _dpkg_status(image).split("\n\n"):
        if paragraph.startswith(f"Package: {package}\n"):
            found = re.search(
                r"^Version: (?:[0-9]+:)?([0-9]+(?:\.[0-9]+)*)", paragraph, re.MULTILINE
            )
            if found:
                return found[1]
    raise NotFound(
        f"the image {image.id} lacks the package {package}, which its recipe's tags name"
    )


def _dpkg_status(image: Image) -> str:
    """The content of dpkg's status file in the image, from the topmost layer that has it."""
    from minidock.kernel.path import open_in_root

    for directory in reversed(image.layer_directories()):
        try:
            descriptor = open_in_root(directory, _DPKG_STATUS, os.O_RDONLY)
        except KernelError:
            continue
        with open(descriptor, encoding="utf-8") as file:
            return file.read()
    return ""


def _run(folder: str, output_fd: int, progress: Callable[[str], None]) -> None:
    """Run a recipe script: its stdout (a tar) to output_fd, the lines of stderr to progress."""
    import sh

    last = ""

    def on_line(line: str) -> None:
        nonlocal last
        last = line.rstrip("\n") or last
        progress(line.rstrip("\n"))

    script = f"{folder}/recipe"
    try:
        sh.Command("/bin/sh")(script, _out=output_fd, _err=on_line, _cwd=folder)
    except sh.ErrorReturnCode as failure:
        raise MinidockError(
            f"the recipe {script} failed with exit code {failure.exit_code}", hint=last
        ) from failure
