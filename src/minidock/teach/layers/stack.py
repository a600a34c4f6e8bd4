"""What overlayfs makes of layers, worked out from the layers alone: which file a path is, and why.

The kernel looks a name up in each layer, from the top one down:

    a file        is it, and ends the search
    a directory   is merged with the next layer's directory of that name, and so on, until there
                  is a file, a whiteout, or an opaque directory, which is the last that counts
    a whiteout    (a character device 0/0) ends the search: nothing below it counts

and what is in a directory is looked up only in the layers whose directories were merged. Where
overlayfs's redirect_dir or metacopy is on, two attributes lead on:

    trusted.overlay.redirect   a renamed directory: in the layers below it has another name
    trusted.overlay.metacopy   owner, mode and times were copied up; the content is further down

Nothing is mounted. Symbolic links are followed inside the stack, and never lead to the host.
Sources: Documentation/filesystems/overlayfs.rst; fs/overlayfs/namei.c (ovl_lookup).
"""

from __future__ import annotations

import os
import stat

from minidock.errors import NotFound, UsageError
from minidock.teach.layers.layer import METACOPY, REDIRECT, Version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.engine.image.upper_walk import Entry
    from minidock.teach.layers.layer import Layer

    Places = list[tuple[Layer, bytes]]

_LINKS_MAX = 40  # path_resolution(7)


class Lookup:
    """The answer for one path.

    path: with the links on the way resolved, relative. links: (link, its target), those that were
    followed. counted: the versions that make up what is seen, topmost first; none where there is
    nothing to be seen. versions: all that the layers hold at the path, topmost first.
    """

    def __init__(self, path: bytes, links: list[tuple[bytes, bytes]]) -> None:
        self.path = path
        self.links = links
        self.visible: list[Version] = []
        self.versions: list[Version] = []


