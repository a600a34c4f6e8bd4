"""Path lookup in a stack of layers as overlayfs does it, without a mount.

The kernel looks up a name in each layer, from the topmost down:

    a file        is the result, and ends the search
    a directory   is merged with the next layer's directory of that name, and so on, until a file, a
                  whiteout, or an opaque directory, which is the last one merged
    a whiteout    (a character device 0/0) ends the search and hides everything below

The entries of a directory are looked up only in the layers whose directories were merged. With the
overlayfs options redirect_dir and metacopy, two attributes matter:

    trusted.overlay.redirect   a renamed directory: in the layers below it has another name
    trusted.overlay.metacopy   owner, mode and times were copied up; the content is further down

Symbolic links are resolved within the stack, and never lead to the host.
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

    MergedDirectories = list[tuple[Layer, bytes]]

_LINKS_MAX = 40  # path_resolution(7)


class Lookup:
    """The result of a path lookup.

    path: relative, with links resolved. links: (link, its target) for each link followed. visible:
    the versions that are merged into the visible file or directory, topmost first; empty if it does
    not exist. versions: all layers' versions at the path, topmost first.
    """

    def __init__(self, path: bytes, links: list[tuple[bytes, bytes]]) -> None:
        self.path = path
        self.links = links
        self.visible: list[Version] = []
        self.versions: list[Version] = []


class Stack:
    """A stack of layers: `with Stack(layers) as stack:`.

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

    def look_up(self, path: bytes) -> Lookup:
        """Look up a path as a process in the container would.

        path: from the root of the stack. A symbolic link at its end is not followed. Raises
        NotFound if a parent is missing or is not a directory, UsageError for a loop of links.
        """
        walk = _Walk(self)
        walk.follow(path)
        found = Lookup(b"/".join(walk.names), walk.links)
        found.visible = walk.visible
        self._add_versions(found, walk.barriers)
        return found

    def resolve(
        self, parents: MergedDirectories, name: bytes
    ) -> tuple[list[Version], Version | None]:
        """The visible versions of a name, topmost first, and the version that hides all below.

        parents: the merged directories, topmost first, as (layer, path in it).
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
            if ends or _is_last(version):
                return visible, version
            waiting = self._follow_redirect(version, waiting)
        return visible, None

    def _follow_redirect(
        self, version: Version, waiting: list[tuple[Layer, bytes, bytes]]
    ) -> list[tuple[Layer, bytes, bytes]]:
        """Where to look below a version, each as (layer, directory, name in it).

        waiting: where, unless it was renamed. A redirect that begins with "/" is a path from the
        root of each layer below; any other is another name in the same directories.
        """
        layer, path = version.layer, version.entry.path
        redirect = layer.attribute(path, REDIRECT) if path else None
        if not redirect:
            return waiting
        if redirect.startswith(b"/"):
            return [(x, b"", redirect) for x in self.layers if x.number < layer.number]
        return [(x, inside, redirect) for x, inside, _ in waiting]

    def _add_versions(self, found: Lookup, barriers: list[Version]) -> None:
        """Add every layer's version at the path, with the version that hides it."""
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
    """The state of a path resolution: the merged directories at each level.

    names: the components so far. visible, barriers: as in Lookup.
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
        """The versions that hide lower layers, from the root on."""
        return [barrier for _, barrier in self._levels if barrier is not None]

    def follow(self, path: bytes) -> None:
        """Resolve a path."""
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
        """Follow a link; returns the components of its target."""
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
        """Raise NotFound if the rest of the path cannot be resolved."""
        here = "/" + os.fsdecode(b"/".join(self.names))
        if not self.visible:
            barrier = self._levels[-1][1]
            why = f": it was deleted in {barrier.layer.name}" if barrier is not None else ""
            raise NotFound(f"{here} does not exist{why}")
        kind = self.visible[0].entry.status.st_mode
        if not stat.S_ISDIR(kind) and not stat.S_ISLNK(kind):
            raise NotFound(
                f"{here} is not a directory, so {os.fsdecode(rest[0])} cannot be in it",
                hint=f"locate it: minidock where NAME:{here}",
            )


def _entry(layer: Layer, directory: bytes, base: bytes) -> tuple[Entry | None, bool]:
    """A layer's entry under a name, and whether the search ends in this layer.

    base: a name in that directory, or a redirect's path from the layer's root.
    """
    if not base.startswith(b"/"):
        return layer.entry(directory + b"/" + base if directory else base), False
    path = base.strip(b"/")
    on_the_way = layer.below(path)
    ends = any(entry.is_whiteout or entry.opaque for entry in on_the_way if entry.path != path)
    complete = on_the_way and on_the_way[-1].path == path
    return (on_the_way[-1] if complete else None), ends


def _role(visible: list[Version], entry: Entry) -> str:
    if not visible:
        return "seen"
    return "merged" if entry.is_directory else "content"


def _is_last(version: Version) -> bool:
    """Whether nothing below belongs to it: an opaque directory, or a file with its content."""
    entry = version.entry
    if entry.is_directory:
        return entry.opaque
    return version.layer.attribute(entry.path, METACOPY) is None


def _differ(above: Version, below: Version) -> bool:
    """Whether only one is a directory, so that they are not merged."""
    return above.entry.is_directory != below.entry.is_directory
