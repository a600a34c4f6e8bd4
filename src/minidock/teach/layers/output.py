"""layers: list the layers of an image or a container, with their changes."""

from __future__ import annotations

import json
import os

from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import read_layer
from minidock.teach.layers.changes import Summary, all_changes
from minidock.teach.layers.stack import Stack
from minidock.teach.page import WIDTH, Paint, plural, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from minidock.paths import Store
    from minidock.teach.layers.changes import Change
    from minidock.teach.layers.layer import Layer

_HEADINGS = ("", "SIZE", "ADDS", "CHANGES", "DELETES", "OPAQUE", "IMAGES", "MADE BY")
_WIDTHS = (9, 8, 8, 8, 8, 7, 7)


class LayerReport:
    """A layer and its changes.

    size: bytes of its files. images: the number of images that use it; 0 for an upperdir.
    """

    def __init__(self, layer: Layer, changes: list[Change]) -> None:
        self.layer = layer
        self.changes = changes
        self.summary = Summary()
        for change in changes:
            self.summary.add(change)
        self.size = self.summary.bytes
        self.images = 0

    def plain(self) -> dict[str, object]:
        """The report as a JSON object."""
        changes = [{"kind": c.kind, "path": _path_text(c)} for c in self.changes]
        return {
            "name": self.layer.name,
            "number": self.layer.number,
            "size": self.size,
            "place": self.layer.path,
            "made_by": self.layer.title,
            "images": self.images,
            **{name: n for name, n in self.summary.plain().items() if name != "bytes"},
            "changes": changes,
        }


def report_layers(store: Store, layers: list[Layer]) -> list[LayerReport]:
    """Report the layers of a stack, topmost first."""
    users = _count_images(store)
    found = []
    with Stack(layers) as stack:
        for layer in stack.layers:
            each = LayerReport(layer, all_changes(stack, layer))
            chain_id = os.path.basename(os.path.dirname(layer.path))
            if chain_id in users:
                each.images = users[chain_id]
                each.size = read_layer(store, chain_id)["size"]
            found.append(each)
    return found


def _count_images(store: Store) -> dict[str, int]:
    """The number of images that use each layer, by hex chain id."""
    users: dict[str, int] = {}
    for image in ImageStore(store).list():
        for chain_id in image.chain_ids:
            bare = chain_id.removeprefix("sha256:")
            users[bare] = users.get(bare, 0) + 1
    return users


def write_json(layers: list[LayerReport], out: TextIO) -> None:
    """Write the reports as JSON, topmost first."""
    out.write(json.dumps([each.plain() for each in layers], indent=2, ensure_ascii=False) + "\n")


def write_text(layers: list[LayerReport], out: TextIO, *, files: bool) -> None:
    """Write the reports as text, one layer a line. files: list its changes below it."""
    paint = Paint(out)
    out.write(paint.bold(_line(_HEADINGS)) + "\n")
    for each in layers:
        counts = each.summary
        cells = (
            each.layer.name,
            size(each.size),
            *(str(n or "") for n in (
                counts.files + counts.directories, counts.changed, counts.deleted, counts.opaque,
                each.images,
            )),
            each.layer.title,
        )  # fmt: skip
        out.write(_line(cells) + "\n")
        for change in each.changes if files else ():
            out.write(paint.dim(f"    {change.kind} {_path_text(change)}") + "\n")
    whole = sum(each.size for each in layers)
    shared = sum(each.size for each in layers if each.images > 1)
    also = f"; {size(shared)} of it is shared with other images" if shared else ""
    out.write(f"\n{plural(len(layers), 'layer')}, {size(whole)}{also}\n")


def _line(cells: tuple[str, ...]) -> str:
    left = "".join(f"{c:<{w}}" for c, w in zip(cells[:1], _WIDTHS[:1], strict=True))
    middle = "".join(f"{c:>{w}}" for c, w in zip(cells[1:-1], _WIDTHS[1:], strict=True))
    width = WIDTH - len(left) - len(middle) - 3
    last = cells[-1] if len(cells[-1]) <= width else cells[-1][: width - 1] + "…"
    return f"{left}{middle}   {last}".rstrip()


def _path_text(change: Change) -> str:
    path = "/" + os.fsdecode(change.path)
    return path + "/" if change.entry.is_directory else path