class Stack:
    """Layers, one on the other: `with Stack(layers) as stack:`.

    layers: topmost first.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self._open: list[Layer] = []

    def __enter__(self) -> Stack:
        try:
            for layer in self.layers:
                self._open.append(layer.__enter__())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        while self._open:
            self._open.pop().__exit__(kind, error, trace)

    def without_top(self) -> Stack:
        """The layers below the topmost one; they stay open as long as this stack does."""
        return Stack(self.layers[1:])

    def look_up(self, path: bytes) -> Lookup:
        """Which file a path is, as a process in the container would find it.

        path: from the root of the stack. A link at its end is not followed, those before it are.
        Raises NotFound where the way there leads through something that is no directory, UsageError
        for links that lead in a circle.
        """
        walk = _Walk(self)
        walk.follow(path)
        found = Lookup(b"/".join(walk.names), walk.links)
        found.visible = walk.visible
        self._add_versions(found, walk.barriers)
        return found

    def resolve(self, parents: Places, name: bytes) -> tuple[list[Version], Version | None]:
        """The versions of a name that count, topmost first, and the one that hides all below it.

        parents: the layers' directories that are merged, topmost first, each with its path there.
        """
        visible: list[Version] = []
        waiting = [(layer, directory, name) for layer, directory in parents]
        while waiting:
            layer, directory, base = waiting.pop(0)
            entry, ends = _entry(layer, directory, base)
            if entry is None:
                if ends:
                    return visible, visible[-1]
                continue
            version = Version(layer, entry, _role(visible, entry))
            if entry.is_whiteout or (visible and _differ(visible[-1], version)):
                return visible, version
            visible.append(version)
            if not entry.is_directory and layer.attribute(entry.path, METACOPY) is None:
                return visible, version
            if entry.opaque or ends:
                return visible, version
            redirect = layer.attribute(entry.path, REDIRECT) if entry.path else None
            if redirect and redirect.startswith(b"/"):
                lower = [x for x in self.layers if x.number < layer.number]
                waiting = [(x, b"", redirect) for x in lower]
            elif redirect:
                waiting = [(x, inside, redirect) for x, inside, _ in waiting]
        return visible, None

    def _add_versions(self, found: Lookup, barriers: list[Version]) -> None:
        """List what every layer holds at the path, with what hides it."""
        visible = {version.layer.number: version for version in found.visible}
        for layer in self.layers:
            version = visible.get(layer.number)
            if version is None:
                entry = layer.raw(found.path)
                if entry is None:
                    continue
                version = Version(layer, entry, "whiteout" if entry.is_whiteout else "hidden")
                version.hidden_by = next(
                    (b for b in barriers if b.layer.number > layer.number), None
                )
                if version.hidden_by is None and found.visible and version.role == "hidden":
                    version.hidden_by = found.visible[-1]
            found.versions.append(version)


class _Walk:
    """A path's resolution on its way: which directories are merged where it is.

    names: of the directories that it went down, and of the last. counted, barriers: as in Found.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.names: list[bytes] = []
        self.links: list[tuple[bytes, bytes]] = []
        self._levels: list[tuple[list[Version], Version | None]] = [(self._root(), None)]

    def _root(self) -> list[Version]:
        roots = [(layer, layer.entry(b"")) for layer in self._stack.layers]
        versions = [Version(layer, entry, "merged") for layer, entry in roots if entry is not None]
        versions[0].role = "seen"
        return versions

    @property
    def visible(self) -> list[Version]:
        return self._levels[-1][0]

    @property
    def barriers(self) -> list[Version]:
        """What hides lower layers, from the root on."""
        return [barrier for _, barrier in self._levels if barrier is not None]

    def follow(self, path: bytes) -> None:
        """Go down a path."""
        waiting = [name for name in path.split(b"/") if name not in (b"", b".")]
        while waiting:
            name = waiting.pop(0)
            if name == b"..":
                if self.names:
                    self.names.pop()
                    self._levels.pop()
                continue
            self._step(name)
            if not waiting:
                return
            self._require(waiting)
            top = self.visible[0]
            if stat.S_ISLNK(top.entry.status.st_mode):
                waiting = self._through(top) + waiting

    def _step(self, name: bytes) -> None:
        parents = [(version.layer, version.path) for version in self.visible]
        self.names.append(name)
        self._levels.append(self._stack.resolve(parents, name))

    def _through(self, link: Version) -> list[bytes]:
        """Leave a link for where it points to; returns the names to go down from there."""
        target = link.layer.read_link(link.entry)
        self.links.append((b"/".join(self.names), target))
        if len(self.links) > _LINKS_MAX:
            raise UsageError(f"/{os.fsdecode(self.names[0])}: too many symbolic links (ELOOP)")
        self.names.pop()
        self._levels.pop()
        if target.startswith(b"/"):
            self.names.clear()
            del self._levels[1:]
        return [name for name in target.split(b"/") if name not in (b"", b".")]

    def _require(self, rest: list[bytes]) -> None:
        """Raise NotFound where there is no way on to the rest of the path."""
        here = "/" + os.fsdecode(b"/".join(self.names))
        if not self.visible:
            barrier = self._levels[-1][1]
            why = f": it was deleted in {barrier.layer.name}" if barrier is not None else ""
            raise NotFound(f"there is no {here} in any layer that counts{why}")
        kind = self.visible[0].entry.status.st_mode
        if not stat.S_ISDIR(kind) and not stat.S_ISLNK(kind):
            raise NotFound(
                f"{here} is a file, so there is no {os.fsdecode(rest[0])} in it",
                hint=f"its place: minidock where NAME:{here}",
            )


def _entry(layer: Layer, directory: bytes, base: bytes) -> tuple[Entry | None, bool]:
    """What a layer holds under a name, and whether the search ends there whatever it is.

    base: a name in that directory, or a redirect's path from the layer's root.
    """
    if not base.startswith(b"/"):
        return layer.entry(directory + b"/" + base if directory else base), False
    path = base.strip(b"/")
    on_the_way = layer.below(path)
    ends = any(entry.is_whiteout or entry.opaque for entry in on_the_way if entry.path != path)
    whole = on_the_way and on_the_way[-1].path == path
    return (on_the_way[-1] if whole else None), ends


def _role(visible: list[Version], entry: Entry) -> str:
    if not visible:
        return "seen"
    return "merged" if entry.is_directory else "content"


def _differ(above: Version, below: Version) -> bool:
    """Whether one is a directory and the other is not: then they are not merged."""
    return above.entry.is_directory != below.entry.is_directory
