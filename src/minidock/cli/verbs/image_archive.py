"""`load`, `save`, `import` and `image make`: import and export images."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import images, recipes
from minidock.cli.frame.pflag import switch, value, values
from minidock.cli.output.progress_bar import Bars
from minidock.errors import UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


@command()
@value("-i", "--input", default="", help="Read from a file instead of stdin")
@switch("-q", "--quiet", help="Print no progress")
def load(arguments: tuple[str, ...], *, input: str, quiet: bool) -> None:
    """Load images from a tar archive"""
    from minidock.engine.image.archive import load as load_archive

    if not input and os.isatty(0):
        raise UsageError("requested load from stdin, but stdin is empty", hint="-i FILE, or < FILE")
    with _source(input or "-") as stream, Bars(quiet=quiet) as progress:
        lines = load_archive(Store(), stream, progress=progress)
    for line in lines:
        print(line)


@command("IMAGE [IMAGE...]", at_least=1, complete=images)
@value("-o", "--output", default="", help="Write to a file instead of stdout")
def save(arguments: tuple[str, ...], *, output: str) -> None:
    """Write images to a tar archive, on stdout by default"""
    from minidock.cli.output.archive_output import Output
    from minidock.engine.image.save import save as save_archive

    with Output(output, "save image") as stream, Bars(quiet=not output) as progress:
        save_archive(Store(), arguments, stream, progress=progress)


@command("file|URL|- [REPOSITORY[:TAG]]", at_least=1, at_most=2)
@values("-c", "--change", help="Apply this Dockerfile instruction to the image's config")
@value("-m", "--message", default="", help="Comment in the history of the image")
@value("--platform", default="", help="Platform that the image is for")
def import_(
    arguments: tuple[str, ...], *, change: tuple[str, ...], message: str, platform: str
) -> None:
    """Create an image from a tar archive of a root file system"""
    from minidock.engine.image.archive import import_rootfs

    source, store = arguments[0], Store()
    is_url = source.startswith(("http://", "https://"))
    with _fetched(store, source) if is_url else _source(source) as stream, Bars() as progress:
        image = import_rootfs(
            store,
            stream,
            arguments[1] if len(arguments) > 1 else "",
            changes=change,
            message=message or f"Imported from {source if is_url else '-'}",
            platform=platform,
            progress=progress,
        )
    print(image.id)


@contextmanager
def _fetched(store: Store, url: str) -> Iterator[BinaryIO]:
    """Download a URL to a temporary file of the store, for a block."""
    from minidock.engine.build.download import download
    from minidock.engine.store.store import Staging

    with Staging(store, "fetch") as staging:
        print(f"Downloading from {url}", flush=True)
        with open(download(url, f"{staging.path}/file"), "rb") as stream:
            yield stream


@command("NAME|FOLDER", at_most=1, complete=recipes)
@switch("-q", "--quiet", help="Print only the name of the image")
def make(arguments: tuple[str, ...], *, quiet: bool) -> None:
    """Build a base image from a recipe; without a name, list the recipes"""
    from minidock.cli.output.build_output import screen, show_failure
    from minidock.engine.build import recipe
    from minidock.engine.build.failure import BuildFailed
    from minidock.engine.image import recipes

    if not arguments:
        print("".join(f"{name}\n" for name in recipes.names()), end="")
        return
    output = recipe.RecipeOutput(
        _ignore if quiet else _say, lambda: screen("quiet" if quiet else "auto")
    )
    try:
        image = recipe.make(Store(), arguments[0], output=output)
    except BuildFailed as error:
        show_failure(error)
        raise
    name = f"{os.path.basename(os.path.abspath(arguments[0]))}:latest"
    print(name if name in image.references else image.id)


def _say(line: str) -> None:
    print(line.rstrip("\n"), file=sys.stderr, flush=True)


def _ignore(line: str) -> None:
    del line


def _source(path: str) -> BinaryIO:
    if path == "-":
        return sys.stdin.buffer
    try:
        return open(path, "rb")
    except OSError as error:
        raise UsageError(f"open {path}: {(error.strerror or '').lower()}") from error
