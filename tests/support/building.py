"""Folders to build images from, and a look into the images that came of it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from support.command import Minidock


def context(folder: Path, dockerfile: str, **files: str) -> str:
    """A folder with a Dockerfile and some files; "__" in a name stands for "/" and "_DOT_" for "."

    Returns its path, as a command line has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    for name, content in files.items():
        path = folder / name.replace("_DOT_", ".").replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return str(folder)


def build(minidock: Minidock, *arguments: str, **options: Any) -> str:
    """Build an image; returns its id."""
    return minidock.ok("build", "-q", *arguments, **options)


def image(minidock: Minidock, reference: str) -> dict[str, Any]:
    """The image as `inspect` shows it."""
    found: dict[str, Any] = json.loads(minidock.ok("image", "inspect", reference))[0]
    return found


def layers(minidock: Minidock, reference: str) -> list[str]:
    found: list[str] = image(minidock, reference)["RootFS"]["Layers"]
    return found


def files(minidock: Minidock, reference: str, folder: Path) -> dict[str, tarfile.TarInfo]:
    """What the layers of an image hold, by name, the topmost of each; as `save` writes them."""
    return {name: info for name, (info, _) in _members(minidock, reference, folder).items()}


def content(minidock: Minidock, reference: str, folder: Path, name: str) -> str:
    """The content of a file of an image."""
    return _members(minidock, reference, folder)[name][1].decode()


def _members(
    minidock: Minidock, reference: str, folder: Path
) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    archive = folder / "saved.tar"
    minidock.ok("save", "-o", str(archive), reference)
    found = {}
    with tarfile.open(archive) as outer:
        manifest = json.load(outer.extractfile("manifest.json"))  # type: ignore[arg-type]
        for layer in manifest[0]["Layers"]:
            data = outer.extractfile(layer).read()  # type: ignore[union-attr]
            with tarfile.open(fileobj=io.BytesIO(data)) as inner:
                for info in inner:
                    file = inner.extractfile(info) if info.isreg() else None
                    found[info.name] = (info, file.read() if file else b"")
    archive.unlink()
    return found
